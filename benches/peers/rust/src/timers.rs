//! The timers that a server keeps running besides its connections.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(65);

/// The durations of `count` timers: evenly spread from 5 to 65 seconds.
pub fn durations(count: usize) -> impl Iterator<Item = Duration> {
    let steps = count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |step| SHORTEST + (LONGEST - SHORTEST).mul_f64(step as f64 / steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_spread_evenly_from_end_to_end() {
        let seconds: Vec<_> = durations(4).map(|timer| timer.as_secs_f64()).collect();
        assert_eq!(seconds, [5.0, 25.0, 45.0, 65.0]);
        assert_eq!(durations(1).collect::<Vec<_>>(), [SHORTEST]);
        assert_eq!(durations(0).count(), 0);
    }
}
