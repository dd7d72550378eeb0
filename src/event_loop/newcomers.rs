//! The newcomers of a worker: connections from the listener or the acceptor until the reactor has adopted them.

use std::io;
use std::time::Duration;

use mio::{Interest, Registry};

use crate::connection::callback_budget::CallbackBudget;
use crate::connection::id::ConnId;
use crate::event_loop::earlier;
use crate::io::stream::Stream;
use crate::opening::room::WaitingRoom;
use crate::opening::{Opened, Openings};
use crate::reactor::Reactor;
use crate::shared::LoopShared;
use crate::shared::arrival::Arrival;
use crate::shared::token::{OpeningName, Token};

/// The newcomers of a worker. A connection goes through the stages of its listener, if there are any, and is adopted at once while the
/// iteration has a budget for it. Otherwise it waits in the room, where the networks take turns.
///
/// So a worker that adopts few connections still takes those that come. In the queue of the acceptor or in the kernel's backlog
/// everybody would wait behind a client that connects without pause.
pub(crate) struct Newcomers {
    /// The connections that their protocol does not see yet.
    pub(super) openings: Openings,
    room: WaitingRoom,
    /// The budget of this iteration for connections that are adopted. `None` until the first one is.
    budget: Option<CallbackBudget>,
    /// True once the budget of this iteration is spent.
    is_spent: bool,
}

impl Newcomers {
    pub(crate) fn new(openings: Openings, room: WaitingRoom) -> Self {
        Newcomers {
            openings,
            room,
            budget: None,
            is_spent: false,
        }
    }

    /// True if no connection opens or waits, so that [`serve`](Self::serve) has nothing to do.
    #[inline]
    pub(super) fn are_quiet(&self) -> bool {
        self.openings.is_quiet() && self.room.is_empty()
    }

    /// True if the next connections must wait in front of the worker.
    #[inline]
    pub(super) fn are_held_off(&self) -> bool {
        self.room.is_closed()
    }

    /// The time until [`serve`](Self::serve) has something to do; `None` until an event comes. `pause` is the time until a
    /// connection in the room may be adopted.
    pub(super) fn timeout(
        &self,
        pause: Duration,
        now: impl FnOnce() -> Duration,
    ) -> Option<Duration> {
        if self.room.is_empty() {
            return self.openings.timeout(now);
        }
        match pause {
            Duration::ZERO => Some(pause),
            _ => earlier(Some(pause), self.openings.timeout(now)),
        }
    }

    /// Takes a connection that was admitted: begins its first stage, or passes it on if it has none.
    pub(super) fn welcome(
        &mut self,
        arrival: Arrival,
        reactor: &mut Reactor,
        registry: &Registry,
        shared: &LoopShared,
    ) {
        match self.openings.has_stages(arrival.service) {
            false => self.pass_on(arrival.into(), reactor, registry),
            true => self.begin_opening(arrival, registry, shared.clock()),
        }
    }

    #[cold]
    fn begin_opening(&mut self, arrival: Arrival, registry: &Registry, now: Duration) {
        self.openings
            .begin(arrival, now, |stream, name: OpeningName| {
                register(registry, stream, Token::Opening(name))
            });
    }

    /// Adopts an open connection, or has it wait if others do or the budget is spent.
    fn pass_on(&mut self, opened: Opened, reactor: &mut Reactor, registry: &Registry) {
        // First, so that the time of its callbacks counts.
        self.begin(reactor);
        if self.is_spent || !self.room.is_empty() {
            self.room.enter(opened);
        } else {
            self.adopt(opened, reactor, registry);
        }
    }

    /// Begins the budget of this iteration, if it is not begun.
    fn begin(&mut self, reactor: &Reactor) {
        if self.budget.is_none() {
            let budget = reactor.begin_newcomers();
            self.is_spent = budget.is_spent();
            self.budget = Some(budget);
        }
    }

    fn adopt(&mut self, opened: Opened, reactor: &mut Reactor, registry: &Registry) {
        adopt(opened, reactor, registry);
        self.is_spent = self.budget.as_mut().is_none_or(CallbackBudget::count);
    }

    /// Lets openings go on, and adopts connections that are open and whose turn has come.
    pub(super) fn serve(
        &mut self,
        reactor: &mut Reactor,
        registry: &Registry,
        clock: impl Fn() -> Duration,
    ) {
        if !self.openings.is_quiet() {
            self.openings.serve(clock(), &clock);
        }
        let opened = self.openings.take_opened();
        if !opened.is_empty() || !self.room.is_empty() {
            // Handshakes may have taken long, and deadlines of new connections count from now.
            reactor.catch_up(clock());
        }
        for opened in opened {
            self.pass_on(opened, reactor, registry);
        }
        self.adopt_waiting(reactor, registry);
    }

    /// Adopts connections that wait until the budget is spent. One whose peer has reset it costs no more of it than the time of the drop.
    fn adopt_waiting(&mut self, reactor: &mut Reactor, registry: &Registry) {
        if !self.room.is_empty() {
            self.begin(reactor);
        }
        while !self.is_spent {
            let Some(opened) = self.room.take() else {
                break;
            };
            match self.room.unless_abandoned(opened) {
                Some(opened) => self.adopt(opened, reactor, registry),
                None => self.is_spent = self.budget.is_none_or(|it| it.is_spent()),
            }
        }
    }

    /// Adopts all connections that wait, and sets no limit to those that come in the rest of the iteration: a drain is about to begin.
    pub(super) fn adopt_all(&mut self, reactor: &mut Reactor, registry: &Registry) {
        self.budget = Some(CallbackBudget::ENDLESS);
        self.is_spent = false;
        self.adopt_waiting(reactor, registry);
    }

    /// Ends the budget of this iteration.
    #[inline]
    pub(super) fn end_iteration(&mut self) {
        self.budget = None;
        self.is_spent = false;
    }

    /// Drops all connections that open or wait.
    pub(super) fn stop(&mut self) {
        self.openings.stop();
        self.room.stop();
    }
}

/// Asks for the events of a connection under its name, and gives it to the reactor. If the poll knows the socket from its opening, it
/// announces anew what has arrived.
fn adopt(opened: Opened, reactor: &mut Reactor, registry: &Registry) {
    let Opened {
        wire,
        peer,
        service,
        header,
        is_registered,
    } = opened;
    let register = |stream: &mut Stream, id: ConnId| {
        let token = Token::Connection(id.token());
        match is_registered {
            true => reregister(registry, stream, token),
            false => register(registry, stream, token),
        }
    };
    reactor.adopt(service, wire, peer, header, register);
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

/// Asks for the events of a socket under another name.
#[cold]
fn reregister(registry: &Registry, stream: &mut Stream, token: Token) -> io::Result<()> {
    match stream {
        Stream::Tcp(socket) => registry.reregister(socket, token.encode(), interest()),
        #[cfg(unix)]
        Stream::Unix(socket) => registry.reregister(socket, token.encode(), interest()),
        _ => Ok(()),
    }
}

/// The events of a connection, registered once for its life. Urgent data is among them where the system reports it: a short
/// read in front of it does not prove the socket empty.
fn interest() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}
