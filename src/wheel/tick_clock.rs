//! Converts time to ticks and back.

use std::num::NonZeroU64;
use std::time::Duration;

/// Converts between time since a start and ticks. It is pure arithmetic and reads no clock: the
/// caller hands in the durations.
///
/// A timer never fires early: [`now`](Self::now) rounds down and [`deadline`](Self::deadline)
/// rounds up, so a timer fires within one tick after its time (plus what the loop takes to come
/// round). Ticks beyond `u64` saturate.
///
/// ```
/// use ringwheel::internal::TickClock;
/// use std::time::Duration;
///
/// let clock = TickClock::default();
/// assert_eq!(clock.tick(), Duration::from_millis(1));
/// assert_eq!(clock.now(Duration::from_micros(5_300)), 5);
/// assert_eq!(clock.deadline(Duration::from_micros(5_300)), 6);
/// assert_eq!(clock.until(6, Duration::from_micros(5_300)), Duration::from_micros(700));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TickClock {
    nanos_per_tick: NonZeroU64,
}

impl TickClock {
    /// The default length of a tick.
    pub const DEFAULT_TICK: Duration = Duration::from_millis(1);
    /// The shortest tick; a shorter one is taken as this.
    pub const MIN_TICK: Duration = Duration::from_nanos(1);
    /// The longest tick (about 584 years); a longer one is taken as this.
    pub const MAX_TICK: Duration = Duration::from_nanos(u64::MAX);

    /// A clock whose ticks are `tick` long, within [`MIN_TICK`](Self::MIN_TICK) and
    /// [`MAX_TICK`](Self::MAX_TICK).
    pub fn new(tick: Duration) -> Self {
        let nanos = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX);
        Self {
            nanos_per_tick: NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN),
        }
    }

    /// The length of a tick.
    pub fn tick(&self) -> Duration {
        Duration::from_nanos(self.nanos_per_tick.get())
    }

    /// The tick that time has reached: rounded down.
    #[inline]
    pub fn now(&self, since_start: Duration) -> u64 {
        if let Some(nanos) = short_nanos(since_start) {
            return nanos / self.nanos_per_tick;
        }
        saturate(since_start.as_nanos() / u128::from(self.nanos_per_tick.get()))
    }

    /// The first tick that does not begin before the given time: rounded up.
    #[inline]
    pub fn deadline(&self, since_start: Duration) -> u64 {
        if let Some(nanos) = short_nanos(since_start) {
            return nanos.div_ceil(self.nanos_per_tick.get());
        }
        saturate(
            since_start
                .as_nanos()
                .div_ceil(u128::from(self.nanos_per_tick.get())),
        )
    }

    /// The time from the start to the begin of a tick, at most [`Duration::MAX`].
    #[inline]
    pub fn begin(&self, tick: u64) -> Duration {
        if let Some(nanos) = tick.checked_mul(self.nanos_per_tick.get()) {
            return Duration::from_nanos(nanos);
        }
        let nanos = u128::from(tick) * u128::from(self.nanos_per_tick.get());
        let nanos_per_second = u128::from(NANOS_PER_SECOND);
        match u64::try_from(nanos / nanos_per_second) {
            Ok(seconds) => Duration::new(seconds, (nanos % nanos_per_second) as u32),
            Err(_) => Duration::MAX,
        }
    }

    /// The time from the given time to the begin of a tick, zero if it has begun: the wait
    /// for [`Wheel::next_expiry`](super::Wheel::next_expiry). A poll with coarser timeouts must round this up.
    #[inline]
    pub fn until(&self, tick: u64, since_start: Duration) -> Duration {
        self.begin(tick).saturating_sub(since_start)
    }
}

impl Default for TickClock {
    /// A clock with ticks of [`DEFAULT_TICK`](Self::DEFAULT_TICK).
    fn default() -> Self {
        Self::new(Self::DEFAULT_TICK)
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The nanoseconds of a time of less than 272 years: they fit in 64 bits, whose division is much cheaper.
#[inline]
fn short_nanos(time: Duration) -> Option<u64> {
    const LONG: u64 = 1 << 33;
    let is_short = time.as_secs() < LONG;
    is_short.then(|| time.as_secs() * NANOS_PER_SECOND + u64::from(time.subsec_nanos()))
}

fn saturate(ticks: u128) -> u64 {
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_clock_is_never_early_and_less_than_a_tick_late() {
        for tick in [1, 7, 1_000, 1_000_000, 16_666_667, 3_000_000_000].map(Duration::from_nanos) {
            let clock = TickClock::new(tick);
            assert_eq!(clock.tick(), tick);
            for time in (0..2_000).map(|step| Duration::from_nanos(step * 7_654_321)) {
                let (now, deadline) = (clock.now(time), clock.deadline(time));
                assert!(clock.begin(now) <= time && time < clock.begin(now + 1));
                assert!(clock.begin(deadline) >= time && clock.begin(deadline) - time < tick);
                assert_eq!(time + clock.until(deadline, time), clock.begin(deadline));
                assert_eq!(clock.now(time + clock.until(deadline, time)), deadline);
                assert_eq!(clock.until(now, time), Duration::ZERO);
            }
        }
    }

    #[test]
    fn a_tick_clock_saturates() {
        let finest = TickClock::new(Duration::ZERO);
        assert_eq!(finest.tick(), TickClock::MIN_TICK);
        assert_eq!(
            (finest.now(Duration::MAX), finest.deadline(Duration::MAX)),
            (u64::MAX, u64::MAX)
        );
        let coarsest = TickClock::new(Duration::MAX);
        assert_eq!(coarsest.tick(), TickClock::MAX_TICK);
        assert_eq!(coarsest.begin(u64::MAX), Duration::MAX);
        assert_eq!(coarsest.deadline(Duration::from_nanos(1)), 1);
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let default = TickClock::default();
        assert_eq!(default.tick(), TickClock::DEFAULT_TICK);
        assert_eq!(default.begin(default.now(century)), century);
    }
}
