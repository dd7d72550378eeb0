//! Control of the acceptor from other threads: tells it to drain or to stop, and that workers have room.

use std::sync::PoisonError;
use std::time::Duration;

use crate::accept::handover::Handover;
use crate::accept::listeners::ListenerChange;
use crate::shared::sync::{Mutex, MutexGuard};
use crate::shared::waker::{Wake, Waker};

/// The part of the acceptor that other threads reach: the course that it is on, for those that end the server, and the
/// handover, for the workers.
pub(crate) struct AcceptorControl {
    pub(super) handover: Handover,
    wake: Waker,
    course: Mutex<Course>,
    /// Changes of its listeners that it has not made yet; `None` once it has ended.
    changes: Mutex<Option<Vec<ListenerChange>>>,
}

/// The orders to the acceptor. A later one in this list replaces an earlier one, never the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Course {
    /// Accept.
    Accept,
    /// Accept the connections that wait in the backlog, and have the workers drain within this time.
    Drain(Duration),
    /// End at once.
    Stop,
}

impl AcceptorControl {
    pub(crate) fn new(wake: Box<Wake>, handover: Handover) -> Self {
        AcceptorControl {
            handover,
            wake: Waker::new(wake),
            course: Mutex::new(Course::Accept),
            changes: Mutex::new(Some(Vec::new())),
        }
    }

    /// Sets the acceptor on a later course, and wakes it. A drain that has begun keeps its deadline.
    pub(crate) fn steer(&self, to: Course) {
        self.set_course(to);
        self.wake();
    }

    /// Counts out a connection that was handed over: the worker has taken it, or it was lost.
    pub(crate) fn count_taken(&self, worker: usize) {
        if self.handover.count_out(worker) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(error) = self.wake.wake() {
            log::error!("the acceptor could not be woken: {error}");
        }
    }

    /// Closes the descriptor that wakes the acceptor, which has ended or will never run.
    pub(crate) fn release_waker(&self) {
        self.wake.release();
    }

    pub(crate) fn set_course(&self, to: Course) {
        let mut course = self.lock();
        if *course == Course::Accept || to == Course::Stop {
            *course = to;
        }
    }

    /// Has the acceptor change its listeners. If it has ended, the change is dropped.
    pub(crate) fn change_listeners(&self, change: ListenerChange) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = &mut *changes else {
            return;
        };
        waiting.push(change);
        drop(changes);
        self.wake();
    }

    /// The changes that were asked for since the last call.
    pub(super) fn take_changes(&self) -> Vec<ListenerChange> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Drops the changes that were not made, and all later ones.
    pub(super) fn end_changes(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = changes.take();
        drop(changes);
        drop(dropped);
    }

    pub(crate) fn course(&self) -> Course {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Course> {
        // The value is replaced as a whole, so a panic elsewhere leaves it intact.
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
