//! Closures that run on a worker at a given time, once or again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A scheduled closure on its way to, or at, its worker.
pub(crate) struct Task {
    /// When, in the loop's time.
    pub(crate) due: Duration,
    /// For a task that repeats.
    pub(crate) every: Option<Duration>,
    pub(crate) run: Box<dyn FnMut() + Send>,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Task {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}
