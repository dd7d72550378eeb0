//! Pings, and the answers that are due.

use std::num::NonZeroU64;
use std::time::Duration;

/// A ping's payload: the time at which it was sent, in nanoseconds.
type Stamp = [u8; 8];

/// What is known of the peer's being there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keepalive {
    /// When the next automatic ping is due.
    next_ping: Option<Moment>,
    /// When the answer to the last automatic one is.
    pong_due: Option<Moment>,
    /// When the pings were sent that have no answer.
    unanswered: Option<Unanswered>,
    /// When it was looked at last there was a reason why no answer could have come.
    was_excused: bool,
    round_trip_time: Option<Moment>,
}

/// The first and the last of some pings.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    first: Moment,
    last: Moment,
}

/// A duration in nanoseconds, of some centuries at most; none takes no room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(NonZeroU64);

impl Moment {
    fn of(time: Duration) -> Self {
        Self::of_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    fn of_nanos(nanos: u64) -> Self {
        Moment(NonZeroU64::MIN.saturating_add(nanos))
    }

    fn nanos(self) -> u64 {
        self.0.get() - 1
    }

    fn time(self) -> Duration {
        Duration::from_nanos(self.nanos())
    }
}

impl Keepalive {
    /// Begins to ping by itself.
    pub(crate) fn begin(&mut self, first: Duration) {
        self.next_ping = Some(Moment::of(first));
    }

    /// Pings now; returns what the ping says.
    pub(crate) fn ping(&mut self, now: Duration) -> Stamp {
        let last = Moment::of(now);
        let first = self.unanswered.map_or(last, |pings| pings.first);
        self.unanswered = Some(Unanswered { first, last });
        last.nanos().to_be_bytes()
    }

    /// Sets what is due after an automatic ping. The first that is not answered counts.
    pub(crate) fn schedule(&mut self, now: Duration, every: Duration, timeout: Duration) {
        self.next_ping = Some(Moment::of(now.saturating_add(every)));
        self.pong_due
            .get_or_insert(Moment::of(now.saturating_add(timeout)));
    }

    /// Puts off the answer that is due, if one is: it may have come without being read, or the ping not have left.
    pub(crate) fn excuse(&mut self, now: Duration, timeout: Duration) {
        if let Some(due) = &mut self.pong_due {
            *due = Moment::of(now.saturating_add(timeout));
            self.was_excused = true;
        }
    }

    /// Puts off the answer that is overdue if there was an excuse at the last look: only now all of the time runs. False if
    /// there was none.
    pub(crate) fn renew(&mut self, now: Duration, timeout: Duration) -> bool {
        let was_excused = self.was_excused;
        if was_excused {
            self.excuse(now, timeout);
            self.was_excused = false;
        }
        was_excused
    }

    /// A pong has come. One that answers no ping is as good as an answer for being there, but tells no time.
    ///
    /// A peer need not answer every ping, but the latest that it has seen (RFC 6455, section 5.5.3): an answer is one to
    /// all before it, and may come when others are on their way.
    pub(crate) fn take_pong(&mut self, payload: &[u8], now: Duration) {
        self.pong_due = None;
        self.was_excused = false;
        let Ok(stamp) = Stamp::try_from(payload) else {
            return;
        };
        let pinged = Moment::of_nanos(u64::from_be_bytes(stamp));
        let Some(Unanswered { first, last }) = self.unanswered else {
            return;
        };
        if first <= pinged && pinged <= last {
            let first = Moment(pinged.0.saturating_add(1));
            self.unanswered = (first <= last).then_some(Unanswered { first, last });
            self.round_trip_time = Some(Moment::of(now.saturating_sub(pinged.time())));
        }
    }

    pub(crate) fn round_trip_time(&self) -> Option<Duration> {
        self.round_trip_time.map(Moment::time)
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let next = match (self.next_ping, self.pong_due) {
            (Some(ping), Some(pong)) => Some(ping.min(pong)),
            (ping, pong) => ping.or(pong),
        };
        next.map(Moment::time)
    }

    pub(crate) fn is_overdue(&self, now: Duration) -> bool {
        self.pong_due.is_some_and(|due| due <= Moment::of(now))
    }

    /// Whether there are pings without an answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unanswered.is_some()
    }

    pub(crate) fn is_ping_due(&self, now: Duration) -> bool {
        self.next_ping.is_some_and(|due| due <= Moment::of(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pong_tells_the_round_trip_time_and_a_stray_one_does_not() {
        let mut keepalive = Keepalive::default();
        let stamp = keepalive.ping(seconds(5));
        keepalive.take_pong(b"stray", seconds(6));
        keepalive.take_pong(&[0xff; 8], seconds(6));
        assert_eq!(keepalive.round_trip_time(), None);
        keepalive.take_pong(&stamp, seconds(7));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(2)));
        keepalive.take_pong(&stamp, seconds(9));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(2)));
    }

    #[test]
    fn answers_may_take_longer_than_the_pings_are_apart() {
        let mut keepalive = Keepalive::default();
        let stamps = [0, 1, 2, 3].map(|at| keepalive.ping(seconds(at)));
        keepalive.take_pong(&stamps[1], seconds(4));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(3)));
        // The one before it counts as answered, too.
        keepalive.take_pong(&stamps[0], seconds(5));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(3)));
        keepalive.take_pong(&stamps[3], seconds(5));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(2)));
        keepalive.take_pong(&stamps[3], seconds(9));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(2)));
    }

    #[test]
    fn pings_keep_their_period_and_the_first_without_an_answer_counts() {
        let mut keepalive = Keepalive::default();
        assert_eq!(keepalive.next_deadline(), None);
        keepalive.begin(seconds(10));
        assert!(!keepalive.is_ping_due(seconds(9)) && keepalive.is_ping_due(seconds(10)));
        keepalive.schedule(seconds(10), seconds(10), seconds(25));
        keepalive.schedule(seconds(20), seconds(10), seconds(25));
        assert_eq!(keepalive.next_deadline(), Some(seconds(30)));
        assert!(!keepalive.is_overdue(seconds(34)) && keepalive.is_overdue(seconds(35)));
        keepalive.excuse(seconds(35), seconds(25));
        assert!(!keepalive.is_overdue(seconds(59)) && keepalive.is_overdue(seconds(60)));
        keepalive.take_pong(b"", seconds(59));
        assert!(!keepalive.is_overdue(seconds(60)));
        keepalive.excuse(seconds(60), seconds(25));
        assert!(!keepalive.is_overdue(seconds(100)));
    }

    #[test]
    fn a_time_beyond_all_is_never() {
        let mut keepalive = Keepalive::default();
        keepalive.begin(Duration::MAX);
        assert!(!keepalive.is_ping_due(seconds(1 << 33)));
        keepalive.take_pong(&[0xff; 8], Duration::MAX);
        assert_eq!(keepalive.round_trip_time(), None);
    }
}
