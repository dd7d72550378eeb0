//! An orderly close, step by step: last words, flush, our end of stream, the peer's.
//!
//! The handler [is told](super::ends) of the end at the first step, as soon as no further callback can come and the cause is known.
//! The socket goes on without it: so a peer that is silent, or reads slowly, does not keep a connection that is over in the
//! handler's own tables.

use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::id::ConnId;
use crate::connection::lifecycle::Stage;
use crate::connection::loop_state::LoopState;
use crate::connection::marks::Marks;
use crate::connection::pace::{ClosePace, Pace};
use crate::connection::{Connection, Draining};

use super::{Reactor, ServiceEntry};

/// The part of the close timeout for which the loop must have been held up, as a divisor, to have kept a peer from being heard.
const HELD_UP: u64 = 8;

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
    let may_end =
        has_sent_all && (!connection.life.sends_end_next() || connection.output.say_end());
    if connection.output.has_failed() {
        // The last words, or those of the seal, have met the failure.
        return connection.end_now(Cause::Io);
    }
    if may_end && connection.life.on_all_sent() {
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

impl Reactor {
    /// Ends a close that has taken its time, unless its output leaves at the least rate, or the kernel may still hold some. A
    /// peer that did not get everything sees a reset.
    ///
    /// Less must be pending than when the time began, whatever the protocol has added, and no more than a peer at the least rate
    /// would have left since the close began: so the rate bounds the close.
    pub(super) fn check_close(&mut self, id: ConnId, extended: bool, pace: ClosePace) {
        let is_held_up = self.is_held_up(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.timers.write = None;
        connection.output.try_again();
        let timeouts = &self.services[connection.service as usize].timeouts;
        let left = connection.output.left();
        let stage = connection.life.stage();
        // The seal's own end may be all that has not left.
        let may_linger =
            stage == Stage::Lingering || (stage == Stage::Flushing && connection.output.is_empty());
        let state = &mut self.state;
        if let Some(next) = pace.next(timeouts, left) {
            connection.set_close_deadline(state, timeouts, next, false);
        } else if may_linger && connection.linger_on(state, timeouts) {
            // It goes on, and what was not read any more may be read again.
        } else if state.was_behind && !extended && (is_held_up || stage != Stage::Lingering) {
            // The loop was late, perhaps for all of the time, so the peer had no chance. One that lingers need only be read.
            connection.set_close_deadline(state, timeouts, pace.again(left), true);
        } else if stage == Stage::Parting
            && connection.output.is_empty()
            && connection.linger_time(timeouts) > timeouts.close
        {
            // The kernel may still hold our last words, so no answer proves nothing: it lingers without one.
            connection.close(Cause::Aborted);
        } else {
            // The handler has heard the cause when the close began.
            connection.end_now(Cause::Aborted);
        }
        self.settle(id.slot);
    }

    /// Ends a connection whose close waits for its sources, if they have sent nothing for the time of a close, or if the peer
    /// has not taken it at the least rate. The peer sees a reset, since it has not got everything.
    pub(super) fn check_sources(&mut self, id: ConnId, extended: bool, pace: Pace) {
        let is_held_up = self.is_held_up(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.timers.write = None;
        connection.marks.set(Marks::CLOSE_LIMITED, false);
        connection.output.try_again();
        let timeouts = &self.services[connection.service as usize].timeouts;
        let debt = pace.debt(timeouts, connection.output.progress());
        let is_stuck = debt.is_none() && !connection.output.has_failed();
        // A drain has a deadline of its own.
        let has_own_end = connection.awaits_sources() && connection.draining == Draining::No;
        let is_pending = connection.output.left() > 0;
        if let Some(debt) = debt.filter(|debt| *debt > 0 && is_pending && has_own_end) {
            // `settle` would forgive the debt.
            connection.watch_sources(&mut self.state, timeouts, false, debt);
        } else if is_stuck && has_own_end {
            if is_held_up && !extended {
                connection.watch_sources(&mut self.state, timeouts, true, 0);
            } else {
                let timeout = match connection.output.is_empty() {
                    true => Timeout::SourceStall,
                    false => Timeout::WriteStall,
                };
                connection.abort(Cause::Timeout(timeout));
            }
        }
        self.settle(id.slot);
    }

    /// True if the last iteration has taken so long that a connection may not have been read for much of its close.
    fn is_held_up(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.table.get(id) else {
            return false;
        };
        let close = self.services[connection.service as usize].timeouts.close;
        let longest = self.state.clock.deadline(close) / HELD_UP;
        self.state.was_behind && self.state.tick.saturating_sub(self.fired_at) >= longest
    }
}
