//! Closures that run on a worker at a given time, once or repeatedly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A scheduled closure on its way to, or at, its worker.
pub(crate) struct Task {
    /// The first run, in the loop's time.
    pub(crate) due: Duration,
    /// The period of a task that repeats.
    pub(crate) every: Option<Duration>,
    pub(crate) run: Box<dyn FnMut() + Send>,
    /// Shared with the task's handles.
    pub(crate) ticket: Arc<Ticket>,
}

/// The part of a task that its handles share: they cancel the task by it, and its worker finds the task by it.
pub(crate) struct Ticket {
    is_cancelled: AtomicBool,
    /// The index among the worker's tasks. Only the worker uses it.
    index: AtomicUsize,
}

impl Ticket {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Ticket {
            is_cancelled: AtomicBool::new(false),
            index: AtomicUsize::new(usize::MAX),
        })
    }

    /// Marks the task as cancelled. False if it was before.
    pub(crate) fn cancel(&self) -> bool {
        !self.is_cancelled.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Notes where the worker keeps the task.
    pub(crate) fn set_index(&self, index: usize) {
        self.index.store(index, Ordering::Relaxed);
    }

    /// The index that was set last. Another task may have it meanwhile.
    pub(crate) fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }
}
