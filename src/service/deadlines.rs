//! Deadlines of the protocol itself.

use super::entry::Entry;
use super::hub::Hub;
use crate::connection::Connection;
use crate::connection::loop_state::LoopState;
use crate::handler::Handler;
use crate::io::output::Reply;
use crate::protocol::{Decode, UnpackContext};

impl<H: Handler> Hub<H> {
    /// Lets the protocol meet its deadline, if that has come.
    pub(super) fn meet_deadline(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if connection.life.takes_input() {
            self.table
                .enter(connection, state, 0, |entry| entry.meet_deadline());
        }
    }
}

impl<H: Handler> Entry<'_, H> {
    fn meet_deadline(&mut self) {
        let conn = &mut self.conn;
        let now = conn.state.now;
        let deadline = self.decoder.next_deadline(conn.encoder, now);
        if deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let connection = &mut *conn.connection;
        connection.recheck_readable();
        let heard_at = conn.state.clock.begin(connection.active_at);
        // A publication that was packed just now says nothing about the peer; output that the socket does not take does.
        connection.output.try_again();
        let peer_is_held_back = connection.has_unheard_input() || !connection.output.is_empty();
        let mut reply = Reply::new(&mut connection.output);
        let mut context =
            UnpackContext::new(reply.output(), &mut *conn.encoder, now, &connection.peer);
        context.heard_at = heard_at;
        context.peer_is_held_back = peer_is_held_back;
        let outcome = self.decoder.on_deadline(&mut context);
        reply.end();
        if let Err(error) = outcome {
            self.refuse(error);
        }
        self.end_if_overflowed();
    }
}
