//! The pace at which turns post mail: fast while the mail is carried out fast.

use std::time::{Duration, Instant};

/// Number of letters that the callbacks of a turn may post before the turn ends and they are carried out. Each 256 bytes of a letter
/// count as one more letter.
const POSTS: u32 = 32;
/// The same number, after the letters of one turn were slow.
const POSTS_OF_SUSPECT: u32 = 4;
/// Number of posts that a turn is taken to have posted at most, where it was ended early.
const MOST_POSTS: u32 = 64;
/// The time that carrying out a letter takes if it is slow. The letters of a turn that are not slow fit into a turn's time.
const SLOW_POST: Duration = Duration::from_micros(50);
/// The time after slow letters in which each message that posts ends its turn.
const WARY_FOR: Duration = Duration::from_secs(10);

/// The number of letters after which a turn ends. Closures that take long are carried out behind the turn that has posted them, so
/// that many of them would hold up the others before their time is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PostPace {
    /// Number of letters that a turn may post now.
    most: u32,
    /// The time until which one letter ends a turn, because some were slow.
    wary_until: Option<Instant>,
}

impl Default for PostPace {
    fn default() -> Self {
        PostPace {
            most: POSTS,
            wary_until: None,
        }
    }
}

impl PostPace {
    /// True if a turn that has posted so much must end.
    #[inline]
    pub(crate) fn is_reached(self, posted: u32) -> bool {
        posted > self.most
    }

    /// Notes that the letters of a turn were carried out within `time`, until `now`.
    ///
    /// One slow turn proves nothing: another program may have had the processor meanwhile. The second in a row does.
    pub(crate) fn note(&mut self, posted: u32, time: Duration, now: Instant) {
        let is_slow = time > SLOW_POST * posted.clamp(1, MOST_POSTS);
        let was_suspect = self.most < POSTS;
        if is_slow && was_suspect {
            self.most = 0;
            self.wary_until = now.checked_add(WARY_FOR);
        } else if is_slow {
            self.most = POSTS_OF_SUSPECT;
        } else if self.wary_until.is_none_or(|until| until <= now) {
            *self = PostPace::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_micros(51);

    #[test]
    fn one_letter_ends_a_turn_for_a_while_after_slow_ones() {
        let mut pace = PostPace::default();
        let start = Instant::now();
        assert!(!pace.is_reached(32) && pace.is_reached(33));
        pace.note(32, 32 * SLOW_POST, start);
        assert!(!pace.is_reached(32));
        pace.note(1, SLOW, start);
        assert!(!pace.is_reached(4) && pace.is_reached(5));
        pace.note(1, SLOW, start);
        assert!(!pace.is_reached(0) && pace.is_reached(1));
        pace.note(1, Duration::ZERO, start + WARY_FOR / 2);
        assert!(pace.is_reached(1));
        pace.note(1, Duration::ZERO, start + WARY_FOR);
        assert!(!pace.is_reached(32));
    }

    #[test]
    fn a_slow_turn_between_fast_ones_is_forgotten() {
        let mut pace = PostPace::default();
        let start = Instant::now();
        for _ in 0..3 {
            pace.note(1, SLOW, start);
            pace.note(1, Duration::ZERO, start);
            assert!(!pace.is_reached(32));
        }
    }

    #[test]
    fn a_turn_that_was_ended_early_has_posted_a_number_that_nobody_knows() {
        let mut pace = PostPace::default();
        let start = Instant::now();
        pace.note(u32::MAX, 64 * SLOW_POST, start);
        assert!(!pace.is_reached(32));
        pace.note(u32::MAX, 64 * SLOW, start);
        assert!(pace.is_reached(32));
    }
}
