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
        // Count first and take it back if there was no room: a check before the count could let two senders past the limit.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        if before >= self.limit {
            self.release(1);
            return false;
        }
        true
    }

    /// Releases places.
    #[inline]
    pub(crate) fn release(&self, places: usize) {
        let before = self.taken.fetch_sub(places, Ordering::Relaxed);
        debug_assert!(before >= places, "a place was released twice");
    }

    /// True if no more than half of the places are taken.
    pub(crate) fn is_half_free(&self) -> bool {
        self.taken() <= self.limit / 2
    }

    /// The places that are taken now.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
