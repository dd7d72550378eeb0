//! Drawing from sources: what is larger than the output is sent while the peer reads.

use crate::connection::Connection;
use crate::connection::lifecycle::Stage;
use crate::connection::loop_state::LoopState;

use super::ServiceEntry;

/// Calls of the sources of one connection before the others have their turn, however little they send.
const CALLS: usize = 256;

/// Draws from a connection's sources while there is room, within the budget of the turn: a byte counts 1, and the time of many
/// calls counts, too. Each turn makes at least one call, whatever its input has cost. The end of the turn queues the connection if
/// there is still room. Drops the sources once the connection closes without them.
///
/// Completions that the last turn has left come first, so that a source whose completions take long slows itself down.
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
    if connection.has_due_completions() && connection.life.stage() == Stage::Open {
        return;
    }
    let low_water = slot.limits.low_water;
    for call in 0..CALLS {
        if connection.life.stage() != Stage::Open || connection.output.has_failed() {
            slot.service.drop_sources(connection);
            break;
        }
        if !connection.may_draw(low_water) {
            // Small pieces leave together, and make room for more.
            connection.output.flush();
        }
        let is_spent = call > 0 && state.budget.is_spent();
        if is_spent || !connection.may_draw(low_water) {
            break;
        }
        let before = position(connection);
        slot.service.draw(connection, state);
        state
            .budget
            .charge((position(connection) - before) as usize);
        if state.budget.count_call() {
            state.look_at_clock();
        }
    }
    connection.output.flush();
    connection.note_turn(state);
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
