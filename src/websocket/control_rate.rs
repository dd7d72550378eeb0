//! The limit on control frames, which cost the peer little and are answered.

use std::time::Duration;

/// Counts control frames against the limit of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ControlRate {
    /// The second that is being counted, modulo 2^16.
    second: u16,
    count: u16,
}

impl ControlRate {
    /// Counts one more frame; false if it is one too many.
    pub(crate) fn count(&mut self, now: Duration, limit: u16) -> bool {
        // The number of the second matters only as being another one than before.
        let second = now.as_secs() as u16;
        if second != self.second {
            *self = ControlRate { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }
}
