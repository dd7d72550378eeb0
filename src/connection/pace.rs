//! The least rate over many periods: what a peer must have taken of the pending output at the end of each.
//!
//! The kernel shows progress in [steps](Timeouts::step), so a period forgives one of them. All periods together forgive no more than
//! one: otherwise a peer that takes a byte in each would keep the output for ever.

use std::time::Duration;

use super::limits::Timeouts;

/// The output that must have left at the end of a period. More may become pending meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Bytes that must have left since the connection opened.
    pub(crate) target: u64,
    /// Bytes beyond the target by which a peer at the least rate would be ahead of it.
    pub(crate) beyond: u32,
}

impl Pace {
    /// The pace of a period at whose beginning `progress` bytes have left, so many are pending, and the peer is so many behind the
    /// least rate.
    pub(crate) fn over(
        time: Duration,
        timeouts: &Timeouts,
        (progress, pending): (u64, usize),
        debt: u64,
    ) -> Self {
        let least = timeouts.least_progress(time, pending) as u64;
        let at_rate = timeouts.taken_within(time).min(pending as u64);
        let beyond = (at_rate + debt).saturating_sub(least);
        Pace {
            target: progress.saturating_add(least),
            beyond: u32::try_from(beyond).unwrap_or(u32::MAX),
        }
    }

    /// The bytes by which a peer is behind the least rate at the end of the period. `None` if it takes the output too slowly.
    pub(crate) fn debt(self, timeouts: &Timeouts, progress: u64) -> Option<u64> {
        let at_rate = self.target.saturating_add(u64::from(self.beyond));
        let debt = at_rate.saturating_sub(progress);
        (progress >= self.target && debt <= timeouts.step).then_some(debt)
    }
}

/// The output that may be left of a close at the end of a period, which is as long as [`Timeouts::close_with`] says. No more
/// becomes pending, but for a protocol's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosePace {
    /// Bytes that were pending when the period began.
    pub(crate) pending: u32,
    /// Bytes that may be left of those that were pending when the close began.
    pub(crate) most: u32,
}

impl ClosePace {
    /// The pace of the first period of a close.
    pub(crate) fn begin(timeouts: &Timeouts, pending: usize) -> Self {
        Self::period(timeouts, pending, pending as u64 + timeouts.step)
    }

    fn period(timeouts: &Timeouts, pending: usize, most_before: u64) -> Self {
        let taken = timeouts.taken_within(timeouts.close_with(pending));
        let most = most_before.saturating_sub(taken);
        ClosePace {
            // No output limit reaches 4 GiB.
            pending: pending as u32,
            most: u32::try_from(most).unwrap_or(u32::MAX),
        }
    }

    /// The pace of the next period if so much is left at the end of this one. `None` if the peer takes the output too slowly, or
    /// if there was none.
    pub(crate) fn next(self, timeouts: &Timeouts, left: usize) -> Option<Self> {
        let pending = self.pending as usize;
        let least = timeouts.least_progress(timeouts.close_with(pending), pending);
        let is_fast = pending > 0 && left <= pending - least && left <= self.most as usize;
        is_fast.then(|| Self::period(timeouts, left, u64::from(self.most)))
    }

    /// The pace of the same period with a second term for what is left: what may be left at its end stays.
    pub(crate) fn again(self, left: usize) -> Self {
        ClosePace {
            pending: left as u32,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const STEP: usize = 192 * KIB;

    fn at(least_rate: u32, close: Duration) -> Timeouts {
        Timeouts {
            least_rate,
            close,
            step: STEP as u64,
            ..Timeouts::default()
        }
    }

    /// The time for which a close lasts of whose output so many bytes are left at each time, and what is left then.
    fn close(
        timeouts: &Timeouts,
        pending: usize,
        left_at: impl Fn(Duration) -> usize,
    ) -> (Duration, usize) {
        let mut pace = ClosePace::begin(timeouts, pending);
        let (mut now, mut left) = (Duration::ZERO, pending);
        loop {
            now += timeouts.close_with(left);
            left = left_at(now);
            match pace.next(timeouts, left) {
                Some(next) if left > 0 => pace = next,
                _ => return (now, left),
            }
        }
    }

    /// Reads so many bytes per second, which the kernel shows in steps of this size.
    fn reader(pending: usize, rate: f64, step: usize) -> impl Fn(Duration) -> usize {
        move |now| {
            let read = (now.as_secs_f64() * rate) as usize;
            pending.saturating_sub(read / step * step)
        }
    }

    #[test]
    fn a_close_whose_peer_takes_little_in_each_period_ends_in_time() {
        let seconds = Duration::from_secs;
        let pending = 2_400_000;
        for (rate, close_timeout) in [(65_536, 1), (65_536, 10), (1024, 10), (1024, 1)] {
            let timeouts = at(rate, seconds(close_timeout));
            let of = |bytes: usize| seconds(1) * bytes as u32 / rate;
            let most = of(pending + STEP) + timeouts.close_with(pending);
            for part in [0.0, 0.03, 0.1, 0.25, 0.5, 0.9, 0.99] {
                let reader = reader(pending, part * f64::from(rate), 1);
                let (time, left) = close(&timeouts, pending, reader);
                // The last of them is less than a step behind.
                let is_cut = left > 0 || part > 0.9;
                assert!(time <= most && is_cut, "{time:?}, {left} bytes left");
            }
            // A byte in each period.
            let period = timeouts.close_with(pending);
            let byte = |now: Duration| pending - (now.as_nanos() / period.as_nanos()) as usize;
            let (time, _) = close(&timeouts, pending, byte);
            assert!(time <= of(STEP) + 2 * period, "{time:?}");
        }
    }

    #[test]
    fn a_close_whose_peer_reads_at_the_least_rate_is_not_cut() {
        let pending = 2_400_000;
        for (rate, close_timeout) in [(65_536, 1), (65_536, 10), (1024, 10), (u32::MAX, 1)] {
            let timeouts = at(rate, Duration::from_secs(close_timeout));
            for (part, step) in [(1.001, 1), (1.001, 64 * KIB), (1.001, STEP), (3.0, STEP)] {
                let pending = pending / STEP * STEP;
                let reader = reader(pending, part * f64::from(rate), step);
                let (_, left) = close(&timeouts, pending, reader);
                assert_eq!(left, 0, "{rate} per second, {close_timeout} s");
            }
        }
    }

    #[test]
    fn without_a_least_rate_a_byte_in_each_period_is_enough() {
        let timeouts = at(0, Duration::from_secs(10));
        let left = |now: Duration| 1000 - now.as_secs() as usize / 192;
        let (time, left) = close(&timeouts, 1000, left);
        assert_eq!((time, left), (Duration::from_secs(192_000), 0));
    }

    /// The number of periods for which a peer stays that takes so many bytes in each, of output that does not end.
    fn periods(timeouts: &Timeouts, pending: usize, taken: impl Fn(u64) -> u64) -> u64 {
        let (mut progress, mut debt) = (0, 0);
        for period in 0..1000 {
            let time = Duration::from_secs(60);
            let pace = Pace::over(time, timeouts, (progress, pending), debt);
            progress += taken(period);
            match pace.debt(timeouts, progress) {
                Some(left) => debt = left,
                None => return period,
            }
        }
        1000
    }

    #[test]
    fn output_that_never_ends_must_be_taken_at_the_least_rate_too() {
        let timeouts = at(1024, Duration::from_secs(10));
        let period = 60 * 1024;
        assert_eq!(periods(&timeouts, 1 << 20, |_| 0), 0);
        // A step is worth 192 seconds.
        assert_eq!(periods(&timeouts, 1 << 20, |_| 1), 3);
        assert_eq!(periods(&timeouts, 1 << 20, |_| period / 2), 6);
        assert_eq!(periods(&timeouts, 1 << 20, |_| period), 1000);
        // The kernel shows three periods together.
        let in_steps = |at| if at % 3 == 2 { 3 * period - 2 } else { 1 };
        assert_eq!(periods(&timeouts, 1 << 20, in_steps), 1000);
        // What is taken beyond the rate is no credit.
        let paused = |at| if at == 0 { 100 * period } else { 1 };
        assert_eq!(periods(&timeouts, 1 << 20, paused), 4);
        // A peer need not take more than there is.
        assert_eq!(periods(&timeouts, 100, |_| 100), 1000);
        assert_eq!(periods(&at(0, timeouts.close), 1 << 20, |_| 1), 1000);
    }
}
