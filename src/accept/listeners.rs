//! The listeners of one loop, whether the loop is the acceptor or a worker that accepts for itself.

use std::io;
#[cfg(unix)]
use std::slice::Iter;
use std::time::Duration;

use mio::Registry;

use crate::accept::admission::Admission;
use crate::accept::listener::{Listener, Take};
use crate::io::address::Address;
use crate::shared::token::MAX_LISTENERS;

/// A change of a loop's listeners while it runs.
pub(crate) enum ListenerChange {
    Add(Listener),
    /// Closes the listener at an address, once those who wait are accepted.
    Close(Address),
}

/// The listeners of one loop. They accept in turn, a burst each, so that none starves the others.
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    /// The index of the listener that accepts first.
    first: usize,
    /// True while no connection waits at any listener and none rests, so that a loop asks nothing more in most iterations.
    are_quiet: bool,
}

impl Listeners {
    /// Registers each listener under its index in the list.
    pub(crate) fn register(
        mut listeners: Vec<Listener>,
        registry: &Registry,
    ) -> io::Result<Listeners> {
        for (token, listener) in (0u16..).zip(&mut listeners) {
            listener.register(registry, token)?;
        }
        Ok(Listeners {
            listeners,
            first: 0,
            are_quiet: true,
        })
    }

    /// Has the poll announce nothing more, before the listeners close and the poll goes on.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        for listener in &mut self.listeners {
            // A listener that stays registered costs wake-ups and nothing else: its events are ignored.
            let _ = listener.deregister(registry);
        }
    }

    #[cfg(unix)]
    pub(super) fn iter(&self) -> Iter<'_, Listener> {
        self.listeners.iter()
    }

    /// Notes that connections wait at a listener. A listener that has closed since is ignored.
    pub(crate) fn on_event(&mut self, token: u16) {
        let mut listeners = self.listeners.iter_mut();
        if let Some(listener) = listeners.find(|listener| listener.token() == token) {
            listener.on_event();
            self.are_quiet = false;
        }
    }

    /// Changes the list while the loop runs. Connections that wait at a listener which closes are passed to `take`.
    pub(crate) fn change(
        &mut self,
        change: ListenerChange,
        registry: &Registry,
        admission: &Admission,
        take: &mut Take<'_>,
    ) {
        match change {
            ListenerChange::Add(listener) => self.add(listener, registry),
            ListenerChange::Close(address) => self.close(&address, registry, admission, take),
        }
    }

    fn add(&mut self, mut listener: Listener, registry: &Registry) {
        let is_free = |token: &u16| self.listeners.iter().all(|other| other.token() != *token);
        let token = (0..MAX_LISTENERS as u16).find(is_free);
        let outcome = match token {
            Some(token) => listener.register(registry, token),
            None => Err(io::Error::other("the loop has too many listeners")),
        };
        match outcome {
            Ok(()) => {
                // Whoever has connected before it was registered waits, and an event announces that.
                self.listeners.push(listener);
            }
            Err(error) => log::error!("a listener that was added cannot be polled: {error}"),
        }
    }

    fn close(
        &mut self,
        address: &Address,
        registry: &Registry,
        admission: &Admission,
        take: &mut Take<'_>,
    ) {
        let mut listeners = self.listeners.iter();
        let Some(index) = listeners.position(|listener| listener.is_at(address)) else {
            return;
        };
        let mut listener = self.listeners.remove(index);
        self.first = 0;
        // A listener that stays registered costs wake-ups until it is dropped, and nothing else.
        let _ = listener.deregister(registry);
        listener.drain(admission, take);
    }

    /// The time until [`accept_ready`](Self::accept_ready) has something to do; `None` until an event comes. The clock is
    /// read only while a listener rests.
    #[inline]
    pub(crate) fn timeout(&self) -> Option<Duration> {
        if self.are_quiet {
            return None;
        }
        self.listeners.iter().filter_map(Listener::timeout).min()
    }

    /// True if [`accept_ready`](Self::accept_ready) has something to do now.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.are_quiet && self.listeners.iter().any(Listener::is_ready)
    }

    /// Lets each listener at which connections wait, or whose rest is over, accept one burst; `take` gets the connections.
    /// Once it wants no more, the next call begins with the next listener.
    pub(crate) fn accept_ready(&mut self, admission: &Admission, take: &mut Take<'_>) {
        let count = self.listeners.len();
        for step in 0..count {
            let index = (self.first + step) % count;
            let listener = &mut self.listeners[index];
            if listener.is_ready() && !listener.accept(admission, take) {
                self.first = (index + 1) % count;
                break;
            }
        }
        self.are_quiet = self.listeners.iter().all(Listener::is_quiet);
    }

    /// Accepts the connections that wait already, then closes the listeners.
    pub(crate) fn drain(&mut self, admission: &Admission, take: &mut Take<'_>) {
        for mut listener in self.listeners.drain(..) {
            listener.drain(admission, take);
        }
        self.are_quiet = true;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::sync::Arc;

    use mio::{Events, Poll};

    use crate::accept::spare::Spare;
    use crate::io::address::Address;
    use crate::io::listening_socket::ListeningSocket;
    use crate::io::socket_options::SocketOptions;

    /// A worker that drains goes on polling while a successor accepts at a duplicate of its listener.
    #[test]
    fn clients_of_a_successor_wake_no_loop_that_has_closed_its_listener() {
        let options = SocketOptions::default();
        let socket = options.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let socket = ListeningSocket::Tcp(socket);
        let spare = Arc::new(Spare::new());
        let listener = Listener::new(socket, 0, options, 1, spare, Arc::default());
        let (address, _duplicate) = listener.duplicate().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut listeners = Listeners::register(vec![listener], poll.registry()).unwrap();
        assert!(is_woken_by_client(&mut poll, &address));
        listeners.deregister(poll.registry());
        listeners.listeners.clear();
        assert!(!is_woken_by_client(&mut poll, &address));
    }

    fn is_woken_by_client(poll: &mut Poll, address: &Address) -> bool {
        let _client = TcpStream::connect(address).unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }
}
