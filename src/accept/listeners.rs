//! The listeners of one loop, whether the loop is the acceptor or a worker that accepts for itself.

use std::io;
use std::time::Duration;

use mio::Registry;

use crate::accept::admission::Admission;
use crate::accept::listener::Listener;
use crate::shared::arrival::Arrival;
use crate::shared::token::Token;

/// Bursts in which a listener that closes takes the connections that wait: a flood does not keep it open.
const DRAIN_BURSTS: usize = 32;

/// The listeners of one loop. They accept in turn, a burst each, so that none starves the others.
pub(crate) struct Listeners(Vec<Listener>);

impl Listeners {
    /// Registers each listener under its index in the list.
    pub(crate) fn register(
        mut listeners: Vec<Listener>,
        registry: &Registry,
    ) -> io::Result<Listeners> {
        for (index, listener) in (0u16..).zip(&mut listeners) {
            listener.register(registry, Token::Listener(index))?;
        }
        Ok(Listeners(listeners))
    }

    /// Notes that connections wait at a listener. A listener that has closed since is ignored.
    pub(crate) fn on_event(&mut self, index: u16) {
        if let Some(listener) = self.0.get_mut(usize::from(index)) {
            listener.on_event();
        }
    }

    /// The time until [`accept_ready`](Self::accept_ready) has something to do; `None` until an event comes. The clock is
    /// read only while a listener rests.
    #[inline]
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.0.iter().filter_map(Listener::timeout).min()
    }

    /// True if [`accept_ready`](Self::accept_ready) has something to do now.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.0.iter().any(Listener::is_ready)
    }

    /// Lets each listener at which connections wait, or whose rest is over, accept one burst; `take` gets the connections.
    pub(crate) fn accept_ready(&mut self, admission: &Admission, take: &mut dyn FnMut(Arrival)) {
        for listener in &mut self.0 {
            if listener.is_ready() {
                listener.accept(admission, take);
            }
        }
    }

    /// Accepts the connections that wait already, then closes the listeners.
    pub(crate) fn drain(&mut self, admission: &Admission, take: &mut dyn FnMut(Arrival)) {
        for mut listener in self.0.drain(..) {
            listener.drain(DRAIN_BURSTS, admission, take);
        }
    }
}
