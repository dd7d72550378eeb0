//! One listening socket: accepts in bursts and rests while the process has no descriptors.

use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;

use crate::accept::admission::Admission;
use crate::accept::spare::{Shed, Spare, is_out_of_descriptors};
use crate::accept::succession::Succession;
use crate::io::accepted_socket::AcceptedSocket;
use crate::io::address::Address;
use crate::io::listening_socket::ListeningSocket;
use crate::io::socket_options::SocketOptions;
use crate::shared::arrival::Arrival;
use crate::shared::token::Token;

/// The rest of a listener after a failure: at most 100 attempts a second while descriptors are out.
const REST: Duration = Duration::from_millis(10);

/// Number of connections that a listener which closes takes at least, if so many wait: more come while it does.
const DRAIN_LEAST: usize = 4096;

/// Takes an admitted connection. False if it wants no more for now: then the others stay in the kernel's backlog.
pub(crate) type Take<'a> = dyn FnMut(Arrival) -> bool + 'a;

/// A listening socket, polled by the acceptor or by a worker.
pub(crate) struct Listener {
    socket: ListeningSocket,
    /// The index of the service whose connections it accepts.
    service: u16,
    /// The index of its token in the loop's poll.
    token: u16,
    options: SocketOptions,
    /// Connections accepted in a row, before other sources have their turn.
    burst: usize,
    /// A spare descriptor: with none left, one waiting peer can still be accepted and closed.
    spare: Arc<Spare>,
    succession: Arc<Succession>,
    backlog: Backlog,
    /// True while accepting fails: the failure is logged once, not at each attempt.
    is_failing: bool,
    /// True if the peers are proxies: then the limit per IP address is on their clients, who are not known yet.
    peers_are_proxies: bool,
}

/// The connections that wait in the kernel, as far as the loop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backlog {
    /// None wait. An event announces the next one.
    Empty,
    /// Some may wait, and no event will announce them.
    Waiting,
    /// Accepting failed: the next attempt is made at this time, and events until then are ignored.
    Resting(Instant),
}

impl Listener {
    pub(crate) fn new(
        socket: ListeningSocket,
        service: u16,
        options: SocketOptions,
        burst: usize,
        spare: Arc<Spare>,
        succession: Arc<Succession>,
    ) -> Self {
        Listener {
            socket,
            service,
            token: 0,
            options,
            burst,
            spare,
            succession,
            backlog: Backlog::Empty,
            is_failing: false,
            peers_are_proxies: false,
        }
    }

    /// Has the peers counted as proxies, if they are.
    pub(crate) fn with_proxies(mut self, peers_are_proxies: bool) -> Self {
        self.peers_are_proxies = peers_are_proxies;
        self
    }

    pub(super) fn register(&mut self, registry: &Registry, token: u16) -> io::Result<()> {
        self.token = token;
        self.socket
            .register(registry, Token::Listener(token).encode())
    }

    /// The index of its token in the loop's poll.
    pub(super) fn token(&self) -> u16 {
        self.token
    }

    /// True if it listens on this address.
    pub(super) fn is_at(&self, address: &Address) -> bool {
        self.socket.local_addr().is_ok_and(|own| own == *address)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }

    /// The index of the service whose connections it accepts.
    #[cfg(unix)]
    pub(crate) fn service(&self) -> u16 {
        self.service
    }

    /// The address, and another descriptor of the same socket.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<(Address, OwnedFd)> {
        Ok((self.socket.local_addr()?, self.socket.duplicate()?))
    }

    /// Notes that connections wait.
    pub(super) fn on_event(&mut self) {
        if self.backlog == Backlog::Empty {
            self.backlog = Backlog::Waiting;
        }
    }

    /// True if no connection waits, and the listener does not rest.
    pub(super) fn is_quiet(&self) -> bool {
        self.backlog == Backlog::Empty
    }

    /// The time until [`accept`](Self::accept) has something to do; `None` until an event comes.
    #[inline]
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self.backlog {
            Backlog::Empty => None,
            Backlog::Waiting => Some(Duration::ZERO),
            Backlog::Resting(until) => Some(until.saturating_duration_since(Instant::now())),
        }
    }

    /// True if [`accept`](Self::accept) has something to do now.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.timeout() == Some(Duration::ZERO)
    }

    /// Accepts until the backlog is empty or the burst is used up, and passes the admitted connections to `take`. False if
    /// `take` wants no more. Once there is a successor, the connections that wait are left to it.
    pub(super) fn accept(&mut self, admission: &Admission, take: &mut Take<'_>) -> bool {
        if self.succession.has_begun() {
            self.backlog = Backlog::Empty;
            return true;
        }
        let mut wants_more = true;
        self.backlog = self.accept_burst(admission, &mut |arrival| {
            wants_more = take(arrival);
            wants_more
        });
        wants_more
    }

    /// Lets no further client find the listener where that is possible, and accepts the connections that wait, also during a rest:
    /// as many as the backlog may hold, so that a flood does not keep the listener open. If there is a successor, both are left to
    /// it.
    pub(super) fn drain(&mut self, admission: &Admission, take: &mut Take<'_>) {
        if self.succession.has_begun() {
            return;
        }
        self.socket.withdraw();
        let most = usize::try_from(self.options.backlog()).unwrap_or(0);
        for _ in 0..=most.max(DRAIN_LEAST) / self.burst {
            self.accept(admission, take);
            if self.backlog != Backlog::Waiting {
                return;
            }
        }
    }

    fn accept_burst(&mut self, admission: &Admission, take: &mut Take<'_>) -> Backlog {
        for _ in 0..self.burst {
            match self.socket.accept() {
                Ok((socket, peer)) => {
                    self.is_failing = false;
                    let arrival = self.admit(socket, peer, admission);
                    if arrival.is_some_and(|arrival| !take(arrival)) {
                        return Backlog::Waiting;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Backlog::Empty,
                Err(error) if concerns_one_peer(&error) => {}
                Err(error) => return self.on_failure(&error, admission),
            }
        }
        Backlog::Waiting
    }

    /// Counts a connection in and sets its options; a connection for which there is no room is closed.
    fn admit(
        &self,
        socket: AcceptedSocket,
        peer: Address,
        admission: &Admission,
    ) -> Option<Arrival> {
        if !self.spare.ensure() {
            // This connection took the last descriptor: close it and reopen the spare, or later peers hang in the backlog.
            drop(socket);
            self.spare.ensure();
            admission.count_shed();
            return None;
        }
        let counted = peer.ip().filter(|_| !self.peers_are_proxies);
        if !admission.admit(counted) {
            return None;
        }
        self.options.apply_to_accepted(&socket);
        Some(Arrival {
            socket,
            peer,
            counted,
            service: self.service,
        })
    }

    /// Sheds one waiting peer if descriptors are out, and rests.
    fn on_failure(&mut self, error: &io::Error, admission: &Admission) -> Backlog {
        if !std::mem::replace(&mut self.is_failing, true) {
            log::warn!("listener {} cannot accept: {error}", self.service);
        }
        if is_out_of_descriptors(error) {
            match self.spare.shed(&self.socket) {
                Shed::One => admission.count_shed(),
                Shed::Nobody => return Backlog::Empty,
                Shed::Unknown => {}
            }
        }
        Backlog::Resting(Instant::now() + REST)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.succession.has_begun() {
            self.socket.leave();
        }
    }
}

/// True if an accept failed over a connection that ended before it was taken, so that the next accept may succeed
/// (accept(2): errors that are already pending on the new socket).
fn concerns_one_peer(error: &io::Error) -> bool {
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
