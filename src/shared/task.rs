//! Closures that run on a worker at a given time, once or repeatedly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A scheduled closure on its way to, or at, its worker.
pub(crate) struct Task {
    /// The first run, in the loop's time.
    pub(crate) due: Duration,
    /// The period of a task that repeats.
    pub(crate) every: Option<Duration>,
    pub(crate) run: Box<dyn FnMut() + Send>,
    /// Set by the task's handles.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Task {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}
