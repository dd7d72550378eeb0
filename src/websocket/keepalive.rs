//! Pings, and the answers that are due.

use std::time::Duration;

/// A ping's payload: the time at which it was sent, in nanoseconds.
type Stamp = [u8; 8];

/// What is known of the peer's being there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keepalive {
    /// When the next automatic ping is due.
    next_ping: Option<Duration>,
    /// When the answer to the last automatic one is.
    pong_due: Option<Duration>,
    /// When the last ping was sent that has no answer.
    pinged: Option<Duration>,
    round_trip_time: Option<Duration>,
}

impl Keepalive {
    /// Begins to ping by itself.
    pub(crate) fn begin(&mut self, first: Duration) {
        self.next_ping = Some(first);
    }

    /// Pings now; returns what the ping says.
    pub(crate) fn ping(&mut self, now: Duration) -> Stamp {
        self.pinged = Some(now);
        stamp(now)
    }

    /// Sets what is due after an automatic ping.
    pub(crate) fn schedule(&mut self, now: Duration, every: Duration, timeout: Duration) {
        self.next_ping = Some(now.saturating_add(every));
        // The first that is not answered counts.
        self.pong_due.get_or_insert(now.saturating_add(timeout));
    }

    /// A pong has come. One that answers no ping is as good as an answer for being there, but tells no time.
    pub(crate) fn take_pong(&mut self, payload: &[u8], now: Duration) {
        self.pong_due = None;
        if let Some(pinged) = self.pinged.take_if(|pinged| stamp(*pinged) == payload) {
            self.round_trip_time = Some(now.saturating_sub(pinged));
        }
    }

    pub(crate) fn round_trip_time(&self) -> Option<Duration> {
        self.round_trip_time
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match (self.next_ping, self.pong_due) {
            (Some(ping), Some(pong)) => Some(ping.min(pong)),
            (ping, pong) => ping.or(pong),
        }
    }

    pub(crate) fn is_overdue(&self, now: Duration) -> bool {
        self.pong_due.is_some_and(|due| due <= now)
    }

    pub(crate) fn is_ping_due(&self, now: Duration) -> bool {
        self.next_ping.is_some_and(|due| due <= now)
    }
}

fn stamp(time: Duration) -> Stamp {
    // Some centuries fit.
    (time.as_nanos() as u64).to_be_bytes()
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
        assert_eq!(keepalive.round_trip_time(), None);
        keepalive.take_pong(&stamp, seconds(7));
        assert_eq!(keepalive.round_trip_time(), Some(seconds(2)));
        keepalive.take_pong(&stamp, seconds(9));
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
        keepalive.take_pong(b"", seconds(34));
        assert!(!keepalive.is_overdue(seconds(35)));
    }
}
