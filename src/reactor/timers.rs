//! Deadlines that have come: of connections, of handlers, of tasks.

use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::due::Due;
use crate::connection::id::ConnId;
use crate::handler::timers::TimerId;
use crate::wheel::TimerKey;

use super::Reactor;

/// Timers that fire in one iteration before events have their turn again.
const TIMER_BUDGET: usize = 4096;

impl Reactor {
    pub(super) fn fire_timers(&mut self) {
        let mut budget = TIMER_BUDGET;
        while let Some((key, due)) = self
            .state
            .wheel
            .pop_expired_within(self.state.tick, &mut budget)
        {
            match due {
                Due::Idle(id) => self.check_idle(id),
                Due::FirstMessage(id) => self.check_first_message(id),
                Due::Message { id, after } => self.check_message(id, after),
                Due::WriteStall { id, written } => self.check_write_stall(id, written),
                Due::Close { id, extended } => self.end_close(id, extended),
                Due::Protocol(id) => self.meet_protocol_deadline(id),
                Due::Handler { id, token } => self.fire_handler_timer(id, key, token),
                Due::Task(index) => self.run_task(index),
                Due::Drain => self.end_drain(),
            }
        }
    }

    /// Reads once more before its silence is held against a peer: if the loop was held up, more may have come than one poll
    /// has told of. Does nothing where input is not wanted.
    fn listen_once_more(&mut self, id: ConnId) {
        let connection = self.table.get(id);
        if let Some(connection) =
            connection.filter(|connection| connection.gate.is_open() && connection.wants_input())
        {
            connection.readable = true;
            self.turn(id.slot);
        }
    }

    /// Evicts a connection that was silent for the idle time, or looks again when it will have been.
    fn check_idle(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get(id) {
            connection.timers.idle = None;
        }
        let mut deadline = self.update_idle_deadline(id);
        if deadline.is_some_and(|deadline| deadline <= self.state.tick) {
            self.listen_once_more(id);
            deadline = self.update_idle_deadline(id);
        }
        match deadline {
            None => {}
            Some(deadline) if deadline <= self.state.tick => self.evict(id, Timeout::Idle),
            Some(deadline) => {
                let timer = self.state.wheel.insert(deadline, Due::Idle(id));
                if let Some(connection) = self.table.get(id) {
                    connection.timers.idle = Some(timer);
                }
            }
        }
    }

    /// The tick at which an open connection will have been silent for the idle time. Input that we do not read counts as a
    /// sign of life.
    fn update_idle_deadline(&mut self, id: ConnId) -> Option<u64> {
        let connection = self.table.get(id)?;
        let idle = self.services[connection.service as usize].timeouts.idle?;
        if !connection.life.is_active() {
            return None;
        }
        connection.recheck_readable();
        if connection.has_unheard_input() {
            connection.active_at = self.state.tick;
        }
        // The last byte may have come late in its tick, hence one more.
        let silent_for = self.state.clock.deadline(idle).saturating_add(1);
        Some(connection.active_at.saturating_add(silent_for))
    }

    fn evict(&mut self, id: ConnId, timeout: Timeout) {
        if let Some(connection) = self.table.get(id) {
            connection.end_now(Cause::Timeout(timeout));
            self.settle(id.slot);
        }
    }

    /// Ends a connection whose first message has not come, unless it is we who do not listen.
    fn check_first_message(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get(id) {
            connection.timers.message = None;
        }
        self.listen_once_more(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if !connection.life.is_active() || connection.messages_in > 0 {
            return;
        }
        let slot = &self.services[connection.service as usize];
        match slot.timeouts.first_message {
            Some(timeout) if connection.restart_message_wait() => {
                connection.timers.message =
                    Some(self.state.schedule(timeout, Due::FirstMessage(id)));
            }
            _ => self.evict(id, Timeout::FirstMessage),
        }
    }

    /// Ends a connection that is still within the message after the first `count`, or looks again later if it is within
    /// another.
    fn check_message(&mut self, id: ConnId, count: u64) {
        if let Some(connection) = self.table.get(id) {
            connection.timers.message = None;
        }
        self.listen_once_more(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let slot = &self.services[connection.service as usize];
        let Some(timeout) = slot.timeouts.message else {
            return;
        };
        let is_within = connection.kept() > 0 || slot.service.is_within_message(connection);
        if !connection.life.is_active() || connection.life.is_parting() || !is_within {
            // If the protocol has panicked at the question, the connection closes.
            return self.settle(id.slot);
        }
        if connection.messages_in == count && !connection.restart_message_wait() {
            self.evict(id, Timeout::Message);
        } else if connection.timers.message.is_none() {
            let due = Due::Message {
                id,
                after: connection.messages_in,
            };
            connection.timers.message = Some(self.state.schedule(timeout, due));
        }
    }

    /// Ends a connection that has taken nothing since its write timer was set; `settle` sets it anew for one that has.
    fn check_write_stall(&mut self, id: ConnId, written: u64) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.timers.write = None;
        connection.output.try_again();
        if connection.life.is_active() && connection.output.written() == written {
            connection.abort(Cause::Timeout(Timeout::WriteStall));
        }
        self.settle(id.slot);
    }

    /// Ends a close that has taken too long; a peer that did not get everything sees a reset.
    fn end_close(&mut self, id: ConnId, extended: bool) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.timers.write = None;
        if self.state.was_behind && !extended {
            // The loop was held up, perhaps for all that time, in which the peer had no chance.
            let close = self.services[connection.service as usize].timeouts.close;
            connection.extend_close(&mut self.state, close, true);
        } else if connection.output.is_empty() {
            connection.end_now(Cause::Timeout(Timeout::Close));
        } else {
            connection.abort(Cause::Timeout(Timeout::Close));
        }
        self.settle(id.slot);
    }

    fn meet_protocol_deadline(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get(id) {
            connection.timers.protocol = None;
        }
        self.listen_once_more(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if connection.life.is_active() {
            let service = &mut self.services[connection.service as usize].service;
            service.deadline(connection, &mut self.state);
            self.settle(id.slot);
        }
    }

    fn fire_handler_timer(&mut self, id: ConnId, key: TimerKey, token: u64) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if let Some(extra) = &mut connection.extra {
            extra.timers.remove(&key);
        }
        if connection.life.is_active() {
            let service = &mut self.services[connection.service as usize].service;
            service.timer(connection, &mut self.state, TimerId(key), token);
            self.settle(id.slot);
        }
    }
}
