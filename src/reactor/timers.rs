//! Deadlines that have come: of connections, of handlers, of tasks.

use std::time::Duration;

use crate::connection::Connection;
use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::due::Due;
use crate::connection::extra::{HandlerTimer, Repeat};
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lifecycle::Stage;
use crate::connection::limits::Timeouts;
use crate::connection::pace::Pace;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;

use super::Reactor;
use super::beat::next_round;

/// Number of timers that may fire in one iteration before events have their turn again.
const TIMER_BUDGET: usize = 4096;

impl Reactor {
    pub(super) fn fire_timers(&mut self) {
        // The callbacks of timers that are due earlier must not hold up the deadline of a drain.
        self.keep_time_of_drain();
        let mut budget = TIMER_BUDGET;
        let time = self.state.begin_callbacks();
        while let Some((_, due)) = self
            .state
            .wheel
            .pop_expired_within(self.state.tick, &mut budget)
        {
            let runs_code = matches!(due, Due::Handler { .. } | Due::Task(_) | Due::Protocol(_));
            let slot = due.connection().map_or(u32::MAX, |id| id.slot);
            match due {
                Due::Idle(id) => self.check_idle(id),
                Due::FirstMessage(id) => self.check_first_message(id),
                Due::Message { id, after } => self.check_message(id, after),
                Due::WriteStall { id, pace } => self.check_write_stall(id, pace),
                Due::Close { id, extended, pace } => self.check_close(id, extended, pace),
                Due::Sources { id, extended, pace } => self.check_sources(id, extended, pace),
                Due::Protocol(id) => self.meet_protocol_deadline(id),
                Due::Lag(id) => self.judge_lag(id),
                Due::Handler { id, timer } => self.fire_handler_timer(id, timer),
                Due::Tick(service) => self.tick(service),
                Due::Task(index) => self.run_task(index),
                Due::Memory => self.lose_patience(),
                Due::Drain => self.keep_time_of_drain(),
            }
            self.after_callbacks(slot);
            if runs_code && time.is_over() {
                budget = 0;
            }
        }
        if budget > 0 {
            self.fired_at = self.state.tick;
        }
    }

    /// Reads once more before a peer's silence is held against it: if the loop was late, more may have arrived than one poll
    /// has reported. Does nothing where input is not wanted.
    fn listen_once_more(&mut self, id: ConnId) {
        let is_listened_to =
            |connection: &&mut Connection| connection.gate.is_open() && connection.wants_input();
        let connection = self.table.get(id).filter(is_listened_to);
        if connection.is_some_and(|connection| connection.has_due_completions()) {
            // Completions come before input, so this turn calls them and reads nothing.
            self.turn(id.slot);
        }
        if let Some(connection) = self.table.get(id).filter(is_listened_to) {
            connection.readable = true;
            self.turn(id.slot);
        }
    }

    /// Evicts a connection that was silent for the idle time, or looks again when it will have been.
    fn check_idle(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get(id) {
            connection.timers.idle = None;
        }
        let is_over = |deadline: Option<u64>, tick| deadline.is_some_and(|at| at <= tick);
        let mut deadline = self.update_idle_deadline(id);
        if is_over(deadline, self.state.tick) {
            self.listen_once_more(id);
            deadline = self.update_idle_deadline(id);
        }
        if is_over(deadline, self.state.tick) {
            if !self.evict(id, Timeout::Idle) {
                return;
            }
            if let Some(connection) = self.table.get(id) {
                connection.active_at = self.state.tick;
            }
            deadline = self.update_idle_deadline(id);
        }
        let connection = self.table.get(id).filter(|it| it.timers.idle.is_none());
        if let (Some(connection), Some(deadline)) = (connection, deadline) {
            connection.timers.idle = Some(self.state.wheel.insert(deadline, Due::Idle(id)));
        }
    }

    /// The tick at which an open connection will have been silent for the idle time. Input that we do not read counts as a
    /// sign of life, and so does a shut gate: a peer that is held back is not idle.
    fn update_idle_deadline(&mut self, id: ConnId) -> Option<u64> {
        let connection = self.table.get(id)?;
        let of_listener = self.services[connection.service as usize].timeouts.idle;
        let idle = connection.idle_timeout(of_listener)?;
        if !connection.life.is_active() {
            return None;
        }
        connection.recheck_readable();
        if !connection.gate.is_open() || connection.has_unheard_input() {
            connection.active_at = self.state.tick;
        }
        // The last byte may have come late in its tick, hence one more.
        let silent_for = self.state.clock.deadline(idle).saturating_add(1);
        Some(connection.active_at.saturating_add(silent_for))
    }

    /// Ends an open connection whose deadline has passed, as its handler decides. True if the connection stays open. (One
    /// that is parting has the deadline of its close instead.)
    fn evict(&mut self, id: ConnId, timeout: Timeout) -> bool {
        let is_open = |connection: &&mut Connection| connection.life.stage() == Stage::Open;
        let Some(connection) = self.table.get(id).filter(is_open) else {
            return false;
        };
        let service = &mut self.services[connection.service as usize].service;
        let decision = service.timed_out(connection, &mut self.state, timeout);
        let cause = Cause::Timeout(timeout);
        if connection.life.stage() == Stage::Open {
            match decision {
                TimeoutDecision::Stay => {}
                // The peer takes nothing, so last words are of no use.
                _ if timeout == Timeout::WriteStall => connection.abort(cause),
                TimeoutDecision::Close => connection.close(cause),
                TimeoutDecision::Evict => connection.end_now(cause),
            }
        }
        let stays = connection.life.stage() == Stage::Open;
        self.settle(id.slot);
        stays
    }

    /// Ends a connection whose first message has not come, unless reading was held back.
    fn check_first_message(&mut self, id: ConnId) {
        let Some(timeouts) = self.begin_message_check(id) else {
            return;
        };
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let Some(timeout) = timeouts.first_message else {
            return;
        };
        let is_late = connection.life.is_active() && connection.messages_in == 0;
        if is_late && (connection.restart_message_wait() || self.evict(id, Timeout::FirstMessage)) {
            self.arm_message_timer(id, timeout, Due::FirstMessage(id));
        }
    }

    /// Ends a connection that is still within the message after the first `count`, or looks again later if it is within
    /// another.
    fn check_message(&mut self, id: ConnId, count: u64) {
        if self.begin_message_check(id).is_none() || self.message_timeout(id).is_none() {
            return;
        }
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let service = &self.services[connection.service as usize].service;
        let is_within = connection.kept() > 0 || service.check_within_message(connection);
        if !connection.life.is_active() || !is_within {
            // If the protocol has panicked at the question, the connection closes.
            return self.settle(id.slot);
        }
        let after = connection.messages_in;
        let is_late = after == count && !connection.restart_message_wait();
        if !is_late || self.evict(id, Timeout::Message) {
            // The handler may have set another time with its decision.
            if let Some(timeout) = self.message_timeout(id) {
                self.arm_message_timer(id, timeout, Due::Message { id, after });
            }
        }
    }

    /// The time that a message of this connection may take.
    fn message_timeout(&mut self, id: ConnId) -> Option<Duration> {
        let connection = self.table.get(id)?;
        let of_listener = self.services[connection.service as usize].timeouts.message;
        connection.message_timeout(of_listener)
    }

    /// The timer of a message has fired: reads once more, and forgets it. Returns the deadlines of the listener; `None` if the
    /// wait has ended, or if another has begun with a timer of its own.
    ///
    /// The timer counts as set while the input is read: otherwise a message that goes on would begin its wait anew there,
    /// and forget that reading was held back.
    fn begin_message_check(&mut self, id: ConnId) -> Option<Timeouts> {
        let connection = self.table.get(id)?;
        let fired = connection.timers.message;
        let timeouts = self.services[connection.service as usize].timeouts;
        self.listen_once_more(id);
        let timer = &mut self.table.get(id)?.timers.message;
        timer.take_if(|timer| Some(*timer) == fired)?;
        Some(timeouts)
    }

    /// Sets the timer of a message, unless a callback has led to another.
    fn arm_message_timer(&mut self, id: ConnId, timeout: Duration, due: Due) {
        let connection = self.table.get(id);
        let connection = connection.filter(|connection| {
            connection.life.is_active() && connection.timers.message.is_none()
        });
        if let Some(connection) = connection {
            connection.timers.message = Some(self.state.schedule(timeout, due));
        }
    }

    /// Ends a connection that has taken less than it must since its write timer was set, and sets the timer anew for another.
    fn check_write_stall(&mut self, id: ConnId, pace: Pace) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.timers.write = None;
        connection.output.try_again();
        let timeouts = &self.services[connection.service as usize].timeouts;
        let debt = pace.debt(timeouts, connection.output.progress());
        let is_stuck = debt.is_none() && !connection.output.has_failed();
        if is_stuck && connection.life.is_active() {
            self.evict(id, Timeout::WriteStall);
        } else {
            if connection.life.stage() == Stage::Open && connection.output.left() > 0 {
                // `settle` would forgive the debt.
                connection.watch_pace(&mut self.state, timeouts, debt.unwrap_or_default());
            }
            self.settle(id.slot);
        }
    }

    fn meet_protocol_deadline(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get(id) {
            connection.timers.protocol = None;
        }
        self.listen_once_more(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if connection.life.takes_input() {
            let service = &mut self.services[connection.service as usize].service;
            service.deadline(connection, &mut self.state);
            self.settle(id.slot);
        }
    }

    /// Publications have waited for a subscriber: lets them wait on, or not.
    fn judge_lag(&mut self, id: ConnId) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if connection.life.is_active() {
            let service = &mut self.services[connection.service as usize].service;
            service.judge_lag(connection, &mut self.state);
        }
        self.settle(id.slot);
    }

    fn fire_handler_timer(&mut self, id: ConnId, timer: u64) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let is_slowed = connection.gate.has(Gate::SLOWED) && connection.life.is_active();
        let Some(extra) = &mut connection.extra else {
            return;
        };
        let timers = &mut extra.timers;
        let Some(set) = timers.get_mut(&timer) else {
            return;
        };
        set.key = None;
        if is_slowed {
            // Its callback may post more. It is called once the connection's mail is carried out.
            return extra.overdue.push(timer);
        }
        let set = *set;
        match set.repeat {
            Some(Repeat { period, due }) if connection.life.is_active() => {
                let due = next_round(due, period, self.state.now);
                let deadline = self.state.clock.deadline(due);
                let key = self
                    .state
                    .wheel
                    .insert(deadline, Due::Handler { id, timer });
                let (key, repeat) = (Some(key), Some(Repeat { period, due }));
                timers.insert(timer, HandlerTimer { key, repeat, ..set });
            }
            _ => _ = timers.remove(&timer),
        }
        if connection.life.is_active() {
            let service = &mut self.services[connection.service as usize].service;
            service.timer(connection, &mut self.state, TimerId(timer), set.token);
            self.settle(id.slot);
        }
    }

    /// Sets the timer of a service's interval, for the first time or after a round that was due at `due`.
    pub(super) fn schedule_tick(&mut self, service: u16, due: Duration) {
        let slot = &mut self.services[usize::from(service)];
        if let Some(period) = slot.tick {
            slot.tick_due = next_round(due, period, self.state.now);
            let deadline = self.state.clock.deadline(slot.tick_due);
            self.state.wheel.insert(deadline, Due::Tick(service));
        }
    }

    /// Calls the handler of a service at its interval.
    fn tick(&mut self, service: u16) {
        let Reactor {
            table,
            services,
            state,
            ..
        } = self;
        let slot = &mut services[usize::from(service)];
        let due = slot.tick_due;
        slot.service.tick(service, table, state);
        self.schedule_tick(service, due);
    }
}
