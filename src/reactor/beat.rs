//! The beat of repeating tasks, timers and ticks.

use std::time::Duration;

/// The time of the next round: a whole number of periods after `due`, so that the beat does not drift, and after `now`, so
/// that rounds which were missed are not made up for.
pub(super) fn next_round(due: Duration, every: Duration, now: Duration) -> Duration {
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
