//! The handle of a scheduled task, for any thread.

use std::fmt;
use std::sync::Arc;

use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::task::Ticket;

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
    ticket: Arc<Ticket>,
    shared: Arc<LoopShared>,
}

impl TaskHandle {
    pub(crate) fn new(ticket: Arc<Ticket>, shared: Arc<LoopShared>) -> Self {
        TaskHandle { ticket, shared }
    }

    /// Cancels the task: no run begins after this returns, except one that is just beginning on its worker. False if the task
    /// was cancelled before.
    ///
    /// It takes constant time, and so does the worker, which drops the closure soon after.
    pub fn cancel(&self) -> bool {
        let first = self.ticket.cancel();
        if first {
            // A worker that has ended has no task left to forget.
            let _ = self.shared.command(Command::Cancel(self.ticket.clone()));
        }
        first
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("cancelled", &self.ticket.is_cancelled())
            .finish_non_exhaustive()
    }
}
