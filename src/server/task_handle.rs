//! The handle of a scheduled task, for any thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::shared::LoopShared;

/// A handle to a task that was scheduled with [`ServerHandle::run_after`](crate::ServerHandle::run_after) or
/// [`run_every`](crate::ServerHandle::run_every). Dropping it does not cancel the task.
///
/// ```
/// use std::time::Duration;
/// use ringwheel::ServerHandle;
///
/// /// Ends the server in an hour, unless the task is cancelled before.
/// fn end_later(server: &ServerHandle) -> ringwheel::TaskHandle {
///     let handle = server.clone();
///     server.run_after(Duration::from_secs(3600), move || handle.shutdown(Duration::from_secs(10)))
/// }
///
/// fn keep_running(task: &ringwheel::TaskHandle) -> bool {
///     task.cancel()
/// }
/// ```
#[derive(Clone)]
pub struct TaskHandle {
    cancelled: Arc<AtomicBool>,
    shared: Arc<LoopShared>,
}

impl TaskHandle {
    pub(crate) fn new(cancelled: Arc<AtomicBool>, shared: Arc<LoopShared>) -> Self {
        TaskHandle { cancelled, shared }
    }

    /// Cancels the task: no run begins after this returns, except one that is just beginning on its worker. False if the task
    /// was cancelled before.
    pub fn cancel(&self) -> bool {
        let first = !self.cancelled.swap(true, Ordering::AcqRel);
        if first {
            self.shared.sweep();
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
