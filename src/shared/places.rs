//! How many letters, or commands, wait for a loop.

use crate::shared::sync::atomic::{AtomicUsize, Ordering};

/// Places in a queue, taken before something is put into it and released after it was taken out: so no more than the
/// limit wait, and what is in the queue is always counted.
///
/// The count may be ahead of the queue for a moment, never behind.
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

    /// Takes a place, if there is one.
    #[inline]
    pub(crate) fn reserve(&self) -> bool {
        // Counted first and taken back: whoever was counted below the limit has a place, whatever others do meanwhile.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        if before >= self.limit {
            self.release(1);
            return false;
        }
        true
    }

    /// Gives places back.
    #[inline]
    pub(crate) fn release(&self, places: usize) {
        let before = self.taken.fetch_sub(places, Ordering::Relaxed);
        debug_assert!(before >= places, "a place was released twice");
    }

    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
