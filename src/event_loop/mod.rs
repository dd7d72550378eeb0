//! A worker's loop: wait, tell the time, pass on what happened.

#[cfg(all(test, loom))]
mod models;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::accept::acceptor::{Burst, DRAIN_BURSTS, Listener, PAUSE};
use crate::accept::admission::Admission;
use crate::connection::id::ConnId;
use crate::io::transport::Socket;
use crate::panics::{contain_drop, panic_text};
use crate::reactor::{Reactor, Readiness};
use crate::shared::{Command, Handover, LoopShared, WAKE_TOKEN};

/// Events taken from the kernel at a time.
const EVENTS: usize = 1024;
/// Commands obeyed in one iteration; each is at most one new connection.
const COMMAND_BUDGET: usize = 256;

/// A worker's poll, the listeners it accepts for itself, and its reactor.
pub(crate) struct EventLoop {
    poll: Poll,
    reactor: Reactor,
    listeners: Vec<Listener>,
    shared: Arc<LoopShared>,
    commands: Receiver<Command>,
    admission: Arc<Admission>,
    busy_poll: Duration,
    /// Some listener may have somebody waiting.
    unfinished: bool,
    stopping: bool,
}

impl EventLoop {
    pub(crate) fn new(
        poll: Poll,
        reactor: Reactor,
        mut listeners: Vec<Listener>,
        shared: Arc<LoopShared>,
        commands: Receiver<Command>,
        admission: Arc<Admission>,
        busy_poll: Duration,
    ) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), listener_token(index))?;
        }
        Ok(EventLoop {
            poll,
            reactor,
            listeners,
            shared,
            commands,
            admission,
            busy_poll,
            unfinished: false,
            stopping: false,
        })
    }

    /// Runs until the server ends. However it ends, every connection is closed in front of its handler.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.iterate()));
        self.reactor.stop();
        self.count_departed();
        self.return_commands();
        outcome.unwrap_or_else(|panic| {
            log::error!(
                "worker {} panicked: {}",
                self.shared.worker,
                panic_text(&*panic)
            );
            Err(io::Error::other("a worker panicked"))
        })
    }

    fn iterate(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut busy_at = Instant::now();
        while !self.stopping && !self.reactor.is_drained() {
            let must_not_sleep = self.shared.prepare_to_sleep() || self.unfinished;
            let spinning = !self.busy_poll.is_zero() && busy_at.elapsed() < self.busy_poll;
            let timeout = if must_not_sleep || spinning {
                Some(Duration::ZERO)
            } else {
                self.reactor.timeout(|| self.shared.clock())
            };
            // Who spins never sleeps, but is not late for that.
            let is_late = timeout == Some(Duration::ZERO) && (must_not_sleep || !spinning);
            self.reactor.set_behind(is_late);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            self.shared.woke_up();
            self.reactor.set_now(self.shared.clock());
            if !self.busy_poll.is_zero() && !events.is_empty() {
                busy_at = Instant::now();
            }
            self.dispatch(&events);
            if self.unfinished {
                self.accept_unfinished();
            }
            if self.shared.has_commands() {
                self.obey_commands();
            }
            self.reactor.finish_iteration();
            if self.reactor.has_news() {
                self.resume_listeners();
                self.count_departed();
            }
        }
        Ok(())
    }

    /// Counts out the connections that came too late.
    fn return_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.shared.command_taken();
            if let Command::Adopt(late) = &command {
                self.shared.uncount_connection();
                self.admission.release(late.peer.ip());
            }
            contain_drop(command);
        }
    }

    // Out of line, so that it has the processor's registers to itself.
    #[inline(never)]
    fn dispatch(&mut self, events: &Events) {
        for event in events {
            let token = event.token().0;
            if token >= FIRST_LISTENER_TOKEN {
                self.dispatch_to_listener(event.token());
            } else if !(is_plain_input(event) && self.reactor.on_plain_input(token)) {
                self.reactor.on_event(token, readiness(event));
            }
        }
    }

    #[cold]
    fn dispatch_to_listener(&mut self, token: Token) {
        if token == WAKE_TOKEN {
            return;
        }
        if let Some(listener) = self.listeners.get_mut(listener_index(token)) {
            listener.on_event();
            self.unfinished = true;
        }
    }

    /// Lets the listeners accept that have somebody waiting.
    fn accept_unfinished(&mut self) {
        self.unfinished = false;
        self.reactor.catch_up(self.shared.clock());
        let (reactor, registry, shared) = (&mut self.reactor, self.poll.registry(), &self.shared);
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.burst_end() != Burst::Unfinished {
                continue;
            }
            let burst = listener.accept(&self.admission, |taken| {
                shared.count_connection();
                adopt(reactor, registry, taken);
            });
            match burst {
                Burst::Drained => {}
                Burst::Unfinished => self.unfinished = true,
                Burst::Paused => reactor.pause_listener(index, PAUSE),
            }
        }
    }

    /// The pauses of listeners end with timers.
    fn resume_listeners(&mut self) {
        for index in self.reactor.resumed_listeners() {
            if let Some(listener) = self.listeners.get_mut(index) {
                listener.resume();
                self.unfinished = true;
            }
        }
    }

    fn obey_commands(&mut self) {
        // The callbacks so far may have taken long, and the deadlines of what comes now are counted from now.
        self.reactor.catch_up(self.shared.clock());
        for _ in 0..COMMAND_BUDGET {
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            self.shared.command_taken();
            match command {
                Command::Adopt(taken) => adopt(&mut self.reactor, self.poll.registry(), taken),
                Command::Schedule(task) => self.reactor.schedule_task(task),
                Command::Sweep => {
                    self.shared.sweep_begins();
                    self.reactor.sweep_tasks();
                }
                Command::Drain(deadline) => self.drain(deadline),
                Command::Stop => self.stopping = true,
            }
        }
    }

    fn drain(&mut self, deadline: Duration) {
        self.listeners.iter_mut().for_each(Listener::resume);
        self.unfinished = true;
        for _ in 0..DRAIN_BURSTS {
            if self.unfinished {
                self.accept_unfinished();
            }
        }
        self.unfinished = false;
        self.listeners.clear();
        self.reactor.begin_drain(deadline);
    }

    #[inline]
    fn count_departed(&mut self) {
        for peer in self.reactor.departed() {
            self.shared.uncount_connection();
            self.admission.release(peer.ip());
        }
    }
}

/// Whether an event says that there is input, and nothing beside it that would need a look. Nearly all do.
#[inline]
fn is_plain_input(event: &Event) -> bool {
    let is_unusual = event.is_read_closed() | event.is_error() | event.is_priority();
    event.is_readable() & !is_unusual
}

/// All that an event says of a connection.
fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
        writable: event.is_writable() || event.is_write_closed(),
        drain_fully: event.is_read_closed() || event.is_error() || event.is_priority(),
        error: event.is_error(),
    }
}

/// Takes a connection in; one that cannot be registered is dropped, and counted out like any other that ends.
fn adopt(reactor: &mut Reactor, registry: &Registry, taken: Handover) {
    let register = |socket: &mut Socket, id: ConnId| match socket {
        Socket::Tcp(stream) => registry.register(stream, Token(id.token()), interest()),
        _ => Ok(()),
    };
    let Handover {
        stream,
        peer,
        listener,
    } = taken;
    reactor.adopt(listener, Socket::Tcp(stream), peer, register);
}

/// All that a connection ever waits for, asked for once. Where urgent data can be told, it is: a short read in front of it
/// does not mean that the socket is empty.
fn interest() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}

/// The tokens of a loop's own listeners lie below the waker's and above those of any connection, whose slots are small.
const FIRST_LISTENER_TOKEN: usize = usize::MAX - 1024;

fn listener_token(index: usize) -> Token {
    Token(FIRST_LISTENER_TOKEN + index)
}

fn listener_index(token: Token) -> usize {
    token.0 - FIRST_LISTENER_TOKEN
}
