//! The deadlines of a connection, kept as timers on the worker's wheel.

use std::time::Duration;

use super::due::Due;
use super::extra::LongLinger;
use super::gate::Gate;
use super::lifecycle::Stage;
use super::limits::Timeouts;
use super::loop_state::LoopState;
use super::marks::Marks;
use super::pace::{ClosePace, Pace};
use super::{Connection, Draining};
use crate::wheel::{TimerKey, Wheel};

/// Bytes that a connection which lingers long may send in each period: enough for heartbeats. A flood waits in the kernel.
const LINGER_READ: u64 = if cfg!(test) { 64 } else { 256 * 1024 };
/// The least period, for close timeouts that are shorter.
const LINGER_PERIOD: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });

/// The timers of one connection, at most one of each kind. The handler's own timers are kept in
/// [`Extra`](super::extra::Extra).
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The check that the peer was not silent for the idle time.
    pub(crate) idle: Option<TimerKey>,
    /// The check that a message is whole: the first one, or one that was begun after it.
    pub(crate) message: Option<TimerKey>,
    /// The check that output leaves; once a close has begun, its end.
    pub(crate) write: Option<TimerKey>,
    /// The protocol's own deadline.
    pub(crate) protocol: Option<TimerKey>,
}

impl Timers {
    fn all(&mut self) -> [&mut Option<TimerKey>; 4] {
        [
            &mut self.idle,
            &mut self.message,
            &mut self.write,
            &mut self.protocol,
        ]
    }

    /// Cancels all timers.
    pub(crate) fn cancel(&mut self, wheel: &mut Wheel<Due>) {
        for timer in self.all() {
            cancel(timer, wheel);
        }
    }

    /// Number of timers that are set.
    #[cfg(test)]
    pub(crate) fn count(&mut self) -> usize {
        self.all().iter().filter(|timer| timer.is_some()).count()
    }
}

fn cancel(timer: &mut Option<TimerKey>, wheel: &mut Wheel<Due>) {
    if let Some(timer) = timer.take() {
        wheel.cancel(timer);
    }
}

impl Connection {
    /// Cancels the connection's timers, and those of the handler: none may fire for a connection that is gone.
    pub(crate) fn cancel_timers(&mut self, state: &mut LoopState) {
        self.timers.cancel(&mut state.wheel);
        self.end_lag(state);
        self.cancel_handler_timers(state);
    }

    /// Cancels the timers of the handler, of the topics, and those that judge the peer's silence: none may fire for a connection
    /// that only closes.
    pub(crate) fn cancel_timers_of_open(&mut self, state: &mut LoopState) {
        cancel(&mut self.timers.idle, &mut state.wheel);
        cancel(&mut self.timers.message, &mut state.wheel);
        self.end_lag(state);
        self.cancel_handler_timers(state);
    }

    fn cancel_handler_timers(&mut self, state: &mut LoopState) {
        if let Some(extra) = &mut self.extra {
            extra.overdue = Vec::new();
            for key in extra.timers.drain().filter_map(|(_, timer)| timer.key) {
                state.wheel.cancel(key);
            }
        }
    }

    /// Sets the handler's timers that are due and have waited, if the connection is not slowed any more. True if there are any.
    pub(crate) fn set_overdue_timers(&mut self, state: &mut LoopState) -> bool {
        let id = self.id;
        let is_slowed = self.gate.has(Gate::SLOWED);
        let extra = self.extra.as_mut().filter(|_| !is_slowed);
        let Some(extra) = extra.filter(|extra| !extra.overdue.is_empty()) else {
            return false;
        };
        for number in std::mem::take(&mut extra.overdue) {
            if let Some(timer) = extra.timers.get_mut(&number) {
                let due = Due::Handler { id, timer: number };
                timer.key = Some(state.wheel.insert(state.tick, due));
            }
        }
        true
    }

    /// Sets the timer of the protocol's next deadline, unless it is set for then or before.
    #[inline(never)]
    pub(crate) fn arm_protocol_timer(&mut self, state: &mut LoopState, deadline: Duration) {
        // A deadline that has passed already is met in the next iteration, so that no two meet each other for ever.
        let tick = state.clock.deadline(deadline).max(state.tick + 1);
        let set = self.timers.protocol;
        match set.and_then(|timer| state.wheel.deadline(timer)) {
            Some(before) if before <= tick => {}
            Some(_) => _ = set.map(|timer| state.wheel.rearm(timer, tick)),
            None => {
                let due = Due::Protocol(self.id);
                self.timers.protocol = Some(state.wheel.insert(tick, due));
            }
        }
    }

    /// Cancels the timer of the protocol's deadline.
    pub(crate) fn cancel_protocol_timer(&mut self, state: &mut LoopState) {
        cancel(&mut self.timers.protocol, &mut state.wheel);
    }

    /// Sets the timer of a message that was begun, unless one is set, or cancels that of one that is whole.
    ///
    /// A timer that is set stays when another message was begun within the same turn; when it fires the messages are
    /// counted.
    pub(crate) fn watch_message(
        &mut self,
        state: &mut LoopState,
        is_within_message: bool,
        timeout: Duration,
    ) {
        if !is_within_message {
            self.cancel_message_timer(state);
        } else if self.timers.message.is_none() {
            self.begin_message_wait();
            let due = Due::Message {
                id: self.id,
                after: self.messages_in,
            };
            self.timers.message = Some(state.schedule(timeout, due));
        }
    }

    pub(crate) fn cancel_message_timer(&mut self, state: &mut LoopState) {
        cancel(&mut self.timers.message, &mut state.wheel);
    }

    /// Keeps the timer that watches the output: for a stall while the connection is open, for each part of a close
    /// afterwards.
    ///
    /// The progress is looked at only when the timer fires, so that sending takes no notice of it.
    pub(crate) fn watch_output(&mut self, state: &mut LoopState, timeouts: &Timeouts) {
        match self.life.stage() {
            Stage::Open if self.awaits_sources() && self.draining == Draining::No => {
                if !self.marks.has(Marks::CLOSE_LIMITED) {
                    self.watch_sources(state, timeouts, false, 0);
                }
            }
            Stage::Open if self.output.left() == 0 => {
                cancel(&mut self.timers.write, &mut state.wheel);
            }
            Stage::Open if self.timers.write.is_none() => self.watch_pace(state, timeouts, 0),
            Stage::Open => {}
            Stage::Closed => self.cancel_timers(state),
            _ if self.marks.has(Marks::CLOSE_LIMITED) => {}
            _ => self.limit_close(state, timeouts),
        }
    }

    /// Sets the timer that watches the output of an open connection, whose peer is so many bytes behind the least rate.
    pub(crate) fn watch_pace(&mut self, state: &mut LoopState, timeouts: &Timeouts, debt: u64) {
        self.timers.write = timeouts.write_stall.map(|after| {
            let now = (self.output.progress(), self.output.left());
            let pace = Pace::over(after, timeouts, now, debt);
            state.schedule(after, Due::WriteStall { id: self.id, pace })
        });
    }

    /// Sets the deadline of the current part of a close; a drain has its own.
    fn limit_close(&mut self, state: &mut LoopState, timeouts: &Timeouts) {
        self.marks.set(Marks::CLOSE_LIMITED, true);
        cancel(&mut self.timers.write, &mut state.wheel);
        if self.draining == Draining::No {
            let pace = ClosePace::begin(timeouts, self.output.left());
            self.set_close_deadline(state, timeouts, pace, false);
        }
    }

    /// Gives the sources, for which a close waits, their time from now: to send something, and the peer, which is so many bytes
    /// behind the least rate, to take it.
    pub(crate) fn watch_sources(
        &mut self,
        state: &mut LoopState,
        timeouts: &Timeouts,
        extended: bool,
        debt: u64,
    ) {
        self.marks.set(Marks::CLOSE_LIMITED, true);
        cancel(&mut self.timers.write, &mut state.wheel);
        let time = timeouts.close_with(self.output.left());
        let now = (self.output.progress(), self.output.left());
        let mut pace = Pace::over(time, timeouts, now, debt);
        // The sources must send something if nothing is pending.
        pace.target = pace.target.max(now.0.saturating_add(1));
        let due = Due::Sources {
            id: self.id,
            extended,
            pace,
        };
        self.timers.write = Some(state.schedule(time, due));
    }

    /// Gives a close its time, from now, for the output that is pending now.
    pub(crate) fn set_close_deadline(
        &mut self,
        state: &mut LoopState,
        timeouts: &Timeouts,
        pace: ClosePace,
        extended: bool,
    ) {
        let due = Due::Close {
            id: self.id,
            extended,
            pace,
        };
        let time = timeouts.close_with(self.output.left());
        self.timers.write = Some(state.schedule(time, due));
    }

    /// Lingers on beyond the close timeout, which has passed once, while the kernel may hold output that a peer at the least
    /// rate has not taken. False if that time is over, too.
    ///
    /// The kernel goes on sending when the socket is closed, but answers what the peer sends then with a reset, which costs
    /// the peer all that it has not got.
    pub(crate) fn linger_on(&mut self, state: &mut LoopState, timeouts: &Timeouts) -> bool {
        let begun = self.extra.as_ref().and_then(|extra| extra.long_linger);
        let until = match begun {
            Some(linger) => linger.until,
            None => {
                let rest = self.linger_time(timeouts).saturating_sub(timeouts.close);
                if rest.is_zero() {
                    return false;
                }
                state.deadline(rest)
            }
        };
        if until <= state.tick {
            return false;
        }
        let read_until = self.received.saturating_add(LINGER_READ);
        self.extra_or_new().long_linger = Some(LongLinger { until, read_until });
        let due = Due::Close {
            id: self.id,
            extended: true,
            pace: ClosePace::begin(timeouts, 0),
        };
        let look_at = state.deadline(timeouts.close.max(LINGER_PERIOD)).min(until);
        self.timers.write = Some(state.wheel.insert(look_at, due));
        true
    }

    /// The time within which a peer that reads at the least rate gets all that the kernel may hold.
    pub(crate) fn linger_time(&mut self, timeouts: &Timeouts) -> Duration {
        let capacity = self.output.wire().send_capacity() as u64;
        timeouts.linger(self.output.taken().min(capacity))
    }

    /// The idle time of this connection; `of_listener` unless the handler has set another.
    pub(crate) fn idle_timeout(&self, of_listener: Option<Duration>) -> Option<Duration> {
        match &self.extra {
            None => of_listener,
            Some(extra) => extra.deadlines.idle.unwrap_or(of_listener),
        }
    }

    /// The message timeout of this connection; `of_listener` unless the handler has set another.
    #[inline]
    pub(crate) fn message_timeout(&self, of_listener: Option<Duration>) -> Option<Duration> {
        match &self.extra {
            None => of_listener,
            Some(extra) => extra.deadlines.message.unwrap_or(of_listener),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringwheel_ringbuffer::PoolConfig;

    use super::*;
    use crate::connection::id::ConnId;
    use crate::connection::memory::Bounds;
    use crate::io::address::Address;
    use crate::io::wire::scripted::Scripted;
    use crate::shared::LoopShared;
    use crate::wheel::TickClock;

    /// A peer that takes no record of the seal would stay for ever: nothing else is pending.
    #[test]
    fn a_record_of_the_seal_that_does_not_leave_is_watched_as_output_is() {
        let (shared, _) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let pool = PoolConfig::default();
        let mut state = LoopState::new(shared, TickClock::default(), pool, Bounds::default(), 1);
        let id = ConnId::in_slot(0);
        let script = Scripted::default();
        let wire = script.with_unsent_answer();
        let mut connection = Connection::new(id, 0, wire, Address::Unix(None), 0);
        let timeouts = Timeouts::default();
        assert!(connection.output.is_empty());
        connection.watch_output(&mut state, &timeouts);
        assert!(connection.timers.write.is_some());
        script.takes_all();
        connection.output.try_again();
        connection.watch_output(&mut state, &timeouts);
        assert!(connection.timers.write.is_none());
    }
}
