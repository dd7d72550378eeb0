//! An orderly close, step by step: last words, flush, our end of stream, the peer's.

use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::lifecycle::Stage;
use crate::connection::loop_state::LoopState;

use super::ServiceEntry;

/// Lets the protocol say its last words, if a close has just begun.
pub(super) fn say_farewell(
    connection: &mut Connection,
    slot: &mut ServiceEntry,
    state: &mut LoopState,
) {
    if connection.life.stage() == Stage::Closing {
        connection.life.conclude();
        slot.service.farewell(connection, state);
        connection.output.flush();
    }
}

/// Sends our end of stream once all output has left, and ends the connection once both sides have ended.
pub(super) fn advance_close(connection: &mut Connection) {
    let has_sent_all = connection.output.is_empty() && connection.sources() == 0;
    if has_sent_all && connection.life.on_all_sent() {
        if let Err(error) = connection.output.shutdown_write() {
            connection.fail(error);
            return;
        }
    }
    if connection.life.is_over() {
        connection.close(Cause::Peer);
    }
    connection.life.end_lingering();
}
