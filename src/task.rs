//! Closures that run on a worker at a given time, once or again and again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::mailbox::{Command, LoopShared};

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

/// A task that was scheduled with [`ServerHandle::run_after`](crate::ServerHandle::run_after) or
/// [`run_every`](crate::ServerHandle::run_every). Dropping it leaves the task alone.
#[derive(Clone)]
pub struct TaskHandle {
    cancelled: Arc<AtomicBool>,
    shared: Arc<LoopShared>,
}

impl TaskHandle {
    pub(crate) fn new(cancelled: Arc<AtomicBool>, shared: Arc<LoopShared>) -> Self {
        TaskHandle { cancelled, shared }
    }

    /// Cancels the task: it does not begin to run after this returns, unless it is just beginning. True if it was not
    /// cancelled before.
    pub fn cancel(&self) -> bool {
        let first = !self.cancelled.swap(true, Ordering::AcqRel);
        if first {
            // A worker that has ended has no tasks left to forget.
            let _ = self.shared.command(Command::Sweep);
        }
        first
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}
