//! Implements the traits `Buf` and `BufMut` of the `bytes` crate for the ring.

#![allow(
    unsafe_code,
    reason = "`BufMut` is an unsafe trait; no body here does anything unsafe"
)]

use std::io::IoSlice;

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut};

use crate::RingBuffer;

/// Reads from the front.
impl Buf for RingBuffer {
    #[inline]
    fn remaining(&self) -> usize {
        self.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.as_slices().0
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let (first, second) = self.as_slices();
        let chunks = [first, second]
            .into_iter()
            .filter(|chunk| !chunk.is_empty());
        let mut count = 0;
        for (slot, chunk) in out.iter_mut().zip(chunks) {
            *slot = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.consume(count);
    }
}

/// Appends at the back, up to the ring's limit. Writing more than `remaining_mut()` panics, as the
/// trait's contract says.
// SAFETY: the trait is unsafe because callers may write through `chunk_mut` and rely on
// `remaining_mut` without a check. The chunk is a slice of initialised storage that safe code
// borrowed for them. It grows first if it is empty, so it is not empty while `remaining_mut` is not
// zero.
unsafe impl BufMut for RingBuffer {
    #[inline]
    fn remaining_mut(&self) -> usize {
        self.available()
    }

    // SAFETY: the caller promises to have written `count` bytes of the chunk. Nothing here relies
    // on that promise: all storage is initialised, and `commit` checks the count.
    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        self.commit(count);
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        let wanted = self.available().min(1);
        self.reserve(wanted)
            .expect("the wanted bytes are within the available ones");
        UninitSlice::new(self.spare().0)
    }

    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes)
            .expect("more bytes than `remaining_mut`");
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
        ring
    }

    #[test]
    fn chunks_follow_the_slices() {
        let mut ring = wrapped();
        assert_eq!((ring.remaining(), ring.chunk()), (6, &b"abc"[..]));
        let mut slots = [IoSlice::new(&[]); 3];
        assert_eq!(ring.chunks_vectored(&mut slots), 2);
        assert_eq!((&*slots[0], &*slots[1]), (&b"abc"[..], &b"def"[..]));
        assert_eq!(ring.chunks_vectored(&mut [IoSlice::new(&[])]), 1);
        assert_eq!(ring.chunks_vectored(&mut []), 0);
        ring.advance(4);
        assert_eq!(ring.chunk(), b"ef");
        ring.advance(2);
        let mut slots = [IoSlice::new(&[]); 1];
        assert_eq!(ring.chunks_vectored(&mut slots), 0);
    }

    #[test]
    fn integers_are_read_and_written_across_the_seam() {
        assert_eq!(wrapped().get_u32(), u32::from_be_bytes(*b"abcd"));
        assert_eq!(wrapped().copy_to_bytes(6), &b"abcdef"[..]);
    }

    #[test]
    fn writing_by_chunks_reaches_the_limit_and_no_further() {
        let mut ring = RingBuffer::with_limit(1000);
        BufMut::put_u8(&mut ring, b'x');
        ring.put_bytes(b'y', 900);
        ring.put(&[b'z'; 99][..]);
        assert_eq!((ring.len(), ring.remaining_mut()), (1000, 0));
        assert_eq!(ring.chunk_mut().len(), 0);
        let expected = [&b"x"[..], &[b'y'; 900], &[b'z'; 99]].concat();
        assert_eq!(ring.contiguous(), expected);
    }

    #[test]
    fn a_chunk_can_be_written_in_place() {
        let mut ring = wrapped();
        ring.chunk_mut()[..2].copy_from_slice(b"gh");
        // SAFETY: two bytes of the chunk were written.
        unsafe { ring.advance_mut(2) };
        assert_eq!(ring.chunk_mut().len(), 504, "a full ring grows");
        assert_eq!(ring.contiguous(), b"abcdefgh");
    }

    #[test]
    #[should_panic(expected = "more bytes than `remaining_mut`")]
    fn a_slice_beyond_the_limit_panics() {
        RingBuffer::with_limit(3).put_slice(b"abcd");
    }

    #[test]
    #[should_panic(expected = "committed more than was spare")]
    fn advancing_beyond_the_chunk_panics() {
        // SAFETY: the promise is broken on purpose; the ring checks it, and no unsafe code relies
        // on it.
        unsafe { wrapped().advance_mut(3) };
    }
}
