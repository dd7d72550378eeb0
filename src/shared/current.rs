//! The worker that runs on the current thread.

use std::cell::Cell;

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The index of the worker that runs on the current thread; `None` on a thread that runs no worker.
///
/// Code that a handler calls can learn its worker from this, such as a logger or a metric.
///
/// ```
/// assert_eq!(ringwheel::current_worker(), None);
/// ```
pub fn current_worker() -> Option<usize> {
    CURRENT.get()
}

/// Notes the worker of the current thread for as long as it runs.
pub(crate) struct CurrentWorker;

impl CurrentWorker {
    pub(crate) fn enter(worker: usize) -> Self {
        CURRENT.set(Some(worker));
        CurrentWorker
    }
}

impl Drop for CurrentWorker {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
