//! The ring itself: storage, growth, and both ends.

mod moves;

use std::fmt;
use std::sync::Arc;

use crate::LimitExceeded;
use crate::shelf::Shelf;

/// A growable circular byte buffer.
///
/// ```text
///              head               head + len
///               ▼                     ▼
///  ┌────────────┬─────────────────────┬──────────────┐
///  │   spare 2  │      readable       │   spare 1    │   contiguous
///  └────────────┴─────────────────────┴──────────────┘
///
///       head + len - capacity       head
///               ▼                     ▼
///  ┌────────────┬─────────────────────┬──────────────┐
///  │ readable 2 │        spare        │  readable 1  │   wrapped at the seam
///  └────────────┴─────────────────────┴──────────────┘
/// ```
///
/// Bytes enter at the back ([`extend_from_slice`](Self::extend_from_slice), or
/// [`spare`](Self::spare) and [`commit`](Self::commit)) and leave at the front
/// ([`as_slices`](Self::as_slices) or [`contiguous`](Self::contiguous), and
/// [`consume`](Self::consume)).
///
/// # Growth
///
/// A ring starts without an allocation and grows when it must, to at least twice its capacity as
/// far as the limit allows, so that an appended byte is copied a constant number of times on
/// average. It never accepts more than [`limit`](Self::limit) bytes: an append beyond that is
/// refused with [`LimitExceeded`] and changes nothing. It never shrinks by itself; see
/// [`shrink_to`](Self::shrink_to) and [`RingPool`](crate::RingPool).
///
/// # Invariants
///
/// A `debug_assert` checks them after each change:
///
/// - `len <= capacity <= MAX_LIMIT`, and every byte of the storage is initialised;
/// - `head < capacity`, or `head == 0`;
/// - an empty ring has `head == 0`, so that its spare space is one slice.
pub struct RingBuffer {
    /// Its `len()` is the ring's capacity.
    storage: Vec<u8>,
    /// Index in `storage` of the first readable byte.
    head: usize,
    /// Number of readable bytes.
    len: usize,
    /// Highest number of readable bytes.
    limit: usize,
    /// Number of bytes ever consumed, wrapping: the position in the stream of the first readable
    /// byte, by which a [`Patch`](crate::Patch) finds its bytes again.
    consumed: usize,
    /// The large storages of the pool that has lent the ring.
    shelf: Option<Arc<Shelf>>,
}

impl RingBuffer {
    /// The limit of a ring for which no other was set: 16 MiB.
    pub const DEFAULT_LIMIT: usize = 16 * 1024 * 1024;

    /// The highest limit and capacity: a quarter of the address space, so that no sum of two
    /// indices overflows. Higher limits are lowered to it.
    pub const MAX_LIMIT: usize = isize::MAX as usize / 2;

    /// The smallest capacity that growth allocates, in bytes (less if the limit is less).
    const MIN_GROWTH: usize = 512;

    /// An empty ring with the limit [`DEFAULT_LIMIT`](Self::DEFAULT_LIMIT). Allocates nothing.
    #[inline]
    pub const fn new() -> Self {
        Self {
            storage: Vec::new(),
            head: 0,
            len: 0,
            limit: Self::DEFAULT_LIMIT,
            consumed: 0,
            shelf: None,
        }
    }

    /// An empty ring that will hold at most `limit` bytes. Allocates nothing.
    #[inline]
    pub fn with_limit(limit: usize) -> Self {
        let mut ring = Self::new();
        ring.set_limit(limit);
        ring
    }

    /// An empty ring with room for `capacity` bytes. Its limit is
    /// [`DEFAULT_LIMIT`](Self::DEFAULT_LIMIT), or `capacity` if that is higher.
    ///
    /// # Panics
    ///
    /// If `capacity` exceeds [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn with_capacity(capacity: usize) -> Self {
        assert!(capacity <= Self::MAX_LIMIT, "capacity above MAX_LIMIT");
        let mut ring = Self::with_limit(capacity.max(Self::DEFAULT_LIMIT));
        ring.storage = vec![0; capacity];
        ring.debug_check();
        ring
    }

    /// The highest number of bytes that the ring may hold.
    #[inline]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Sets the highest number of bytes that the ring may hold.
    ///
    /// Bytes already held stay, even beyond a lowered limit; nothing is accepted until enough of
    /// them are consumed.
    #[inline]
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(Self::MAX_LIMIT);
    }

    /// The number of readable bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is nothing to read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of bytes that fit without growth, if the limit allows as many.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// The readable bytes, in order. The second slice is empty unless they wrap at the seam.
    #[inline]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        if end <= self.capacity() {
            (&self.storage[self.head..end], &[])
        } else {
            let (second, first) = self.storage.split_at(self.head);
            (first, &second[..end - self.capacity()])
        }
    }

    /// All readable bytes as one slice. Moves bytes only when they wrap at the seam.
    #[inline]
    pub fn contiguous(&mut self) -> &mut [u8] {
        if self.is_wrapped() {
            self.unwrap_seam();
        }
        &mut self.storage[self.head..self.head + self.len]
    }

    /// The first `count` readable bytes as one slice, or `None` while there are fewer. Moves bytes
    /// only when these `count` bytes wrap at the seam.
    #[inline]
    pub fn contiguous_prefix(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.len {
            return None;
        }
        if self.capacity() - self.head < count {
            self.unwrap_seam();
        }
        Some(&mut self.storage[self.head..][..count])
    }

    /// Drops the first `count` readable bytes. A ring that is emptied this way starts over at
    /// offset 0.
    ///
    /// # Panics
    ///
    /// If `count` exceeds [`len`](Self::len).
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "consumed more than is readable");
        self.consumed = self.consumed.wrapping_add(count);
        self.len -= count;
        self.head += count;
        if self.len == 0 {
            self.head = 0;
        } else if self.head >= self.capacity() {
            self.wrap_head();
        }
        self.debug_check();
    }

    /// Drops all readable bytes. Keeps the capacity.
    #[inline]
    pub fn clear(&mut self) {
        self.consume(self.len);
    }

    /// Keeps the first `len` readable bytes and drops all others; does nothing if there are no more
    /// than `len`.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            if len == 0 {
                self.head = 0;
            }
            self.debug_check();
        }
    }

    /// Makes room for `additional` more bytes than are readable.
    ///
    /// If they would wrap, the readable bytes move to offset 0 instead, provided that at least as
    /// many bytes were consumed before them. Then the first slice of [`spare`](Self::spare) has
    /// room for all, and no frame among them wraps at the seam. This moves at most one byte for
    /// each byte consumed.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`] if the ring's limit does not allow that many; nothing is changed then.
    #[inline]
    pub fn reserve(&mut self, additional: usize) -> Result<(), LimitExceeded> {
        if additional > self.available() {
            return Err(LimitExceeded);
        }
        if self.head + self.len + additional > self.capacity() {
            self.make_room(additional);
        }
        Ok(())
    }

    /// The writable space within capacity and limit, in order. Both slices are empty when there is
    /// none: call [`reserve`](Self::reserve) first. Their content is unspecified.
    ///
    /// Write from the start of the first slice, then call [`commit`](Self::commit) with the number
    /// of bytes written.
    #[inline]
    pub fn spare(&mut self) -> (&mut [u8], &mut [u8]) {
        let available = self.available();
        let end = self.head + self.len;
        if end < self.capacity() {
            let (before, after) = self.storage.split_at_mut(end);
            if available <= after.len() {
                (&mut after[..available], &mut [])
            } else {
                let second = self.head.min(available - after.len());
                (after, &mut before[..second])
            }
        } else {
            let free = self.spare_len();
            let tail = end - self.capacity();
            (&mut self.storage[tail..][..free], &mut [])
        }
    }

    /// Makes the first `count` bytes of [`spare`](Self::spare) readable.
    ///
    /// # Panics
    ///
    /// If `count` exceeds the spare space.
    #[inline]
    pub fn commit(&mut self, count: usize) {
        assert!(count <= self.spare_len(), "committed more than was spare");
        self.len += count;
        self.debug_check();
    }

    /// Appends all of `bytes`, growing as needed, or none of them.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`] if they do not fit within the ring's limit.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), LimitExceeded> {
        let allowed = bytes.len() <= self.available();
        // Once the readable bytes wrap, no storage is left behind them.
        let behind = self.storage.get_mut(self.head + self.len..);
        match behind.and_then(|behind| behind.get_mut(..bytes.len())) {
            Some(room) if allowed => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                self.debug_check();
                Ok(())
            }
            _ => self.extend_over_seam(bytes),
        }
    }

    /// Appends a header and its body, both or neither, with a single check for room.
    ///
    /// # Errors
    /// [`LimitExceeded`] if the ring may not hold that many more bytes; nothing is appended then.
    #[inline]
    pub fn extend_from_pair(&mut self, header: &[u8], body: &[u8]) -> Result<(), LimitExceeded> {
        // Two slices together never fill the address space, so this does not overflow.
        let total = header.len() + body.len();
        let allowed = total <= self.available();
        let behind = self.storage.get_mut(self.head + self.len..);
        match behind.and_then(|behind| behind.get_mut(..total)) {
            Some(room) if allowed => {
                let (front, back) = room.split_at_mut(header.len());
                front.copy_from_slice(header);
                back.copy_from_slice(body);
                self.len += total;
                self.debug_check();
                Ok(())
            }
            _ => self.extend_with_pair_over_seam(header, body),
        }
    }

    #[cold]
    fn extend_with_pair_over_seam(
        &mut self,
        header: &[u8],
        body: &[u8],
    ) -> Result<(), LimitExceeded> {
        self.reserve(header.len() + body.len())?;
        self.extend_from_slice(header)?;
        self.extend_from_slice(body)
    }

    /// Gives capacity back to the allocator until no more than `min_capacity` bytes are left, or as
    /// many as are readable if that is more. `shrink_to(0)` frees all unused capacity.
    ///
    /// A ring does not shrink by itself, because its next burst would have to grow it again. Call
    /// this when the burst is known to be over; a [`RingPool`](crate::RingPool) does so for a large
    /// ring that is given back.
    pub fn shrink_to(&mut self, min_capacity: usize) {
        let capacity = min_capacity.max(self.len);
        if capacity >= self.capacity() {
            return;
        }
        if self.head + self.len > capacity {
            self.contiguous();
            self.move_to_front();
        }
        self.storage.truncate(capacity);
        self.storage.shrink_to_fit();
        self.debug_check();
    }

    /// Has the ring exchange large storages with its pool.
    pub(crate) fn set_shelf(&mut self, shelf: &Arc<Shelf>) {
        if self.shelf.is_none() {
            self.shelf = Some(shelf.clone());
        }
    }

    /// Exchanges the storage of an empty ring for another.
    pub(crate) fn replace_storage(&mut self, storage: Vec<u8>) -> Vec<u8> {
        debug_assert!(self.is_empty());
        std::mem::replace(&mut self.storage, storage)
    }

    /// Overwrites the bytes that start `offset` bytes behind the first readable one, across the
    /// seam if need be.
    pub(crate) fn overwrite(&mut self, offset: usize, bytes: &[u8]) {
        debug_assert!(offset + bytes.len() <= self.capacity());
        let start = self.index(offset);
        let to_seam = bytes.len().min(self.capacity() - start);
        let (first, second) = bytes.split_at(to_seam);
        self.storage[start..start + first.len()].copy_from_slice(first);
        self.storage[..second.len()].copy_from_slice(second);
    }

    /// The `N` bytes that start `offset` bytes behind the first readable one, or `None` while there
    /// are fewer.
    #[inline]
    pub fn peek_array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if self.len.checked_sub(offset)? < N {
            return None;
        }
        let behind = self.storage.get(self.head + offset..);
        match behind.and_then(|behind| behind.first_chunk()) {
            Some(array) => Some(*array),
            None => Some(self.array_over_seam(offset)),
        }
    }

    /// Takes the first `N` readable bytes. Returns `None` and takes nothing while there are fewer.
    #[inline]
    pub fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.peek_array(0)?;
        self.consume(N);
        Some(bytes)
    }

    /// The position in the stream of the first readable byte, wrapping.
    pub(crate) fn consumed(&self) -> usize {
        self.consumed
    }

    #[cfg(test)]
    pub(crate) fn set_consumed(&mut self, consumed: usize) {
        self.consumed = consumed;
    }

    /// The number of bytes that may be added within the limit.
    #[inline]
    pub(crate) fn available(&self) -> usize {
        self.limit.saturating_sub(self.len)
    }

    /// The number of bytes that [`spare`](Self::spare) offers.
    #[inline]
    fn spare_len(&self) -> usize {
        self.available().min(self.capacity() - self.len)
    }

    #[inline]
    fn is_wrapped(&self) -> bool {
        self.head + self.len > self.capacity()
    }

    /// The index in the storage that is `offset <= capacity` bytes behind `head`.
    #[inline]
    fn index(&self, offset: usize) -> usize {
        let index = self.head + offset;
        if index >= self.capacity() {
            index - self.capacity()
        } else {
            index
        }
    }

    #[inline]
    fn debug_check(&self) {
        debug_assert!(self.len <= self.capacity());
        debug_assert!(self.capacity() <= Self::MAX_LIMIT);
        debug_assert!(self.limit <= Self::MAX_LIMIT);
        debug_assert!(self.head == 0 || self.head < self.capacity());
        debug_assert!(self.head == 0 || self.len != 0);
    }
}

impl Default for RingBuffer {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RingBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBuffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of exactly `capacity` that holds `bytes` from index `head` on.
    fn ring_at(capacity: usize, head: usize, bytes: &[u8]) -> RingBuffer {
        let mut ring = RingBuffer::with_capacity(capacity);
        ring.head = head;
        for &byte in bytes {
            ring.extend_from_slice(&[byte]).unwrap();
        }
        assert_eq!((ring.head, ring.capacity()), (head, capacity));
        ring
    }

    #[test]
    fn a_new_ring_is_small_and_allocates_nothing() {
        const RING: RingBuffer = RingBuffer::new();
        assert_eq!(RING.storage.capacity(), 0);
        assert_eq!(RING.limit(), RingBuffer::DEFAULT_LIMIT);
        assert_eq!(RingBuffer::with_limit(7).storage.capacity(), 0);
        assert!(size_of::<RingBuffer>() <= size_of::<[usize; 8]>());
    }

    #[test]
    fn every_method_works_on_a_ring_without_storage() {
        let mut ring = RingBuffer::new();
        assert_eq!(ring.as_slices(), (&[][..], &[][..]));
        assert_eq!(ring.contiguous(), []);
        assert_eq!(ring.contiguous_prefix(0), Some(&mut [][..]));
        assert_eq!(ring.contiguous_prefix(1), None);
        let (first, second) = ring.spare();
        assert_eq!((first.len(), second.len()), (0, 0));
        assert_eq!(ring.peek_array::<0>(0), Some([]));
        assert_eq!(ring.peek_array::<1>(0), None);
        ring.consume(0);
        ring.commit(0);
        ring.truncate(0);
        ring.shrink_to(0);
        ring.clear();
        ring.extend_from_slice(&[]).unwrap();
        ring.reserve(0).unwrap();
        assert_eq!(ring.capacity(), 0);
    }

    #[test]
    fn growth_doubles_and_ends_at_the_limit() {
        let mut ring = RingBuffer::with_limit(1500);
        let mut capacities = vec![];
        for _ in 0..1500 {
            ring.extend_from_slice(b"x").unwrap();
            if capacities.last() != Some(&ring.capacity()) {
                capacities.push(ring.capacity());
            }
        }
        assert_eq!(capacities, [512, 1024, 1500]);
        assert_eq!(ring.extend_from_slice(b"y"), Err(LimitExceeded));
        assert_eq!((ring.len(), ring.capacity()), (1500, 1500));
    }

    #[test]
    fn growth_serves_a_need_beyond_double() {
        let mut ring = RingBuffer::new();
        ring.reserve(5000).unwrap();
        assert_eq!(ring.capacity(), 5000);
    }

    #[test]
    fn growth_puts_wrapped_bytes_in_order() {
        let mut ring = ring_at(8, 5, b"abcdefgh");
        ring.extend_from_slice(b"i").unwrap();
        assert_eq!(ring.as_slices(), (&b"abcdefghi"[..], &[][..]));
    }

    #[test]
    fn an_append_beyond_the_limit_changes_nothing() {
        let mut ring = ring_at(8, 5, b"abcde");
        ring.set_limit(7);
        assert_eq!(ring.extend_from_slice(b"123"), Err(LimitExceeded));
        assert_eq!(ring.reserve(3), Err(LimitExceeded));
        assert_eq!(ring.reserve(usize::MAX), Err(LimitExceeded));
        assert_eq!(ring.as_slices(), (&b"abc"[..], &b"de"[..]));
        ring.extend_from_slice(b"12").unwrap();
        assert_eq!(ring.contiguous(), b"abcde12");
    }

    #[test]
    fn a_limit_lowered_below_the_length_keeps_the_bytes() {
        let mut ring = ring_at(8, 0, b"abcdef");
        ring.set_limit(4);
        assert_eq!(ring.spare().0.len(), 0);
        assert_eq!(ring.extend_from_slice(b"g"), Err(LimitExceeded));
        ring.consume(3);
        assert_eq!(ring.spare().0.len(), 1);
        ring.extend_from_slice(b"g").unwrap();
        assert_eq!(ring.contiguous(), b"defg");
    }

    #[test]
    fn limits_beyond_the_highest_are_lowered_to_it() {
        assert_eq!(
            RingBuffer::with_limit(usize::MAX).limit(),
            RingBuffer::MAX_LIMIT
        );
        let large = RingBuffer::DEFAULT_LIMIT + 1;
        assert_eq!(RingBuffer::with_capacity(large).limit(), large);
    }

    #[test]
    fn an_emptied_ring_rewinds() {
        let mut ring = ring_at(8, 5, b"abcde");
        ring.consume(4);
        assert_eq!(ring.head, 1);
        ring.consume(1);
        let (first, second) = ring.spare();
        assert_eq!((first.len(), second.len()), (8, 0));

        let mut ring = ring_at(8, 5, b"abcde");
        ring.truncate(0);
        assert_eq!(ring.head, 0);
    }

    #[test]
    fn spare_comes_in_order_around_the_readable_bytes() {
        let mut ring = ring_at(8, 3, b"ab");
        let (first, second) = ring.spare();
        first.copy_from_slice(b"cde");
        second.copy_from_slice(b"fgh");
        ring.commit(5);
        assert_eq!(ring.as_slices(), (&b"abcde"[..], &b"fg"[..]));
        let (first, second) = ring.spare();
        assert_eq!((&*first, second.len()), (&b"h"[..], 0));
    }

    #[test]
    fn spare_ends_at_the_limit() {
        let mut ring = ring_at(8, 3, b"ab");
        for (limit, lengths) in [(2, (0, 0)), (4, (2, 0)), (5, (3, 0)), (6, (3, 1))] {
            ring.set_limit(limit);
            let (first, second) = ring.spare();
            assert_eq!((first.len(), second.len()), lengths, "limit {limit}");
        }
    }

    #[test]
    fn contiguous_moves_only_wrapped_bytes_and_never_grows() {
        let text = b"abcdefghijklmnop";
        for head in 0..16 {
            for len in 0..=16 {
                let mut ring = ring_at(16, if len == 0 { 0 } else { head }, &text[..len]);
                let before = ring.head;
                let wrapped = ring.is_wrapped();
                assert_eq!(ring.contiguous(), &text[..len]);
                assert!(!ring.is_wrapped());
                assert!(wrapped || ring.head == before);
                assert_eq!(ring.capacity(), 16);
            }
        }
    }

    #[test]
    fn a_prefix_before_the_seam_moves_nothing() {
        let mut ring = ring_at(8, 5, b"abcde");
        assert_eq!(ring.contiguous_prefix(3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(ring.head, 5);
        assert_eq!(ring.contiguous_prefix(6), None);
        assert_eq!(ring.head, 5);
        assert_eq!(ring.contiguous_prefix(4).as_deref(), Some(&b"abcd"[..]));
        assert!(!ring.is_wrapped());
    }

    #[test]
    fn reserve_keeps_the_next_bytes_from_wrapping() {
        let mut ring = ring_at(8, 4, b"ab");
        ring.reserve(2).unwrap();
        assert_eq!(ring.head, 4, "there was room behind");
        ring.reserve(3).unwrap();
        assert_eq!((ring.head, ring.spare().0.len()), (0, 6));
        assert_eq!(ring.contiguous(), b"ab");
    }

    #[test]
    fn reserve_does_not_move_more_bytes_than_were_consumed() {
        let mut ring = ring_at(8, 3, b"abcd");
        ring.reserve(4).unwrap();
        assert_eq!((ring.head, ring.capacity()), (3, 8));
        let (first, second) = ring.spare();
        assert_eq!((first.len(), second.len()), (1, 3));
    }

    #[test]
    fn truncate_drops_from_the_back() {
        let mut ring = ring_at(8, 5, b"abcde");
        ring.truncate(9);
        assert_eq!(ring.len(), 5);
        ring.truncate(2);
        assert_eq!(ring.as_slices(), (&b"ab"[..], &[][..]));
    }

    #[test]
    fn shrinking_keeps_the_readable_bytes() {
        for head in 0..64 {
            let mut ring = ring_at(64, head, b"abcdefghij");
            ring.shrink_to(16);
            assert_eq!((ring.capacity(), ring.contiguous().len()), (16, 10));
            ring.shrink_to(0);
            assert_eq!(ring.capacity(), 10);
            assert_eq!(ring.contiguous(), b"abcdefghij");
        }
        let mut ring = ring_at(64, 9, b"abcdefghij");
        ring.shrink_to(65);
        assert_eq!((ring.capacity(), ring.head), (64, 9));
        ring.clear();
        ring.shrink_to(0);
        assert_eq!(ring.storage.capacity(), 0);
    }

    #[test]
    fn arrays_are_found_before_across_and_behind_the_seam() {
        let ring = ring_at(8, 5, b"abcdefg");
        assert_eq!(ring.peek_array(1), Some(*b"bc"));
        assert_eq!(ring.peek_array(2), Some(*b"cd"));
        assert_eq!(ring.peek_array(3), Some(*b"de"));
        assert_eq!(ring.peek_array(0), Some(*b"abcdefg"));
        assert_eq!(ring.peek_array(7), Some([]));
        assert_eq!(ring.peek_array::<2>(6), None);
        assert_eq!(ring.peek_array::<0>(8), None);
        assert_eq!(ring.peek_array::<1>(usize::MAX), None);
    }

    #[test]
    #[should_panic(expected = "consumed more than is readable")]
    fn consuming_too_much_panics() {
        ring_at(8, 0, b"abc").consume(4);
    }

    #[test]
    #[should_panic(expected = "committed more than was spare")]
    fn committing_too_much_panics() {
        ring_at(8, 0, b"abc").commit(6);
    }

    #[test]
    #[should_panic(expected = "capacity above MAX_LIMIT")]
    fn an_impossible_capacity_panics() {
        RingBuffer::with_capacity(usize::MAX);
    }

    #[test]
    fn debug_output_is_a_summary() {
        let ring = ring_at(8, 5, b"abc");
        let text = format!("{ring:?}");
        assert_eq!(
            text,
            "RingBuffer { len: 3, capacity: 8, limit: 16777216, .. }"
        );
    }
}
