//! The connections of a service, for code that runs on the worker between their callbacks.

use super::hub::Hub;
use super::typed_table::TypedTable;
use crate::connection::Connection;
use crate::connection::id::ConnId;
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::connection::victims::keep_bound;
use crate::handler::Handler;
use crate::handler::local::{LocalAccess, LocalConnections, LocalVisitor};
use crate::panics::contain_call;

impl<H: Handler> Hub<H> {
    /// Runs code with the handler and its connections on this worker. Returns the number of connections that it has reached.
    pub(super) fn run_local(
        &mut self,
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
        code: impl FnOnce(&mut H, &mut LocalConnections<'_, H>),
    ) -> usize {
        let mut access = Access {
            typed: &mut self.table,
            table,
            state,
            service,
            reached: 0,
        };
        let handler = &mut self.handler;
        contain_call(|| code(handler, &mut LocalConnections::new(&mut access)));
        access.reached
    }
}

/// The connections of a service, for code that runs between their callbacks.
struct Access<'a, H: Handler> {
    typed: &'a mut TypedTable<H>,
    table: &'a mut ConnTable,
    state: &'a mut LoopState,
    /// Index of the service on its worker.
    service: u16,
    /// Number of connections that were visited.
    reached: usize,
}

impl<H: Handler> LocalAccess<H> for Access<'_, H> {
    fn worker(&self) -> usize {
        self.state.shared.worker
    }

    fn ids(&self) -> Vec<ConnId> {
        let open = self.table.iter().filter(|connection| {
            connection.service == self.service
                && connection.life.is_active()
                && !connection.is_finishing()
                && self.typed.is_known(connection)
        });
        open.map(|connection| connection.id).collect()
    }

    fn subscribers(&self, topic: &str) -> usize {
        self.typed.link.topics.borrow().count(topic)
    }

    fn visit(&mut self, id: ConnId, visit: &mut LocalVisitor<'_, H>) {
        let Some((connection, state)) = self.call(id, visit) else {
            return;
        };
        finish_visit_later(connection, state);
    }

    fn visit_all(&mut self, ids: &[ConnId], visit: &mut LocalVisitor<'_, H>) {
        for id in ids {
            let visited = self.call(*id, visit);
            if let Some((connection, state)) = visited {
                if !finish_visit(connection, state) {
                    state.queue(connection);
                }
            }
        }
    }
}

impl<H: Handler> Access<'_, H> {
    /// Calls `visit` with a connection, if it is open and the handler knows it. Returns the connection.
    fn call(
        &mut self,
        id: ConnId,
        visit: &mut LocalVisitor<'_, H>,
    ) -> Option<(&mut Connection, &mut LoopState)> {
        keep_bound(self.table, self.state);
        let connection = self.table.get(id)?;
        let is_open = connection.life.is_active() && !connection.is_finishing();
        if connection.service != self.service || !is_open {
            return None;
        }
        self.reached += 1;
        let unread = connection.kept();
        self.typed
            .enter(connection, self.state, unread, |entry| entry.call(visit));
        Some((connection, self.state))
    }
}

/// Number of connections whose output may wait for the end of the iteration at one time, each in a ring of its own.
const WAITING_RINGS: usize = 1024;

/// Lets output that was sent wait for the end of the iteration, since another visit or letter may add to it; but not if the
/// output of many others waits, too.
pub(super) fn finish_visit_later(connection: &mut Connection, state: &mut LoopState) {
    let may_wait = !connection.output.is_empty() && state.turns.ready.len() < WAITING_RINGS;
    if may_wait || !finish_visit(connection, state) {
        state.queue(connection);
    }
}

/// Sends what is pending and gives the ring back, so that a visit to many takes the memory of one. False if the connection
/// needs a turn of its own.
pub(super) fn finish_visit(connection: &mut Connection, state: &mut LoopState) -> bool {
    connection.is_undisturbed() && connection.output.send_off(&mut state.pool)
}
