//! A worker's loop: waits for events, tells the reactor the time, and passes on what happened.

pub(crate) mod change;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod newcomers;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::event::Event;
use mio::{Events, Poll};

use crate::accept::admission::Admission;
use crate::accept::control::AcceptorControl;
use crate::accept::listener::Take;
use crate::accept::listeners::Listeners;
use crate::event_loop::change::LoopChange;
use crate::event_loop::newcomers::Newcomers;
use crate::panics::{contain_drop, panic_text};
use crate::reactor::{Reactor, Readiness};
use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::token::Token;

/// Events taken from the kernel at a time.
const EVENTS: usize = 1024;
/// Commands obeyed in one iteration; each is at most one new connection.
const COMMAND_BUDGET: usize = 256;
/// Connections that a worker accepts by itself in one iteration.
const ACCEPT_BUDGET: usize = 256;

/// A worker's poll, the listeners from which it accepts by itself, and its reactor.
pub(crate) struct EventLoop {
    pub(crate) poll: Poll,
    pub(crate) reactor: Reactor,
    pub(crate) listeners: Listeners,
    /// The connections that the reactor has not adopted yet.
    pub(crate) newcomers: Newcomers,
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) changes: Receiver<LoopChange>,
    pub(crate) admission: Arc<Admission>,
    /// The acceptor that hands connections over; `None` if all workers accept by themselves.
    pub(crate) acceptor: Option<Arc<AcceptorControl>>,
    /// Number of connections that were taken from the acceptor and that it does not know of, because newcomers are held off.
    pub(crate) untold: usize,
    /// The time after an event during which the loop polls without sleeping.
    pub(crate) busy_poll: Option<Duration>,
}

impl EventLoop {
    /// Runs until the server ends. However it ends, every open connection ends with its handler's `on_close`.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.reactor.measure_time();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.iterate()));
        self.newcomers.stop();
        self.reactor.stop();
        self.count_departed();
        self.tell_acceptor();
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
        let mut last_event = Instant::now();
        let mut is_stopped = false;
        while !is_stopped && !self.is_drained() {
            self.wait(&mut events, &mut last_event)?;
            self.dispatch(&events);
            if self.listeners.has_ready() && !self.newcomers.are_held_off() {
                self.accept_ready();
            }
            if self.shared.has_commands() {
                is_stopped = self.obey_commands();
            }
            if !self.newcomers.are_quiet() {
                self.serve_newcomers();
                self.tell_acceptor();
            }
            self.newcomers.end_iteration();
            self.reactor.finish_iteration();
            if self.reactor.has_departed() {
                self.count_departed();
            }
        }
        Ok(())
    }

    /// True once a drain has ended, and no connection is opening that would have to be drained.
    fn is_drained(&self) -> bool {
        self.reactor.is_drained() && self.newcomers.are_quiet()
    }

    /// Sleeps until an event, a wake-up or the next deadline, then tells the reactor the time.
    fn wait(&mut self, events: &mut Events, last_event: &mut Instant) -> io::Result<()> {
        loop {
            let timeout = self.prepare_to_sleep(*last_event);
            match self.poll.poll(events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        }
        self.shared.woke_up();
        self.reactor.set_now(self.shared.clock());
        if self.busy_poll.is_some() && !events.is_empty() {
            *last_event = Instant::now();
        }
        Ok(())
    }

    /// Returns how long the loop may sleep; `None` until an event or a wake-up comes.
    fn prepare_to_sleep(&mut self, last_event: Instant) -> Option<Duration> {
        let mut next_newcomer = self.listeners.timeout();
        if !self.newcomers.are_quiet() {
            next_newcomer = earlier(next_newcomer, self.next_opening());
        }
        let has_work = self.shared.prepare_to_sleep() || next_newcomer == Some(Duration::ZERO);
        let is_spinning = self
            .busy_poll
            .is_some_and(|time| last_event.elapsed() < time);
        let timeout = if has_work || is_spinning {
            Some(Duration::ZERO)
        } else {
            let next_timer = self.reactor.timeout(|| self.shared.clock());
            earlier(next_timer, next_newcomer)
        };
        // A loop that spins does not sleep either, but that alone does not mean that it is behind.
        let is_behind = timeout == Some(Duration::ZERO) && (has_work || !is_spinning);
        self.reactor.set_behind(is_behind);
        timeout
    }

    #[cold]
    fn next_opening(&self) -> Option<Duration> {
        let pause = self.reactor.newcomers_pause();
        self.newcomers.timeout(pause, || self.shared.clock())
    }

    // Out of line, so that it has the processor's registers to itself.
    #[inline(never)]
    fn dispatch(&mut self, events: &Events) {
        for event in events {
            match Token::decode(event.token()) {
                Token::Connection(token) => {
                    if !(is_plain_input(event) && self.reactor.on_plain_input(token)) {
                        self.reactor.on_event(token, readiness(event));
                    }
                }
                _ => self.dispatch_rare(event),
            }
        }
    }

    /// Handles an event of another source than a connection.
    #[cold]
    fn dispatch_rare(&mut self, event: &Event) {
        match Token::decode(event.token()) {
            Token::Listener(index) => self.listeners.on_event(index),
            Token::Opening(name) => {
                let now = self.shared.clock();
                let openings = &mut self.newcomers.openings;
                openings.on_event(name, readiness(event).readable, now);
            }
            Token::Waker | Token::Connection(_) => {}
        }
    }

    /// Lets newcomers go on, and gives the reactor those whose turn has come.
    #[cold]
    fn serve_newcomers(&mut self) {
        let registry = self.poll.registry();
        let clock = || self.shared.clock();
        self.newcomers.serve(&mut self.reactor, registry, clock);
    }

    // Out of line like the others that a message does not need, so that the loop keeps its state in registers.
    #[inline(never)]
    fn accept_ready(&mut self) {
        // The callbacks so far may have taken long, and deadlines of new connections count from now.
        self.reactor.catch_up(self.shared.clock());
        self.accept(Listeners::accept_ready, ACCEPT_BUDGET);
    }

    /// Accepts in the given manner, which is asked to stop after so many connections, or when newcomers are held off.
    fn accept(&mut self, manner: fn(&mut Listeners, &Admission, &mut Take<'_>), mut budget: usize) {
        let EventLoop {
            poll,
            reactor,
            listeners,
            newcomers,
            shared,
            admission,
            ..
        } = self;
        manner(listeners, admission, &mut |arrival| {
            shared.count_connection();
            newcomers.welcome(arrival, reactor, poll.registry(), shared);
            budget = budget.saturating_sub(1);
            budget > 0 && !newcomers.are_held_off()
        });
    }

    /// Obeys the commands that wait, within the budget. True if one of them was to stop.
    #[inline(never)]
    fn obey_commands(&mut self) -> bool {
        let mut is_stopped = false;
        // The callbacks so far may have taken long, and deadlines of new connections count from now.
        self.reactor.catch_up(self.shared.clock());
        for _ in 0..COMMAND_BUDGET {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            self.shared.command_taken();
            match command {
                Command::Adopt(arrival) => {
                    let registry = self.poll.registry();
                    self.newcomers
                        .welcome(arrival, &mut self.reactor, registry, &self.shared);
                    self.untold += 1;
                    self.tell_acceptor();
                }
                Command::Schedule(task) => self.reactor.schedule_task(task),
                Command::Cancel(ticket) => self.reactor.cancel_task(&ticket),
                Command::Drain(deadline, workers) => self.drain(deadline, workers),
                Command::LookAtChanges => self.make_change(),
                // The reactor does so at the end of each iteration.
                Command::LookAtDrain => {}
                Command::Stop => is_stopped = true,
            }
        }
        is_stopped
    }

    /// Makes the change that a command has announced.
    #[cold]
    fn make_change(&mut self) {
        match self.changes.try_recv() {
            Ok(LoopChange::Serve { make, opening }) => {
                self.reactor.add_service(make());
                self.newcomers.openings.add_service(opening);
                // Mail may have come for it.
                self.shared.notify();
            }
            // A worker that drains accepts nobody any more.
            Ok(LoopChange::Listeners(_)) if self.reactor.is_draining() => {}
            Ok(LoopChange::Listeners(change)) => {
                let EventLoop {
                    poll,
                    reactor,
                    listeners,
                    newcomers,
                    shared,
                    admission,
                    ..
                } = self;
                let registry = poll.registry();
                listeners.change(change, registry, admission, &mut |arrival| {
                    shared.count_connection();
                    newcomers.welcome(arrival, reactor, registry, shared);
                    true
                });
            }
            Err(_) => {}
        }
    }

    /// Accepts the connections that wait already, closes the listeners, and begins to drain.
    fn drain(&mut self, deadline: Duration, workers: Arc<[Arc<LoopShared>]>) {
        self.listeners.deregister(self.poll.registry());
        self.newcomers
            .adopt_all(&mut self.reactor, self.poll.registry());
        self.accept(Listeners::drain, usize::MAX);
        // The callbacks of these connections may have taken long, and the deadline counts from now.
        let now = self.shared.clock();
        self.reactor.catch_up(now);
        self.newcomers.openings.begin_drain(deadline, now);
        self.reactor.begin_drain(deadline, workers);
    }

    /// Counts out the connections that came too late, and drops the other commands.
    fn return_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.shared.command_taken();
            if let Command::Adopt(late) = &command {
                self.count_taken();
                self.shared.uncount_connection();
                self.admission.release(late.counted);
            }
            contain_drop(command);
        }
    }

    /// Tells the acceptor of the connections that were taken, once newcomers are held off no more: until then they count as handed over, so
    /// that it accepts no further ones.
    fn tell_acceptor(&mut self) {
        while self.untold > 0 && !self.newcomers.are_held_off() {
            self.untold -= 1;
            self.count_taken();
        }
    }

    /// Tells the acceptor that a connection which it has handed over was taken.
    fn count_taken(&self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.count_taken(self.shared.worker);
        }
    }

    #[inline(never)]
    fn count_departed(&mut self) {
        for departed in self.reactor.departed() {
            self.shared.uncount_connection();
            self.admission.release(departed.peer.ip());
            if departed.has_lost_output {
                self.admission.count_output_lost();
            }
        }
    }
}

/// True if an event announces input and nothing beside it that needs a look, as nearly all do.
#[inline]
fn is_plain_input(event: &Event) -> bool {
    let needs_a_look = event.is_read_closed() | event.is_error() | event.is_priority();
    event.is_readable() & !needs_a_look
}

/// The reactor's description of an event.
fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
        writable: event.is_writable() || event.is_write_closed(),
        drain_fully: event.is_read_closed() || event.is_error() || event.is_priority(),
        error: event.is_error(),
    }
}

/// The earlier of two times to wait, of which `None` is for ever.
pub(super) fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match other {
        None => one,
        Some(other) => Some(one.map_or(other, |one| one.min(other))),
    }
}
