//! The pace at which turns post mail: fast while the mail is carried out fast.

use std::time::{Duration, Instant};

/// Number of letters that the callbacks of a turn may post before they are carried out, or of 256 bytes of them.
const POSTS: u32 = 32;
/// Number of posts that a turn is taken to have posted at most, where it was ended early.
const MOST_POSTS: u32 = 64;
/// The time that carrying out a letter takes if it is slow.
const SLOW_POST: Duration = Duration::from_micros(10);
/// The time after slow letters in which each message that posts ends its turn.
const WARY_FOR: Duration = Duration::from_secs(10);

/// The number of letters after which a turn ends. Closures that take long are carried out behind the turn that has posted them, so
/// that many of them would hold up the others before their time is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PostPace {
    /// The time until which one letter ends a turn, because some were slow.
    wary_until: Option<Instant>,
}

impl PostPace {
    /// True if a turn that has posted so much must end.
    #[inline]
    pub(crate) fn is_reached(self, posted: u32) -> bool {
        posted > POSTS || (posted > 0 && self.wary_until.is_some())
    }

    /// Notes that the letters of a turn were carried out within `time`, until `now`.
    pub(crate) fn note(&mut self, posted: u32, time: Duration, now: Instant) {
        if time > SLOW_POST * posted.clamp(1, MOST_POSTS) {
            self.wary_until = now.checked_add(WARY_FOR);
        } else if self.wary_until.is_some_and(|until| until <= now) {
            self.wary_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_ends_a_turn_for_a_while_after_slow_ones() {
        let mut pace = PostPace::default();
        let start = Instant::now();
        assert!(!pace.is_reached(0) && !pace.is_reached(32) && pace.is_reached(33));
        pace.note(32, Duration::from_micros(320), start);
        assert!(!pace.is_reached(1));
        pace.note(1, Duration::from_micros(11), start);
        assert!(!pace.is_reached(0) && pace.is_reached(1));
        pace.note(1, Duration::from_micros(1), start + WARY_FOR / 2);
        assert!(pace.is_reached(1));
        pace.note(1, Duration::from_micros(1), start + WARY_FOR);
        assert!(!pace.is_reached(1));
        // A turn that was ended early has posted nobody knows how much.
        pace.note(u32::MAX, Duration::from_micros(640), start);
        assert!(!pace.is_reached(1));
        pace.note(u32::MAX, Duration::from_micros(641), start);
        assert!(pace.is_reached(1));
    }
}
