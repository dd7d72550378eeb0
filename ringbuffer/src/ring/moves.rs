//! The slow paths of the ring: growth, moves of the readable bytes, and access across the seam.

use super::RingBuffer;
use crate::LimitExceeded;

impl RingBuffer {
    /// Brings a `head` that has advanced past the end of the storage back into it.
    // Out of line, so that the rare wrap is a branch and never a data dependency of the next read.
    #[cold]
    pub(super) fn wrap_head(&mut self) {
        self.head -= self.capacity();
    }

    /// Moves readable bytes that do not wrap to offset 0.
    pub(super) fn move_to_front(&mut self) {
        debug_assert!(!self.is_wrapped());
        self.storage.copy_within(self.head..self.head + self.len, 0);
        self.head = 0;
        self.debug_check();
    }

    /// Makes readable bytes that wrap contiguous, by the cheapest move for which there is room.
    #[cold]
    pub(super) fn unwrap_seam(&mut self) {
        debug_assert!(self.is_wrapped());
        let capacity = self.capacity();
        let first = capacity - self.head;
        let second = self.len - first;
        let gap = capacity - self.len;
        if gap >= first {
            // second|gap|first  ->  first|second|gap
            self.storage.copy_within(..second, first);
            self.storage.copy_within(self.head.., 0);
            self.head = 0;
        } else if gap >= second {
            // second|gap|first  ->  gap|first|second
            let head = self.head - second;
            self.storage.copy_within(self.head.., head);
            self.storage.copy_within(..second, capacity - second);
            self.head = head;
        } else {
            self.storage.rotate_left(self.head);
            self.head = 0;
        }
        self.debug_check();
    }

    /// The slow path of [`reserve`](Self::reserve), for more bytes than fit behind the last
    /// readable byte.
    #[cold]
    pub(super) fn make_room(&mut self, additional: usize) {
        if additional > self.capacity() - self.len {
            self.grow(self.len + additional);
        } else if self.head >= self.len && !self.is_wrapped() {
            self.move_to_front();
        }
    }

    /// Grows if need be to hold `additional` more bytes, which may wrap.
    pub(crate) fn grow_for(&mut self, additional: usize) -> Result<(), LimitExceeded> {
        if additional > self.available() {
            return Err(LimitExceeded);
        }
        if additional > self.capacity() - self.len {
            self.grow(self.len + additional);
        }
        Ok(())
    }

    /// Grows to hold `needed` bytes, at least doubling as far as the limit allows, perhaps into a
    /// large storage that the pool has kept, and moves the readable bytes to offset 0.
    pub(super) fn grow(&mut self, needed: usize) {
        debug_assert!(self.capacity() < needed && needed <= self.limit);
        let doubled = (self.capacity() * 2).max(Self::MIN_GROWTH);
        let least = needed.max(doubled.min(self.limit));
        let shelf = self.shelf.as_ref();
        let kept = shelf.and_then(|shelf| shelf.take(least, self.limit));
        // The allocator zeroes it, and for large sizes has pages that are zero already.
        let mut storage = kept.unwrap_or_else(|| vec![0; least]);
        let (first, second) = self.as_slices();
        storage[..first.len()].copy_from_slice(first);
        storage[first.len()..self.len].copy_from_slice(second);
        let outgrown = std::mem::replace(&mut self.storage, storage);
        self.head = 0;
        if let Some(shelf) = &self.shelf {
            shelf.put(outgrown);
        }
        self.debug_check();
    }

    /// The slow path of [`extend_from_slice`](Self::extend_from_slice).
    #[cold]
    pub(super) fn extend_over_seam(&mut self, bytes: &[u8]) -> Result<(), LimitExceeded> {
        self.grow_for(bytes.len())?;
        self.overwrite(self.len, bytes);
        self.len += bytes.len();
        self.debug_check();
        Ok(())
    }

    /// The slow path of [`peek_array`](Self::peek_array): `N` readable bytes that wrap at the seam
    /// or lie behind it.
    #[cold]
    pub(super) fn array_over_seam<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        let start = self.index(offset);
        let to_seam = N.min(self.capacity() - start);
        let (first, second) = array.split_at_mut(to_seam);
        first.copy_from_slice(&self.storage[start..start + to_seam]);
        second.copy_from_slice(&self.storage[..second.len()]);
        array
    }
}
