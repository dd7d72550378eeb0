//! What follows from a turn: output leaves, pressure is released, an orderly close moves on.

use crate::connection::close_reason::Cause;
use crate::connection::completion::SendOutcome;
use crate::connection::loop_state::{Due, LoopState};
use crate::connection::{Connection, Draining, Gate, OwnEnd, PeerEnd, Phase};
use crate::service::contain::contain;

use super::{Reactor, ServiceSlot};

impl Reactor {
    /// Sends what the turn has answered and moves the connection on.
    #[inline]
    pub(super) fn settle(&mut self, slot: u32) {
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        if connection.phase < Phase::Closed {
            if connection.own_end == OwnEnd::Sent {
                // What a protocol still answers by itself is too late.
                connection.output.discard(&mut self.state.pool);
            }
            connection.output.flush();
        }
        if connection.is_at_rest() {
            connection.output.return_ring(&mut self.state.pool);
            return;
        }
        let service = &mut self.services[connection.service as usize];
        settle_unusual(connection, service, &mut self.state);
        if connection.draining == Draining::Answering {
            self.advance_drain(slot);
        }
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        if connection.phase == Phase::Closed {
            connection.phase = Phase::Departing;
            self.closed.push(slot);
        }
    }
}

impl Connection {
    /// Whether nothing is pending and nothing is about to change: the usual end of a turn.
    #[inline]
    fn is_at_rest(&self) -> bool {
        self.gate.is_open()
            && self.output.is_empty()
            && !self.output.has_failed()
            && !self.completing
            && self.write_timer.is_none()
            && self.own_end == OwnEnd::Open
            && self.draining != Draining::Answering
    }

    /// Whether a turn would find something to do that no event will announce.
    pub(super) fn has_work(&self) -> bool {
        let deliverable = self.gate.is_open() && self.kept() >= self.needed as usize;
        let end_unannounced = self.gate.is_open() && self.peer_end == PeerEnd::Read;
        (self.readable && self.wants_input()) || deliverable || end_unannounced
    }
}

fn settle_unusual(connection: &mut Connection, slot: &mut ServiceSlot, state: &mut LoopState) {
    if connection.phase == Phase::Closing {
        say_farewell(connection, slot, state);
    }
    release_pressure(connection, slot, state);
    if connection.output.has_failed() {
        connection.end_now(Cause::Io);
    }
    complete_deliveries(connection);
    if connection.phase == Phase::Closing {
        // One of the callbacks just called has panicked.
        say_farewell(connection, slot, state);
    }
    advance_close(connection);
    watch_writes(connection, slot, state);
    if connection.phase != Phase::Open {
        if let Some(ring) = connection.input.take() {
            state.pool.give_back(ring);
        }
    }
    if connection.has_work() {
        state.queue(connection);
    }
    connection.output.return_ring(&mut state.pool);
}

/// Lets the protocol say its last words, unless it has or nothing can be said any more.
fn say_farewell(connection: &mut Connection, slot: &mut ServiceSlot, state: &mut LoopState) {
    if connection.own_end == OwnEnd::Requested {
        connection.own_end = OwnEnd::Concluded;
        slot.service.farewell(connection, state);
        connection.output.flush();
    }
}

/// Opens the gate again once the output has fallen to the low-water mark.
fn release_pressure(connection: &mut Connection, slot: &mut ServiceSlot, state: &mut LoopState) {
    let drained =
        connection.gate.has(Gate::PRESSURE) && connection.output.len() <= slot.limits.low_water;
    if drained && connection.phase == Phase::Open && !connection.output.has_failed() {
        connection.gate.remove(Gate::PRESSURE);
        slot.service.drained(connection, state);
        connection.output.flush();
        let drained_again = connection.output.len() <= slot.limits.low_water;
        if connection.gate.has(Gate::PRESSURE) && drained_again {
            // What the handler has put on top has left already, so no event will say that there is room.
            state.queue(connection);
        }
    }
}

/// Calls the completions of all messages that are with the kernel now.
fn complete_deliveries(connection: &mut Connection) {
    if !connection.completing {
        return;
    }
    let written = connection.output.written();
    while let Some(extra) = &mut connection.extra {
        if extra
            .completions
            .front()
            .is_none_or(|(position, _)| *position > written)
        {
            break;
        }
        let Some((_, completion)) = extra.completions.pop_front() else {
            break;
        };
        contain(connection, |_| completion.complete(SendOutcome::Written));
    }
    connection.completing = connection
        .extra
        .as_ref()
        .is_some_and(|extra| !extra.completions.is_empty());
}

/// Sends our end of stream when it is time, and moves an orderly close on.
fn advance_close(connection: &mut Connection) {
    if connection.phase >= Phase::Closed {
        return;
    }
    let is_due = matches!(connection.own_end, OwnEnd::Requested | OwnEnd::Concluded);
    if is_due && connection.output.is_empty() {
        if connection.phase != Phase::Open && connection.peer_has_ended() {
            // Both sides are done: the close itself tells the peer.
            connection.phase = Phase::Closed;
            return;
        }
        connection.own_end = OwnEnd::Sent;
        if let Err(error) = connection.output.socket().shutdown_write() {
            connection.fail(error);
            return;
        }
    }
    if connection.own_end == OwnEnd::Sent {
        match connection.phase {
            Phase::Open if connection.peer_end == PeerEnd::Announced => {
                connection.close(Cause::Peer)
            }
            Phase::Open => return,
            _ => {}
        }
        if connection.peer_has_ended() {
            connection.phase = Phase::Closed;
        }
    }
}

/// Keeps the timer that watches over the output: for a stall while open, for the whole of a close.
fn watch_writes(connection: &mut Connection, slot: &ServiceSlot, state: &mut LoopState) {
    match connection.phase {
        Phase::Open if connection.own_end == OwnEnd::Parting => {
            connection.own_end = OwnEnd::PartingTimed;
            limit_close(connection, slot, state);
        }
        Phase::Open if connection.own_end == OwnEnd::PartingTimed => {}
        Phase::Open if connection.output.is_empty() => {
            if let Some(timer) = connection.write_timer.take() {
                state.wheel.cancel(timer);
            }
        }
        Phase::Open if connection.write_timer.is_none() => {
            let due = Due::WriteStall(connection.id, connection.output.written());
            connection.write_timer = slot
                .timeouts
                .write_stall
                .map(|after| state.schedule(after, due));
        }
        Phase::Closing => {
            connection.phase = Phase::Ending;
            limit_close(connection, slot, state);
        }
        _ => {}
    }
}

/// Sets the close deadline. A drain has its own.
fn limit_close(connection: &mut Connection, slot: &ServiceSlot, state: &mut LoopState) {
    if let Some(timer) = connection.write_timer.take() {
        state.wheel.cancel(timer);
    }
    if connection.draining == Draining::No {
        let due = Due::Close(connection.id, false);
        connection.write_timer = Some(state.schedule(slot.timeouts.close, due));
    }
}
