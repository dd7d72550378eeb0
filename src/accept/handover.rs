//! The handover of connections from the acceptor to the workers. It is bounded, so that a crowd waits in the kernel's backlog
//! and not in descriptors of this process.

use crate::shared::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// Counts the connections that were handed over to each worker and that it has not taken yet, against a limit. While no
/// worker has room the acceptor accepts nothing.
pub(crate) struct Handover {
    waiting: Box<[AtomicUsize]>,
    limit: usize,
    /// True while the acceptor waits for room: a worker that has made some wakes it.
    is_awaited: AtomicBool,
}

impl Handover {
    pub(crate) fn new(workers: usize, limit: usize) -> Self {
        Handover {
            waiting: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            limit,
            is_awaited: AtomicBool::new(false),
        }
    }

    /// True if the worker may be handed another connection.
    pub(crate) fn has_room(&self, worker: usize) -> bool {
        self.waiting(worker) < self.limit
    }

    /// True if some worker may be handed another connection.
    pub(crate) fn has_room_anywhere(&self) -> bool {
        (0..self.waiting.len()).any(|worker| self.has_room(worker))
    }

    /// Counts a connection in, before it is handed over. False if the worker had no room, and is one above the limit now:
    /// then nothing is accepted until it [has made some](Self::must_wait_for).
    pub(crate) fn count_in(&self, worker: usize) -> bool {
        self.waiting[worker].fetch_add(1, Ordering::Relaxed) < self.limit
    }

    /// Counts out a connection that the worker has taken or that was lost. True if the acceptor waits for it and must be
    /// woken.
    pub(crate) fn count_out(&self, worker: usize) -> bool {
        self.take_out(worker);
        self.ends_wait(worker)
    }

    pub(crate) fn take_out(&self, worker: usize) {
        let before = self.waiting[worker].fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a connection was counted out twice");
    }

    /// True if the acceptor waits and the worker is half empty: not sooner, so that it need not be woken for each connection.
    pub(crate) fn ends_wait(&self, worker: usize) -> bool {
        // Pairs with the fence in `waits_for`: either the acceptor sees the connection that was just counted out, or this
        // call sees that the acceptor waits.
        fence(Ordering::SeqCst);
        self.is_awaited.load(Ordering::Relaxed)
            && self.is_half_empty(worker)
            && self.is_awaited.swap(false, Ordering::Relaxed)
    }

    /// Announces that the acceptor is about to wait until any worker has room. False if one has, so that it must not wait.
    pub(crate) fn must_wait(&self) -> bool {
        let any_is_half_empty = || (0..self.waiting.len()).any(|worker| self.is_half_empty(worker));
        !self.has_room_anywhere() && self.waits_for(any_is_half_empty)
    }

    /// As [`must_wait`](Self::must_wait), for one worker.
    pub(crate) fn must_wait_for(&self, worker: usize) -> bool {
        self.waits_for(|| self.is_half_empty(worker))
    }

    fn waits_for(&self, has_room: impl Fn() -> bool) -> bool {
        self.is_awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let must_wait = !has_room();
        if !must_wait {
            self.is_awaited.store(false, Ordering::Relaxed);
        }
        must_wait
    }

    fn is_half_empty(&self, worker: usize) -> bool {
        self.waiting(worker) <= self.limit / 2
    }

    fn waiting(&self, worker: usize) -> usize {
        self.waiting[worker].load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_worker_has_room_again_and_the_wait_ends_at_half() {
        let handover = Handover::new(2, 4);
        assert!((0..4).all(|_| handover.count_in(0)));
        assert!(!handover.has_room(0) && handover.has_room_anywhere());
        assert!(!handover.must_wait(), "the other worker has room");
        assert!(!handover.count_in(0), "beyond the limit");
        assert!(handover.must_wait_for(0));
        assert!(!handover.count_out(0) && !handover.count_out(0));
        assert!(handover.count_out(0), "half empty");
        assert!(!handover.count_out(0), "it is woken once");
        assert!(!handover.must_wait_for(0));
    }

    #[test]
    fn all_workers_must_be_full() {
        let handover = Handover::new(2, 1);
        assert!(handover.count_in(0) && !handover.must_wait());
        assert!(handover.count_in(1) && handover.must_wait());
        assert!(handover.count_out(1));
        assert!(!handover.must_wait());
    }
}
