//! The limits on frames in a second: control frames cost the peer little and are answered, and messages call the handler.

use std::time::Duration;

/// Counts frames against the limit of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// The second that is being counted, modulo 2^16.
    second: u16,
    count: u16,
}

impl Rate {
    /// Counts one more frame; false if it is one too many.
    pub(crate) fn count(&mut self, now: Duration, limit: u16) -> bool {
        // The number of the second matters only as being another one than before.
        let second = now.as_secs() as u16;
        if second != self.second {
            *self = Rate { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }
}
