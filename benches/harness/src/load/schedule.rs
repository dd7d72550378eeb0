//! The schedule of an open loop.

use std::time::Duration;

/// The generator sleeps only if the next message is further away than this; epoll rounds up to milliseconds.
const SPIN: Duration = Duration::from_millis(3);

/// The due times of messages. Message `n` is due `n / rate` seconds after the start, computed from `n`, so that no
/// rounding error adds up.
pub(crate) struct Schedule {
    start: u64,
    rate: u64,
    sent: u64,
}

impl Schedule {
    /// The first message is due at `start`; then come `rate` per second.
    pub(crate) fn new(start: u64, rate: u64) -> Self {
        debug_assert!(rate > 0);
        Self {
            start,
            rate,
            sent: 0,
        }
    }

    /// The number of messages taken.
    #[inline]
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    #[inline]
    fn next(&self) -> u64 {
        self.start + (u128::from(self.sent) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// The due time of the next message, if it has come.
    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        (due <= now).then(|| {
            self.sent += 1;
            due
        })
    }

    /// The time to sleep: zero if the next message is near.
    pub(crate) fn idle(&self, now: u64) -> Duration {
        let gap = Duration::from_nanos(self.next().saturating_sub(now));
        if gap > SPIN {
            gap - SPIN / 2
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_even_and_exact() {
        let mut schedule = Schedule::new(1_000, 3);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(1_000));
        assert_eq!(schedule.take(333_334_332), None);
        assert_eq!(schedule.take(2_000_001_000), Some(333_334_333));
        assert_eq!(schedule.take(2_000_001_000), Some(666_667_666));
        assert_eq!(schedule.take(2_000_001_000), Some(1_000_001_000));
    }

    #[test]
    fn it_sleeps_only_when_the_next_message_is_far() {
        let mut schedule = Schedule::new(0, 1);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.idle(999_000_000), Duration::ZERO);
        assert!(schedule.idle(0) > Duration::from_millis(990));
        assert!(schedule.idle(0) < Duration::from_secs(1));
    }
}
