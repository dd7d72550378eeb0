//! Reads ahead in a ring without consuming.

use crate::RingBuffer;

/// A virtual read position in a [`RingBuffer`], for protocols that look ahead before they consume.
///
/// Reads advance the cursor and leave the ring alone. [`commit`](Self::commit) then consumes what
/// was read; dropping the cursor, or [`revert`](Self::revert), leaves every byte where it was.
///
/// ```
/// use ringwheel_ringbuffer::{LimitExceeded, RingBuffer};
///
/// /// Takes one frame: a length of two bytes, then as many bytes.
/// fn take_frame(ring: &mut RingBuffer) -> Option<Vec<u8>> {
///     let mut cursor = ring.cursor();
///     let length = cursor.read_u16_be()?;
///     let frame = cursor.read_slice(length.into())?.to_vec();
///     cursor.commit();
///     Some(frame)
/// }
///
/// let mut ring = RingBuffer::new();
/// ring.extend_from_slice(b"\x00\x05hel")?;
/// assert_eq!(take_frame(&mut ring), None);
/// assert_eq!(ring.len(), 5);
/// ring.extend_from_slice(b"lo")?;
/// assert_eq!(take_frame(&mut ring).as_deref(), Some(&b"hello"[..]));
/// assert!(ring.is_empty());
/// # Ok::<(), LimitExceeded>(())
/// ```
///
/// Invariant: the position never exceeds the ring's length.
#[derive(Debug)]
pub struct Cursor<'ring> {
    ring: &'ring mut RingBuffer,
    position: usize,
}

impl RingBuffer {
    /// A cursor at the first readable byte.
    #[inline]
    pub fn cursor(&mut self) -> Cursor<'_> {
        Cursor {
            ring: self,
            position: 0,
        }
    }
}

impl Cursor<'_> {
    /// The number of bytes read so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The number of bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.ring.len() - self.position
    }

    /// The bytes not yet read, in order. The second slice is empty unless they wrap at the seam.
    #[inline]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        let (first, second) = self.ring.as_slices();
        if self.position < first.len() {
            (&first[self.position..], second)
        } else {
            (&second[self.position - first.len()..], &[])
        }
    }

    /// The next `N` bytes, or `None` while there are fewer. Does not advance.
    #[inline]
    pub fn peek_array<const N: usize>(&self) -> Option<[u8; N]> {
        self.ring.peek_array(self.position)
    }

    /// The next `N` bytes, and advances past them, or `None` while there are fewer.
    #[inline]
    pub fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.peek_array()?;
        self.advance(N);
        Some(bytes)
    }

    /// The next `count` bytes as one slice, and advances past them, or `None` while there are
    /// fewer. Moves bytes within the ring only when these wrap at the seam.
    #[inline]
    pub fn read_slice(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.remaining() {
            return None;
        }
        let start = self.position;
        self.advance(count);
        self.ring
            .contiguous_prefix(self.position)
            .map(|read| &mut read[start..])
    }

    /// Advances past `count` bytes. True if there were as many; otherwise the cursor does not move.
    #[inline]
    #[must_use = "the cursor has not moved if there were too few bytes"]
    pub fn skip(&mut self, count: usize) -> bool {
        let enough = count <= self.remaining();
        if enough {
            self.advance(count);
        }
        enough
    }

    /// Consumes the bytes read so far, and returns their number.
    #[inline]
    pub fn commit(self) -> usize {
        self.ring.consume(self.position);
        self.position
    }

    /// Leaves all bytes in the ring, as dropping the cursor does.
    #[inline]
    pub fn revert(self) {}

    #[inline]
    fn advance(&mut self, count: usize) {
        self.position += count;
        debug_assert!(self.position <= self.ring.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "abcdef" in a ring of 8, wrapped behind "abc".
    fn wrapped() -> RingBuffer {
        let mut ring = RingBuffer::with_capacity(8);
        ring.extend_from_slice(b"12345abc").unwrap();
        ring.consume(5);
        ring.extend_from_slice(b"def").unwrap();
        assert_eq!(ring.as_slices(), (&b"abc"[..], &b"def"[..]));
        ring
    }

    #[test]
    fn commit_consumes_the_bytes_read() {
        let mut ring = wrapped();
        let mut cursor = ring.cursor();
        assert_eq!(cursor.read_u8(), Some(b'a'));
        assert_eq!(cursor.read_u16_be(), Some(u16::from_be_bytes(*b"bc")));
        assert_eq!(cursor.commit(), 3);
        assert_eq!(ring.contiguous(), b"def");
    }

    #[test]
    fn drop_and_revert_leave_everything() {
        let mut ring = wrapped();
        let mut cursor = ring.cursor();
        assert!(cursor.skip(6));
        assert_eq!((cursor.position(), cursor.remaining()), (6, 0));
        // The cursor is not used again, so it is dropped here.
        let mut cursor = ring.cursor();
        assert_eq!(cursor.read_array(), Some(*b"abcdef"));
        cursor.revert();
        assert_eq!(ring.as_slices(), (&b"abc"[..], &b"def"[..]));
    }

    #[test]
    fn a_failed_read_does_not_advance() {
        let mut ring = wrapped();
        let mut cursor = ring.cursor();
        assert!(cursor.skip(3));
        assert_eq!(cursor.read_u32_le(), None);
        assert_eq!(cursor.read_slice(4), None);
        assert_eq!(cursor.read_slice(usize::MAX), None);
        assert!(!cursor.skip(4));
        assert!(!cursor.skip(usize::MAX));
        assert_eq!(cursor.peek_u16_le(), Some(u16::from_le_bytes(*b"de")));
        assert_eq!(cursor.position(), 3);
    }

    #[test]
    fn slices_cover_both_sides_of_the_seam() {
        let mut ring = wrapped();
        for position in 0..=6 {
            let mut cursor = ring.cursor();
            assert!(cursor.skip(position));
            let (first, second) = cursor.as_slices();
            assert_eq!([first, second].concat(), &b"abcdef"[position..]);
            assert_eq!(first.is_empty(), position == 6);
        }
    }

    #[test]
    fn a_slice_across_the_seam_is_made_contiguous() {
        let mut ring = wrapped();
        let mut cursor = ring.cursor();
        assert!(cursor.skip(1));
        assert_eq!(cursor.read_slice(4).as_deref(), Some(&b"bcde"[..]));
        cursor.commit();
        assert_eq!(ring.contiguous(), b"f");
    }
}
