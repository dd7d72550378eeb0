//! Requests that reach a connection through its control, past all mail.

use super::hub::Hub;
use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::gate::Gate;
use crate::connection::loop_state::LoopState;
use crate::handler::Handler;
use crate::shared::control::Requests;

impl<H: Handler> Hub<H> {
    pub(super) fn do_requests(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        requests: Requests,
    ) {
        if requests.has(Requests::ABORT) {
            connection.abort(Cause::Aborted);
        }
        for (request, reason) in [
            (Requests::RESUME, Gate::PAUSED),
            (Requests::MAIL_READ, Gate::MAIL),
            (Requests::POSTED, Gate::POSTED),
        ] {
            if requests.has(request) {
                connection.listen_again(reason, state.tick);
            }
        }
        if requests.has(Requests::MAIL_READ) {
            connection.extra_or_new().was_refused = false;
        }
        if requests.has(Requests::DRAW) && connection.sources() > 0 {
            connection.extra_or_new().sources.is_waiting = false;
        }
        if requests.has(Requests::CLOSE) {
            connection.extra_or_new().closes_after_letters = true;
            self.close_after_letters(connection, state);
        }
        state.queue(connection);
    }

    /// Closes a connection as a handle has asked for, once the letters that were posted before are carried out.
    pub(super) fn close_after_letters(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
    ) {
        let Some(extra) = &mut connection.extra else {
            return;
        };
        let has_letters = extra
            .control
            .as_ref()
            .is_some_and(|control| control.has_letters());
        if !extra.closes_after_letters || has_letters {
            return;
        }
        extra.closes_after_letters = false;
        if connection.life.is_active() {
            self.call(connection, state, |_, conn, _| conn.close());
        }
    }
}
