//! Drawing from sources: what is larger than the output is sent while the peer reads.

use crate::connection::Connection;
use crate::connection::lifecycle::Stage;
use crate::connection::loop_state::LoopState;

use super::ServiceEntry;

/// Bytes drawn from the sources of one connection before the others have their turn. The simulation's messages are small.
const DRAW_BUDGET: u64 = if cfg!(test) { 1_000 } else { 256 * 1024 };

/// Draws from a connection's sources while there is room, within the budget; the end of the turn queues the connection if there
/// is room still. Drops the sources once the connection closes without them.
pub(super) fn draw_from_sources(
    connection: &mut Connection,
    slot: &mut ServiceEntry,
    state: &mut LoopState,
) {
    if connection.sources() > 0 {
        draw(connection, slot, state);
        note_progress(connection, state);
    }
}

fn draw(connection: &mut Connection, slot: &mut ServiceEntry, state: &mut LoopState) {
    let begin = position(connection);
    loop {
        if connection.life.stage() != Stage::Open || connection.output.has_failed() {
            return slot.service.drop_sources(connection);
        }
        let is_spent = position(connection) - begin >= DRAW_BUDGET;
        if is_spent || !connection.may_draw(slot.limits.low_water) {
            return;
        }
        slot.service.draw(connection, state);
        connection.output.flush();
    }
}

/// A peer that takes output of a source gives a sign of life.
fn note_progress(connection: &mut Connection, state: &LoopState) {
    let written = connection.output.written();
    let sources = &mut connection.extra_or_new().sources;
    if std::mem::replace(&mut sources.written, written) != written {
        connection.active_at = state.tick;
    }
}

/// Bytes that were put into the output since the connection opened.
fn position(connection: &Connection) -> u64 {
    connection.output.written() + connection.output.len() as u64
}
