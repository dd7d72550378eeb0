//! A worker's loop: waits for events, tells the reactor the time, and passes on what happened.

pub(crate) mod change;
#[cfg(all(test, loom))]
mod loom_models;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::event::Event;
use mio::{Events, Interest, Poll, Registry};

use crate::accept::admission::Admission;
use crate::accept::control::AcceptorControl;
use crate::accept::listener::Take;
use crate::accept::listeners::Listeners;
use crate::connection::callback_budget::CallbackBudget;
use crate::connection::id::ConnId;
use crate::event_loop::change::LoopChange;
use crate::io::stream::Stream;
use crate::opening::{Opened, Openings};
use crate::panics::{contain_drop, panic_text};
use crate::reactor::{Reactor, Readiness};
use crate::shared::LoopShared;
use crate::shared::arrival::Arrival;
use crate::shared::command::Command;
use crate::shared::token::{OpeningName, Token};

/// Events taken from the kernel at a time.
const EVENTS: usize = 1024;
/// Commands obeyed in one iteration; each is at most one new connection.
const COMMAND_BUDGET: usize = 256;

/// A worker's poll, the listeners from which it accepts by itself, and its reactor.
pub(crate) struct EventLoop {
    pub(crate) poll: Poll,
    pub(crate) reactor: Reactor,
    pub(crate) listeners: Listeners,
    /// The connections that their protocol does not see yet.
    pub(crate) openings: Openings,
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) changes: Receiver<LoopChange>,
    pub(crate) admission: Arc<Admission>,
    /// The acceptor that hands connections over; `None` if all workers accept by themselves.
    pub(crate) acceptor: Option<Arc<AcceptorControl>>,
    /// The time after an event during which the loop polls without sleeping.
    pub(crate) busy_poll: Option<Duration>,
}

impl EventLoop {
    /// Runs until the server ends. However it ends, every open connection ends with its handler's `on_close`.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.reactor.measure_time();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.iterate()));
        self.openings.stop();
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
        let mut last_event = Instant::now();
        let mut is_stopped = false;
        while !is_stopped && !self.is_drained() {
            self.wait(&mut events, &mut last_event)?;
            self.dispatch(&events);
            if self.listeners.has_ready() {
                self.accept_ready();
            }
            if self.shared.has_commands() {
                is_stopped = self.obey_commands();
            }
            if !self.openings.is_quiet() {
                self.serve_openings();
            }
            self.reactor.finish_iteration();
            if self.reactor.has_departed() {
                self.count_departed();
            }
        }
        Ok(())
    }

    /// True once a drain has ended, and no connection is opening that would have to be drained.
    fn is_drained(&self) -> bool {
        self.reactor.is_drained() && self.openings.is_quiet()
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
        if !self.openings.is_quiet() {
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
        self.openings.timeout(|| self.shared.clock())
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
                self.openings.on_event(name, readiness(event).readable, now);
            }
            Token::Waker | Token::Connection(_) => {}
        }
    }

    /// Lets connections go on that are opening, and gives the reactor those that are open.
    #[cold]
    fn serve_openings(&mut self) {
        let clock = || self.shared.clock();
        self.openings.serve(clock(), clock);
        let opened = self.openings.take_opened();
        if !opened.is_empty() {
            // Handshakes may have taken long, and deadlines of new connections count from now.
            self.reactor.catch_up(self.shared.clock());
        }
        for opened in opened {
            adopt_opened(&mut self.reactor, self.poll.registry(), opened);
        }
    }

    // Out of line like the others that a message does not need, so that the loop keeps its state in registers.
    #[inline(never)]
    fn accept_ready(&mut self) {
        // The callbacks so far may have taken long, and deadlines of new connections count from now.
        self.reactor.catch_up(self.shared.clock());
        let budget = self.reactor.begin_newcomers();
        self.accept(Listeners::accept_ready, budget);
    }

    /// Accepts in the given manner, and adopts what comes until the budget is spent.
    fn accept(
        &mut self,
        manner: fn(&mut Listeners, &Admission, &mut Take<'_>),
        mut budget: CallbackBudget,
    ) {
        let EventLoop {
            poll,
            reactor,
            listeners,
            openings,
            shared,
            admission,
            ..
        } = self;
        manner(listeners, admission, &mut |arrival| {
            shared.count_connection();
            match openings.has_stages(arrival.service) {
                false => adopt(reactor, poll.registry(), arrival),
                true => begin_opening(openings, poll.registry(), arrival, shared.clock()),
            }
            !budget.count()
        });
    }

    /// Obeys the commands that wait, within the budget. True if one of them was to stop.
    #[inline(never)]
    fn obey_commands(&mut self) -> bool {
        let mut is_stopped = false;
        // The callbacks so far may have taken long, and deadlines of new connections count from now.
        self.reactor.catch_up(self.shared.clock());
        let mut budget = self.reactor.begin_newcomers();
        for _ in 0..COMMAND_BUDGET {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            self.shared.command_taken();
            match command {
                Command::Adopt(arrival) => {
                    let registry = self.poll.registry();
                    match self.openings.has_stages(arrival.service) {
                        false => adopt(&mut self.reactor, registry, arrival),
                        true => {
                            let now = self.shared.clock();
                            begin_opening(&mut self.openings, registry, arrival, now);
                        }
                    }
                    self.count_adopted();
                    if budget.count() {
                        break;
                    }
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
                self.openings.add_service(opening);
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
                    openings,
                    shared,
                    admission,
                    ..
                } = self;
                let registry = poll.registry();
                listeners.change(change, registry, admission, &mut |arrival| {
                    shared.count_connection();
                    match openings.has_stages(arrival.service) {
                        false => adopt(reactor, registry, arrival),
                        true => begin_opening(openings, registry, arrival, shared.clock()),
                    }
                    true
                });
            }
            Err(_) => {}
        }
    }

    /// Accepts the connections that wait already, closes the listeners, and begins to drain.
    fn drain(&mut self, deadline: Duration, workers: Arc<[Arc<LoopShared>]>) {
        self.listeners.deregister(self.poll.registry());
        self.accept(Listeners::drain, CallbackBudget::ENDLESS);
        // The callbacks of these connections may have taken long, and the deadline counts from now.
        let now = self.shared.clock();
        self.reactor.catch_up(now);
        self.openings.begin_drain(deadline, now);
        self.reactor.begin_drain(deadline, workers);
    }

    /// Counts out the connections that came too late, and drops the other commands.
    fn return_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.shared.command_taken();
            if let Command::Adopt(late) = &command {
                self.count_adopted();
                self.shared.uncount_connection();
                self.admission.release(late.counted);
            }
            contain_drop(command);
        }
    }

    /// Tells the acceptor that a connection which it has handed over waits no more.
    fn count_adopted(&self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.count_adopted(self.shared.worker);
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
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match other {
        None => one,
        Some(other) => Some(one.map_or(other, |one| one.min(other))),
    }
}

/// Asks for the events of a socket.
fn register(registry: &Registry, stream: &mut Stream, token: Token) -> io::Result<()> {
    match stream {
        Stream::Tcp(socket) => registry.register(socket, token.encode(), interest()),
        #[cfg(unix)]
        Stream::Unix(socket) => registry.register(socket, token.encode(), interest()),
        _ => Ok(()),
    }
}

/// Registers a connection that opens in stages.
#[cold]
fn begin_opening(openings: &mut Openings, registry: &Registry, arrival: Arrival, now: Duration) {
    openings.begin(arrival, now, |stream, name: OpeningName| {
        register(registry, stream, Token::Opening(name))
    });
}

/// Registers a connection whose stages are done under its name, and gives it to the reactor. The poll announces anew what has
/// arrived.
fn adopt_opened(reactor: &mut Reactor, registry: &Registry, opened: Opened) {
    let reregister = |stream: &mut Stream, id: ConnId| {
        let token = Token::Connection(id.token()).encode();
        match stream {
            Stream::Tcp(socket) => registry.reregister(socket, token, interest()),
            #[cfg(unix)]
            Stream::Unix(socket) => registry.reregister(socket, token, interest()),
            _ => Ok(()),
        }
    };
    let Opened {
        wire,
        peer,
        service,
        header,
    } = opened;
    reactor.adopt_with_header(service, wire, peer, header, reregister);
}

/// Registers a connection and gives it to the reactor.
fn adopt(reactor: &mut Reactor, registry: &Registry, arrival: Arrival) {
    let register =
        |stream: &mut Stream, id: ConnId| register(registry, stream, Token::Connection(id.token()));
    let Arrival {
        socket,
        peer,
        service,
        ..
    } = arrival;
    reactor.adopt(service, Stream::from(socket).into(), peer, register);
}

/// The events of a connection, registered once for its life. Urgent data is among them where the system reports it: a short
/// read in front of it does not prove the socket empty.
fn interest() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}
