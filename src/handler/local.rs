//! Lets code on a worker reach the connections of a handler. It runs between their callbacks, so it needs no lock.

use std::fmt;

use super::Handler;
use super::conn::Conn;
use crate::connection::id::ConnId;

/// The connections of one handler value: those that its listener has on the current worker.
///
/// Lent to [`Handler::on_tick`] and to the closures of [`Connections`](crate::Connections), which run on the worker between
/// callbacks. Reaching a connection here takes no lock, no queue and no allocation.
///
/// ```
/// use ringwheel::{Conn, Handler, LocalConnections, protocol::Lines};
///
/// /// A game: each tick it moves, and tells everybody.
/// #[derive(Clone)]
/// struct Game {
///     step: u64,
/// }
///
/// impl Handler for Game {
///     type Protocol = Lines;
///     type Session = ();
///     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
///     fn on_tick(&mut self, connections: &mut LocalConnections<'_, Self>) {
///         self.step += 1;
///         let state = format!("step {}", self.step);
///         connections.for_each(|conn, _session| _ = conn.send(&state));
///     }
/// }
/// ```
pub struct LocalConnections<'a, H: Handler> {
    access: &'a mut dyn LocalAccess<H>,
}

/// A closure that runs with a connection and its session.
pub(crate) type LocalVisitor<'a, H> =
    dyn FnMut(&mut Conn<'_, <H as Handler>::Protocol>, &mut <H as Handler>::Session) + 'a;

/// Gives [`LocalConnections`] access to a service and to the worker's table.
pub(crate) trait LocalAccess<H: Handler> {
    /// Index of the worker.
    fn worker(&self) -> usize;
    /// The open connections of the service.
    fn ids(&self) -> Vec<ConnId>;
    /// Number of the service's connections that subscribe to a topic on this worker.
    fn subscribers(&self, topic: &str) -> usize;
    /// Calls `visit` with a connection, if it is open and the handler knows it.
    fn visit(&mut self, id: ConnId, visit: &mut LocalVisitor<'_, H>);
    /// Calls `visit` with each of these connections. The output of each leaves at once, and its ring goes on to the next.
    fn visit_all(&mut self, ids: &[ConnId], visit: &mut LocalVisitor<'_, H>);
}

impl<'a, H: Handler> LocalConnections<'a, H> {
    pub(crate) fn new(access: &'a mut dyn LocalAccess<H>) -> Self {
        LocalConnections { access }
    }

    /// Index of the current worker.
    pub fn worker(&self) -> usize {
        self.access.worker()
    }

    /// The names of all open connections, in no particular order.
    pub fn ids(&self) -> Vec<ConnId> {
        self.access.ids()
    }

    /// Number of these connections that subscribe to a topic.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.access.subscribers(topic)
    }

    /// Calls a closure with one connection and its session. `None` if the connection is not open, belongs to another
    /// handler or worker, or if the closure panicked, which ends the connection as in a callback.
    pub fn with<R>(
        &mut self,
        id: ConnId,
        visit: impl FnOnce(&mut Conn<'_, H::Protocol>, &mut H::Session) -> R,
    ) -> Option<R> {
        let (mut visit, mut result) = (Some(visit), None);
        self.access.visit(id, &mut |conn, session| {
            if let Some(visit) = visit.take() {
                result = Some(visit(conn, session));
            }
        });
        result
    }

    /// Calls a closure with each open connection and its session. What it sends to a connection leaves when it returns, in
    /// one write. A panic in it ends the connection that it was called with, as in a callback; the others follow.
    ///
    /// The names are collected first: this is the only allocation.
    pub fn for_each(&mut self, mut visit: impl FnMut(&mut Conn<'_, H::Protocol>, &mut H::Session)) {
        let ids = self.ids();
        self.access.visit_all(&ids, &mut visit);
    }
}

impl<H: Handler> fmt::Debug for LocalConnections<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConnections")
            .field("worker", &self.worker())
            .finish_non_exhaustive()
    }
}
