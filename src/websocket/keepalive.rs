//! Pings and pongs: the times of automatic pings, the deadline of their answers, and the round-trip time.

use std::num::NonZeroU64;
use std::time::Duration;

/// A ping's payload: the time at which it was sent, in nanoseconds.
type Stamp = [u8; 8];

/// Pings and pongs of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keepalive {
    /// The time of the next automatic ping.
    next_ping: Option<Moment>,
    /// The deadline of the answer to the first automatic ping without one, or of the peer's end of stream.
    pong_due: Option<Moment>,
    /// The times of the pings without an answer.
    unanswered: Option<Unanswered>,
    /// At the last check the peer was held back, so it gets one full timeout more.
    was_held_back: bool,
    round_trip_time: Option<Moment>,
}

/// The times of the first and the last of some pings.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    first: Moment,
    last: Moment,
}

/// A time in nanoseconds, up to some centuries. An `Option` of it takes no more room.
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
    /// Begins automatic pings.
    pub(crate) fn begin(&mut self, first: Duration) {
        self.next_ping = Some(Moment::of(first));
    }

    /// Registers a ping that is sent now, and returns its payload.
    pub(crate) fn ping(&mut self, now: Duration) -> Stamp {
        let last = Moment::of(now);
        let first = self.unanswered.map_or(last, |pings| pings.first);
        self.unanswered = Some(Unanswered { first, last });
        last.nanos().to_be_bytes()
    }

    /// Sets the time of the next automatic ping, and the deadline of the answer to this one unless an earlier one still waits.
    pub(crate) fn schedule(&mut self, now: Duration, every: Duration, timeout: Duration) {
        self.next_ping = Some(Moment::of(now.saturating_add(every)));
        self.pong_due
            .get_or_insert(Moment::of(now.saturating_add(timeout)));
    }

    /// Postpones the deadline of an answer by a full timeout, if one is set: the answer may have come without being read, or the
    /// ping may not have left.
    pub(crate) fn postpone(&mut self, now: Duration, timeout: Duration) {
        if let Some(due) = &mut self.pong_due {
            *due = Moment::of(now.saturating_add(timeout));
            self.was_held_back = true;
        }
    }

    /// Postpones the deadline once more if the peer was held back at the last check: only from now on it can answer. False if
    /// it was not held back.
    pub(crate) fn extend(&mut self, now: Duration, timeout: Duration) -> bool {
        let was_held_back = self.was_held_back;
        if was_held_back {
            self.postpone(now, timeout);
            self.was_held_back = false;
        }
        was_held_back
    }

    /// Counts bytes that came at this time as a sign of life: a peer that is within a long frame cannot send a pong. The answer
    /// is due a timeout after them.
    pub(crate) fn hear(&mut self, heard_at: Duration, timeout: Duration) {
        if let Some(due) = &mut self.pong_due {
            *due = (*due).max(Moment::of(heard_at.saturating_add(timeout)));
        }
    }

    /// Ends the pings, because none can be sent any more. The peer has to answer with its end of stream, once that is
    /// [awaited](Self::await_end).
    pub(crate) fn end(&mut self) {
        (self.next_ping, self.pong_due) = (None, None);
    }

    /// Sets the deadline of the peer's end of stream, unless it is set.
    pub(crate) fn await_end(&mut self, now: Duration, timeout: Duration) {
        self.pong_due
            .get_or_insert(Moment::of(now.saturating_add(timeout)));
    }

    /// Registers a pong. Any pong is a sign of life; one that answers a ping tells the round-trip time too.
    ///
    /// A peer need not answer every ping, only the latest that it has seen (RFC 6455, section 5.5.3). So an answer counts for
    /// all pings before its own, and later ones may still be on their way. True if it answers a ping.
    pub(crate) fn take_pong(&mut self, payload: &[u8], now: Duration) -> bool {
        self.pong_due = None;
        self.was_held_back = false;
        let Ok(stamp) = Stamp::try_from(payload) else {
            return false;
        };
        let pinged = Moment::of_nanos(u64::from_be_bytes(stamp));
        let Some(Unanswered { first, last }) = self.unanswered else {
            return false;
        };
        let is_answer = first <= pinged && pinged <= last;
        if is_answer {
            let first = Moment(pinged.0.saturating_add(1));
            self.unanswered = (first <= last).then_some(Unanswered { first, last });
            self.round_trip_time = Some(Moment::of(now.saturating_sub(pinged.time())));
        }
        is_answer
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

    /// True if a ping has no answer yet.
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
        keepalive.postpone(seconds(35), seconds(25));
        assert!(!keepalive.is_overdue(seconds(59)) && keepalive.is_overdue(seconds(60)));
        keepalive.take_pong(b"", seconds(59));
        assert!(!keepalive.is_overdue(seconds(60)));
        keepalive.postpone(seconds(60), seconds(25));
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
