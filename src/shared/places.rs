//! Counts the letters or commands that wait for a loop, against a limit.

use crate::shared::sync::atomic::{AtomicUsize, Ordering};

/// The places of a queue.
///
/// A sender takes a place before it puts an item in; the receiver releases the place after it has taken the item out. So
/// the queue never holds more than the limit, and the count may be ahead of the queue for a moment, but never behind.
pub(crate) struct Places {
    taken: AtomicUsize,
    limit: usize,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        Places {
            taken: AtomicUsize::new(0),
            limit,
        }
    }

    /// Takes a place. False if all are taken.
    #[inline]
    pub(crate) fn reserve(&self) -> bool {
        // One step. A check before the count could let two senders past the limit; and a count that is taken back could hide
        // from the worker that there is room, which it tells the senders that wait only once.
        let take = |taken| (taken < self.limit).then(|| taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Releases places.
    #[inline]
    pub(crate) fn release(&self, places: usize) {
        let before = self.taken.fetch_sub(places, Ordering::Relaxed);
        debug_assert!(before >= places, "a place was released twice");
    }

    /// True if a place is free, and no more than half of them are taken.
    pub(crate) fn is_half_free(&self) -> bool {
        self.limit > 0 && self.taken() <= self.limit / 2
    }

    /// The places that are taken now.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
