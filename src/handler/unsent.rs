//! The log of mail and publications that the protocol of a connection could not express.

use std::cell::Cell;
use std::time::Duration;

use crate::connection::id::ConnId;
use crate::protocol::PackError;

/// The least time between two lines in the log.
const PAUSE: Duration = Duration::from_secs(1);

/// Messages from elsewhere that the connections of one service on one worker could not send, for the log.
///
/// The call that published or posted such a message has returned `Ok`, because each connection packs it later, with an encoder of its
/// own. The log gets one line per second, so that clients whose words are published cannot flood it.
#[derive(Default)]
pub(crate) struct Unsent {
    /// The time, since the loop began, of the last line.
    logged_at: Cell<Option<Duration>>,
    /// Messages since then, which have no line.
    passed_over: Cell<u64>,
}

impl Unsent {
    /// Notes that a connection has not sent a message, for this reason.
    #[cold]
    pub(crate) fn note(&self, id: ConnId, reason: PackError, now: Duration) {
        match self.next_line(now) {
            None => {}
            Some(0) => log::warn!("connection {id}: a message is not sent: {reason}"),
            Some(others) => log::warn!(
                "connection {id}: a message is not sent, nor were {others} before: {reason}"
            ),
        }
    }

    /// Counts a message. Returns the number of those without a line if there is to be a line now.
    fn next_line(&self, now: Duration) -> Option<u64> {
        let is_due = |logged_at| now >= PAUSE + logged_at;
        if self.logged_at.get().is_none_or(is_due) {
            self.logged_at.set(Some(now));
            return Some(self.passed_over.take());
        }
        self.passed_over.set(self.passed_over.get() + 1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_a_line_per_second() {
        let unsent = Unsent::default();
        let times = [0, 10, 999, 1_000, 1_001, 5_000, 9_000];
        let lines = times.map(|at| unsent.next_line(Duration::from_millis(at)));
        assert_eq!(
            lines,
            [Some(0), None, None, Some(2), None, Some(1), Some(0)]
        );
    }
}
