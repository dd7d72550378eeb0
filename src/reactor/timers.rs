//! What happens when timers fire: deadlines of connections, handlers' timers, scheduled tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::connection::Phase;
use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::id::ConnId;
use crate::connection::loop_state::Due;
use crate::handler::conn::TimerId;
use crate::panics::{contain_drop, panic_text};
use crate::shared::task::Task;
use crate::wheel::TimerKey;

use super::Reactor;

/// Timers that fire in one iteration before events have their turn again.
const TIMER_BUDGET: usize = 4096;

/// A task that waits on the wheel.
pub(super) struct ScheduledTask {
    task: Task,
    timer: Option<TimerKey>,
}

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
                Due::Message(id, count) => self.check_message(id, count),
                Due::WriteStall(id, written) => self.check_write_stall(id, written),
                Due::Close(id, was_renewed) => self.end_close(id, was_renewed),
                Due::Protocol(id) => self.meet_protocol_deadline(id),
                Due::Handler(id, token) => self.fire_handler_timer(id, key, token),
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

    /// Evicts a connection that was silent for the idle time.
    fn check_idle(&mut self, id: ConnId) {
        if self.is_idle(id) {
            self.listen_once_more(id);
            if self.is_idle(id) {
                self.evict(id, Timeout::Idle);
            }
        }
    }

    /// Whether an open connection was silent for the idle time. If not, sets the timer to when it will have been.
    fn is_idle(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.table.get(id) else {
            return false;
        };
        connection.idle_timer = None;
        let idle = self.services[connection.service as usize].timeouts.idle;
        let Some(idle) = idle.filter(|_| connection.phase == Phase::Open) else {
            return false;
        };
        connection.look_for_input();
        if connection.is_unheard() {
            // It is we who do not listen.
            connection.active_at = self.state.tick;
        }
        // Traffic only stores the tick, and what it has put off is made up for here. The last byte may have come late in
        // its tick, hence one more.
        let deadline = connection
            .active_at
            .saturating_add(self.state.clock.deadline(idle))
            .saturating_add(1);
        let is_idle = deadline <= self.state.tick;
        if !is_idle {
            connection.idle_timer = Some(self.state.wheel.insert(deadline, Due::Idle(id)));
        }
        is_idle
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
            connection.message_timer = None;
        }
        self.listen_once_more(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if connection.phase != Phase::Open || connection.messages_in > 0 {
            return;
        }
        let slot = &self.services[connection.service as usize];
        match slot.timeouts.first_message {
            Some(timeout) if connection.is_excused() => {
                connection.message_timer =
                    Some(self.state.schedule(timeout, Due::FirstMessage(id)));
            }
            _ => self.evict(id, Timeout::FirstMessage),
        }
    }

    /// Ends a connection that is still within the message after the first `count`, or looks again later if it is within
    /// another.
    fn check_message(&mut self, id: ConnId, count: u64) {
        if let Some(connection) = self.table.get(id) {
            connection.message_timer = None;
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
        if connection.phase != Phase::Open || connection.is_parting() || !is_within {
            // If the protocol has panicked at the question, the connection closes.
            return self.settle(id.slot);
        }
        if connection.messages_in == count && !connection.is_excused() {
            self.evict(id, Timeout::Message);
        } else if connection.message_timer.is_none() {
            let due = Due::Message(id, connection.messages_in);
            connection.message_timer = Some(self.state.schedule(timeout, due));
        }
    }

    /// Ends a connection that has taken nothing since its write timer was set; `settle` sets it anew for one that has.
    fn check_write_stall(&mut self, id: ConnId, written: u64) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.write_timer = None;
        connection.output.try_again();
        if connection.phase == Phase::Open && connection.output.written() == written {
            connection.abort(Cause::Timeout(Timeout::WriteStall));
        }
        self.settle(id.slot);
    }

    /// Ends a close that has taken too long; a peer that did not get everything sees a reset.
    fn end_close(&mut self, id: ConnId, was_renewed: bool) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.write_timer = None;
        if self.state.was_behind && !was_renewed {
            // The loop was held up, perhaps for all that time, in which the peer had no chance.
            let close = self.services[connection.service as usize].timeouts.close;
            let due = Due::Close(id, true);
            connection.write_timer = Some(self.state.schedule(close, due));
        } else if connection.output.is_empty() {
            connection.end_now(Cause::Timeout(Timeout::Close));
        } else {
            connection.abort(Cause::Timeout(Timeout::Close));
        }
        self.settle(id.slot);
    }

    fn meet_protocol_deadline(&mut self, id: ConnId) {
        if let Some(connection) = self.table.get(id) {
            connection.protocol_timer = None;
        }
        self.listen_once_more(id);
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if connection.phase == Phase::Open {
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
        if connection.phase == Phase::Open {
            let service = &mut self.services[connection.service as usize].service;
            service.timer(connection, &mut self.state, TimerId(key), token);
            self.settle(id.slot);
        }
    }

    /// Takes a task that another thread has scheduled.
    pub(crate) fn schedule_task(&mut self, task: Task) {
        let deadline = self.state.clock.deadline(task.due);
        let timer = None;
        let index = self.tasks.insert(ScheduledTask { task, timer });
        self.tasks[index].timer = Some(self.state.wheel.insert(deadline, Due::Task(index)));
    }

    fn run_task(&mut self, index: usize) {
        let Some(scheduled) = self.tasks.get_mut(index) else {
            return;
        };
        scheduled.timer = None;
        if !scheduled.task.is_cancelled() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (scheduled.task.run)())) {
                log::error!("a scheduled task panicked: {}", panic_text(&*panic));
                contain_drop(panic);
            }
        }
        match scheduled.task.every {
            Some(every) if !scheduled.task.is_cancelled() => {
                scheduled.task.due = next_round(scheduled.task.due, every, self.state.now);
                let deadline = self.state.clock.deadline(scheduled.task.due);
                scheduled.timer = Some(self.state.wheel.insert(deadline, Due::Task(index)));
            }
            _ => contain_drop(self.tasks.remove(index)),
        }
    }

    /// Forgets the tasks that were cancelled.
    pub(crate) fn sweep_tasks(&mut self) {
        let cancelled: Vec<usize> = self
            .tasks
            .iter()
            .filter(|(_, scheduled)| scheduled.task.is_cancelled())
            .map(|(index, _)| index)
            .collect();
        for index in cancelled {
            let scheduled = self.tasks.remove(index);
            if let Some(timer) = scheduled.timer {
                self.state.wheel.cancel(timer);
            }
            contain_drop(scheduled);
        }
    }
}

/// When a task is due again: a whole number of periods after it was due, so that it does not drift, and not before `now`,
/// so that rounds which were missed are not made up for.
fn next_round(due: Duration, every: Duration, now: Duration) -> Duration {
    let period = every.as_nanos().max(1);
    let missed = now.saturating_sub(due).as_nanos() / period;
    let ahead = (missed + 1).saturating_mul(period);
    due.saturating_add(Duration::from_nanos(
        u64::try_from(ahead).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_keep_their_beat_and_are_not_made_up_for() {
        let ms = Duration::from_millis;
        assert_eq!(next_round(ms(10), ms(10), ms(10)), ms(20));
        assert_eq!(next_round(ms(10), ms(10), ms(19)), ms(20));
        assert_eq!(next_round(ms(10), ms(10), ms(57)), ms(60));
        assert_eq!(
            next_round(ms(10), Duration::ZERO, ms(57)),
            ms(57) + Duration::from_nanos(1)
        );
        assert_eq!(
            next_round(ms(10), Duration::MAX, ms(57)),
            ms(10) + Duration::from_nanos(u64::MAX)
        );
    }
}
