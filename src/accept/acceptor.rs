//! Accepting: bounded bursts, admission, and what to do when descriptors run out.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::accept::admission::Admission;
use crate::accept::balance::{Balance, Workers};
use crate::accept::spare::Shed;
use crate::panics::{contain_drop, panic_text};
use crate::server::listen::SocketOptions;
use crate::shared::sync::{Mutex, MutexGuard};
use crate::shared::{Command, Handover, LoopShared, WAKE_TOKEN, Wake, drain};

/// How long a listener rests that cannot accept: at most 100 attempts a second while descriptors are out.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Bursts in which a listener that closes takes those who wait; a flood does not keep it open.
pub(crate) const DRAIN_BURSTS: usize = 32;

/// A listening socket, whoever polls it.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Which of the server's listeners it is.
    pub(crate) index: u16,
    options: SocketOptions,
    /// Accepts in a row, before others have their turn.
    burst: usize,
    /// That it cannot accept was logged; once is enough until it can again.
    failing: bool,
    burst_end: Burst,
}

/// What a burst of accepts has ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Burst {
    /// Nobody waits any more; an event will tell of the next.
    Drained,
    /// Others may still wait: go on soon.
    Unfinished,
    /// Accepting failed for now: go on after a [`PAUSE`].
    Paused,
}

impl Listener {
    pub(crate) fn new(
        socket: TcpListener,
        index: u16,
        options: SocketOptions,
        burst: usize,
    ) -> Self {
        Listener {
            socket,
            index,
            options,
            burst,
            failing: false,
            burst_end: Burst::Drained,
        }
    }

    pub(crate) fn register(&mut self, registry: &mio::Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// An event says that somebody waits. During a pause that is no news: the backlog is looked at when it is over.
    pub(crate) fn on_event(&mut self) {
        if self.burst_end != Burst::Paused {
            self.burst_end = Burst::Unfinished;
        }
    }

    /// A pause is over.
    pub(crate) fn resume(&mut self) {
        self.burst_end = Burst::Unfinished;
    }

    /// What the last burst has ended with, and what has happened since.
    pub(crate) fn burst_end(&self) -> Burst {
        self.burst_end
    }

    /// Accepts until nobody waits, within the burst; those who are admitted go to `take`.
    pub(crate) fn accept(&mut self, admission: &Admission, take: impl FnMut(Handover)) -> Burst {
        self.burst_end = self.accept_burst(admission, take);
        self.burst_end
    }

    fn accept_burst(&mut self, admission: &Admission, mut take: impl FnMut(Handover)) -> Burst {
        for _ in 0..self.burst {
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    self.failing = false;
                    if !admission.reserve.is_there() {
                        // It makes room for the reserve, or those who come next would hang.
                        drop(stream);
                        admission.reserve.is_there();
                        admission.count_shed();
                    } else if admission.admit(Some(peer.ip())) {
                        self.options.apply_to_accepted(&stream);
                        take(Handover {
                            stream,
                            peer: peer.into(),
                            listener: self.index,
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Burst::Drained,
                Err(error) if is_about_one_peer(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        log::warn!("listener {} cannot accept: {error}", self.index);
                    }
                    if !is_out_of_descriptors(&error) {
                        return Burst::Paused;
                    }
                    match admission.reserve.shed(&self.socket) {
                        Shed::One => admission.count_shed(),
                        Shed::Nobody => return Burst::Drained,
                        Shed::Unknown => {}
                    }
                    return Burst::Paused;
                }
            }
        }
        Burst::Unfinished
    }
}

/// Whether an accept failed over a connection that ended before it was taken, so that the next may do better (accept(2):
/// errors that are already pending on the new socket).
fn is_about_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

/// EMFILE and ENFILE, for which std has no kind; the numbers are the same on every Unix that mio knows.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// What other threads see of the acceptor.
pub(crate) struct AcceptorShared {
    wake: Box<Wake>,
    phase: Mutex<Phase>,
}

/// What the acceptor is to do; it only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Take those that wait in the backlog, and have the workers drain within the deadline.
    Draining(Duration),
    Stopping,
}

impl AcceptorShared {
    pub(crate) fn new(wake: Box<Wake>) -> Self {
        AcceptorShared {
            wake,
            phase: Mutex::new(Phase::Running),
        }
    }

    /// Moves the acceptor on to a later phase; a drain that has begun keeps its deadline.
    pub(crate) fn move_on(&self, to: Phase) {
        self.set_phase(to);
        if let Err(error) = (self.wake)() {
            log::error!("the acceptor could not be woken: {error}");
        }
    }

    pub(crate) fn set_phase(&self, to: Phase) {
        let mut phase = self.lock();
        if *phase == Phase::Running || to == Phase::Stopping {
            *phase = to;
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        // One word is written at a time, so a panic elsewhere does not spoil it.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop that accepts and hands over.
pub(crate) struct Acceptor {
    pub(crate) poll: Poll,
    pub(crate) shared: Arc<AcceptorShared>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) balance: Box<dyn Balance>,
    pub(crate) workers: Vec<Arc<LoopShared>>,
}

impl Acceptor {
    /// Accepts until the server ends.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            listener.register(self.poll.registry(), Token(index))?;
        }
        let mut pause_ends = Instant::now();
        loop {
            let ends_with = |end| {
                self.listeners
                    .iter()
                    .any(|listener| listener.burst_end() == end)
            };
            let is_pausing = ends_with(Burst::Paused);
            let timeout = if ends_with(Burst::Unfinished) {
                Some(Duration::ZERO)
            } else if is_pausing {
                Some(pause_ends.saturating_duration_since(Instant::now()))
            } else {
                None
            };
            // Asked before the poll, not after: where mio emulates edges, accepting can swallow the wake-up that came
            // with the news.
            match self.shared.phase() {
                Phase::Running => {}
                Phase::Draining(deadline) => return self.drain(deadline),
                Phase::Stopping => return Ok(()),
            }
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in events.iter().filter(|event| event.token() != WAKE_TOKEN) {
                self.listeners[event.token().0].on_event();
            }
            let pause_is_over = is_pausing && Instant::now() >= pause_ends;
            for index in 0..self.listeners.len() {
                if pause_is_over && self.listeners[index].burst_end() == Burst::Paused {
                    self.listeners[index].resume();
                }
                if self.listeners[index].burst_end() == Burst::Unfinished
                    && self.accept(index) == Burst::Paused
                {
                    pause_ends = Instant::now() + PAUSE;
                }
            }
        }
    }

    fn accept(&mut self, index: usize) -> Burst {
        let Acceptor {
            listeners,
            balance,
            workers,
            admission,
            ..
        } = self;
        listeners[index].accept(admission, |taken| {
            hand_over(taken, &mut **balance, workers, admission)
        })
    }

    /// Takes those that wait already, closes the listeners, and passes the drain on.
    fn drain(&mut self, deadline: Duration) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            let mut bursts = 0..DRAIN_BURSTS;
            while bursts.next().is_some() && self.accept(index) == Burst::Unfinished {}
        }
        self.listeners.clear();
        drain(&self.workers, deadline);
        Ok(())
    }
}

/// Gives a connection to the worker that the balancer picks.
fn hand_over(
    taken: Handover,
    balance: &mut dyn Balance,
    workers: &[Arc<LoopShared>],
    admission: &Admission,
) {
    let pick = || balance.pick(&taken.peer, Workers::new(workers));
    let picked = catch_unwind(AssertUnwindSafe(pick)).unwrap_or_else(|panic| {
        log::error!("the balancer panicked: {}", panic_text(&*panic));
        contain_drop(panic);
        0
    });
    let worker = &workers[picked % workers.len()];
    worker.count_connection();
    if let Err(Command::Adopt(lost)) = worker.command(Command::Adopt(taken)) {
        worker.uncount_connection();
        admission.release(lost.peer.ip());
    }
}
