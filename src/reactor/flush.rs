//! The end of a turn: output leaves, pressure is released, completions are called, and a close moves on.

use crate::connection::Connection;
use crate::connection::burdens::Burdens;
use crate::connection::close_reason::Cause;
use crate::connection::completion::SendOutcome;
use crate::connection::gate::Gate;
use crate::connection::loop_state::LoopState;
use crate::connection::marks::Marks;
use crate::service::contain::contain;

use super::closing::{advance_close, say_farewell};
use super::drawing::draw_from_sources;
use super::ends::has_unlisted_end;
use super::{Reactor, ServiceEntry};

impl Reactor {
    /// Sends the output of a turn, and moves the connection on.
    #[inline]
    pub(super) fn settle(&mut self, slot: u32) {
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        if !connection.life.is_closed() {
            if connection.life.has_sent_end() {
                // A protocol's own answers come too late.
                connection.output.discard(&mut self.state.pool);
            }
            connection.output.flush();
        }
        if connection.is_settled() {
            connection.output.return_ring(&mut self.state.pool);
            if !connection.holds_nothing() {
                self.charge(slot);
            }
            return;
        }
        let service = &mut self.services[connection.service as usize];
        settle_slowly(connection, service, &mut self.state);
        if connection.draining.is_under_way() {
            self.advance_drain(slot);
        }
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        if has_unlisted_end(connection) {
            self.begin_end(slot);
        }
        self.charge(slot);
    }
}

/// The slow path of [`Reactor::settle`]: something is pending, or the connection is about to change.
fn settle_slowly(connection: &mut Connection, slot: &mut ServiceEntry, state: &mut LoopState) {
    say_farewell(connection, slot, state);
    take_pressure(connection, slot);
    release_pressure(connection, slot, state);
    draw_from_sources(connection, slot, state);
    if connection.output.has_failed() {
        connection.end_now(Cause::Io);
    }
    complete_deliveries(connection, state);
    // One of the callbacks just called may have panicked, which begins a close.
    say_farewell(connection, slot, state);
    advance_close(connection);
    connection.watch_output(state, &slot.timeouts);
    if !connection.life.takes_input() {
        if let Some(ring) = connection.input.take() {
            state.pool.give_back(ring);
        }
    }
    if connection.has_work() || has_unused_room(connection, slot.limits.low_water) {
        state.queue_unfinished(connection);
    }
    connection.output.return_ring(&mut state.pool);
}

/// Shuts the gate if the output is still above the high-water mark. The handler's sends shut it when they pass the mark; this
/// is for a protocol that answers messages by itself.
fn take_pressure(connection: &mut Connection, slot: &ServiceEntry) {
    let is_above = connection.output.len() > slot.limits.high_water;
    if is_above && connection.life.takes_input() && !connection.gate.has(Gate::PRESSURE) {
        connection.hold_back(Gate::PRESSURE);
    }
}

/// Opens the gate again once the output has fallen to the low-water mark.
fn release_pressure(connection: &mut Connection, slot: &mut ServiceEntry, state: &mut LoopState) {
    let low_water = slot.limits.low_water;
    let drained = connection.gate.has(Gate::PRESSURE) && connection.has_room(low_water);
    if drained && connection.life.takes_input() && !connection.output.has_failed() {
        connection.listen_again(Gate::PRESSURE, state.tick);
        connection.marks.set(Marks::ROOM_WHEN_EMPTY, false);
        if connection.life.is_active() {
            slot.service.drained(connection, state);
        }
        connection.output.flush();
    }
}

/// True if there is room that something waits for, so that no event will report it: what the last callbacks sent has left
/// already.
fn has_unused_room(connection: &Connection, low_water: usize) -> bool {
    let is_held_back = connection.gate.has(Gate::PRESSURE) && connection.life.is_active();
    (is_held_back && connection.has_room(low_water)) || connection.may_draw(low_water)
}

/// Calls the completions of messages that are with the kernel now, until the budget of the turn is spent. The others follow in the
/// next turn, before any input: so a connection whose completions take long slows itself down. Those of a connection that has ended
/// [come last](super::ends).
fn complete_deliveries(connection: &mut Connection, state: &mut LoopState) {
    if !connection.burdens.has(Burdens::COMPLETING) || connection.life.is_closed() {
        return;
    }
    let written = connection.output.written();
    let before = state.budget.used();
    while let Some(extra) = &mut connection.extra {
        let Some(completion) = extra.completions.pop_written(written) else {
            break;
        };
        contain(connection, |_| completion.complete(SendOutcome::Written));
        if state.budget.count_call() {
            state.look_at_clock();
        }
        if state.budget.is_spent() {
            break;
        }
    }
    if state.budget.is_much(state.budget.used() - before) {
        connection.note_heavy_turn(state);
    }
    let has_more = connection
        .extra
        .as_ref()
        .is_some_and(|extra| !extra.completions.is_empty() || extra.sources.count > 0);
    connection.burdens.set(Burdens::COMPLETING, has_more);
}
