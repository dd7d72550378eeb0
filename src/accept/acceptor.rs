//! The acceptor's loop: accepts for all workers and hands each connection to the worker that the balancer picks.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(unix)]
use std::slice::Iter;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::accept::admission::Admission;
use crate::accept::balance::{Balance, Workers};
use crate::accept::control::{AcceptorControl, Course};
use crate::accept::handover::Handover;
use crate::accept::listener::Listener;
use crate::accept::listeners::Listeners;
use crate::panics::{contain_drop, panic_text};
use crate::shared::LoopShared;
use crate::shared::arrival::Arrival;
use crate::shared::command::Command;
use crate::shared::token::Token;
use crate::shared::waker::waker;

/// Events taken from the kernel at a time.
const EVENTS: usize = 64;

/// The loop that accepts and hands over.
pub(crate) struct Acceptor {
    poll: Poll,
    control: Arc<AcceptorControl>,
    listeners: Listeners,
    admission: Arc<Admission>,
    balance: Box<dyn Balance>,
    workers: Vec<Arc<LoopShared>>,
    /// A worker that the balancer has picked although it had no room: nothing is accepted until it has.
    overfull: Option<usize>,
}

impl Acceptor {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        admission: Arc<Admission>,
        balance: Box<dyn Balance>,
        workers: Vec<Arc<LoopShared>>,
        handover_limit: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let handover = Handover::new(workers.len(), handover_limit);
        Ok(Acceptor {
            control: Arc::new(AcceptorControl::new(waker(poll.registry())?, handover)),
            listeners: Listeners::register(listeners, poll.registry())?,
            poll,
            admission,
            balance,
            workers,
            overfull: None,
        })
    }

    /// Tells the acceptor from any thread to drain or to stop.
    pub(crate) fn control(&self) -> Arc<AcceptorControl> {
        self.control.clone()
    }

    #[cfg(unix)]
    pub(crate) fn listeners(&self) -> Iter<'_, Listener> {
        self.listeners.iter()
    }

    /// Accepts until the server ends.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            // Read before the poll, not after: where mio emulates edges, accepting can swallow the wake-up that came with
            // the change.
            match self.control.course() {
                Course::Accept => {}
                Course::Drain(deadline) => {
                    self.drain(deadline);
                    return Ok(());
                }
                Course::Stop => return Ok(()),
            }
            // Made before the poll for the same reason.
            self.change_listeners();
            let must_wait = self.must_wait();
            let timeout = match must_wait {
                true => None,
                false => self.listeners.timeout(),
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                if let Token::Listener(index) = Token::decode(event.token()) {
                    self.listeners.on_event(index);
                }
            }
            if !must_wait {
                self.accept_ready();
            }
        }
    }

    /// Adds and closes listeners, as handles of the server have asked.
    fn change_listeners(&mut self) {
        for change in self.control.take_changes() {
            let Acceptor {
                poll,
                control,
                listeners,
                admission,
                balance,
                workers,
                ..
            } = self;
            listeners.change(change, poll.registry(), admission, &mut |arrival| {
                hand_over(arrival, &mut **balance, workers, admission, control);
                true
            });
        }
    }

    /// True if nothing may be accepted until a worker has room; that worker then wakes this loop.
    fn must_wait(&mut self) -> bool {
        let handover = &self.control.handover;
        self.overfull = self
            .overfull
            .filter(|worker| handover.must_wait_for(*worker));
        self.overfull.is_some() || handover.must_wait()
    }

    fn accept_ready(&mut self) {
        let Acceptor {
            control,
            listeners,
            admission,
            balance,
            workers,
            overfull,
            ..
        } = self;
        listeners.accept_ready(admission, &mut |arrival| {
            *overfull = hand_over(arrival, &mut **balance, workers, admission, control);
            overfull.is_none() && control.handover.has_room_anywhere()
        });
    }

    /// Accepts the connections that wait already, also for workers without room, closes the listeners, and passes the drain
    /// on to the workers.
    fn drain(&mut self, deadline: Duration) {
        let Acceptor {
            control,
            listeners,
            admission,
            balance,
            workers,
            ..
        } = self;
        listeners.drain(admission, &mut |arrival| {
            hand_over(arrival, &mut **balance, workers, admission, control);
            true
        });
        LoopShared::drain_all(&self.workers, deadline);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.control.end_changes();
        self.control.release_waker();
    }
}

/// Gives a connection to the worker that the balancer picks. Returns the worker if it had no room.
fn hand_over(
    arrival: Arrival,
    balance: &mut dyn Balance,
    workers: &[Arc<LoopShared>],
    admission: &Admission,
    control: &AcceptorControl,
) -> Option<usize> {
    let pick = || balance.pick(&arrival.peer, Workers::new(workers, &control.handover));
    let picked = catch_unwind(AssertUnwindSafe(pick)).unwrap_or_else(|panic| {
        log::error!("the balancer panicked: {}", panic_text(&*panic));
        contain_drop(panic);
        0
    });
    let picked = picked % workers.len();
    let worker = &workers[picked];
    let had_room = control.handover.count_in(picked);
    worker.count_connection();
    if let Err(Command::Adopt(lost)) = worker.command(Command::Adopt(arrival)) {
        worker.uncount_connection();
        control.handover.take_out(picked);
        admission.release(lost.counted);
    }
    (!had_room).then_some(picked)
}
