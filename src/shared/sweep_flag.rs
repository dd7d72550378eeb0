//! Whether a loop was asked to forget what has been cancelled.

use crate::shared::sync::atomic::{AtomicBool, Ordering};

/// Coalesces requests: one is under way until the loop begins with it, and it covers all that was cancelled before.
pub(crate) struct SweepFlag {
    asked: AtomicBool,
}

impl SweepFlag {
    pub(crate) fn new() -> Self {
        SweepFlag {
            asked: AtomicBool::new(false),
        }
    }

    /// Asks for a sweep of what was cancelled before. True if none is under way, so that the loop has to be told.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// The sweep begins: what is cancelled from now on needs another.
    pub(crate) fn begin(&self) {
        // Not a store: who has found the request under way must have his cancellation seen, and only reading what he
        // wrote here makes it so.
        self.asked.swap(false, Ordering::AcqRel);
    }
}
