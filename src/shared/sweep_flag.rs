//! Coalesces requests to forget cancelled tasks.

use crate::shared::sync::atomic::{AtomicBool, Ordering};

/// True between a request and the sweep that answers it: the sweep covers every task that was cancelled before it begins.
pub(crate) struct SweepFlag {
    asked: AtomicBool,
}

impl SweepFlag {
    pub(crate) fn new() -> Self {
        SweepFlag {
            asked: AtomicBool::new(false),
        }
    }

    /// Requests a sweep for tasks that were cancelled before the call. True if no request is pending, so that the loop must
    /// be told.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Begins a sweep: tasks that are cancelled from now on need another.
    pub(crate) fn begin(&self) {
        // A swap, not a store: reading the flag synchronises with the `ask` that found it set, so this sweep sees the
        // cancellation made before it.
        self.asked.swap(false, Ordering::AcqRel);
    }
}
