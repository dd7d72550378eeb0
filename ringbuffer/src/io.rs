//! Moves bytes between a ring and `std::io`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use crate::RingBuffer;

impl RingBuffer {
    /// Makes room for `at_most` bytes, as far as the limit allows, and fills it with one (vectored)
    /// read. Returns the number of bytes read; 0 means the end of `source`, unless `at_most` is 0.
    ///
    /// # Errors
    ///
    /// Any error of `source`; [`StorageFull`](io::ErrorKind::StorageFull), without a read, if the
    /// ring has reached its limit.
    ///
    /// # Panics
    ///
    /// If `source` returns a higher count than the room it was given.
    pub fn read_from(&mut self, source: &mut impl Read, at_most: usize) -> io::Result<usize> {
        if at_most == 0 {
            return Ok(0);
        }
        self.reserve(at_most.min(self.available()).max(1))?;
        let (first, second) = self.spare();
        let first_len = first.len().min(at_most);
        let second_len = second.len().min(at_most - first_len);
        let (first, second) = (&mut first[..first_len], &mut second[..second_len]);
        let count = if second.is_empty() {
            source.read(first)?
        } else {
            source.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)])?
        };
        assert!(count <= at_most, "read more than there was room for");
        self.commit(count);
        Ok(count)
    }

    /// Offers the readable bytes to `sink` in one (vectored) write, consumes those it took, and
    /// returns their number. An empty ring returns 0 without a write.
    ///
    /// # Errors
    ///
    /// Any error of `sink`; nothing is consumed then.
    ///
    /// # Panics
    ///
    /// If `sink` returns a higher count than the bytes it was given.
    pub fn write_to(&mut self, sink: &mut impl Write) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let (first, second) = self.as_slices();
        let count = if second.is_empty() {
            sink.write(first)?
        } else {
            sink.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?
        };
        self.consume(count);
        Ok(count)
    }
}

/// Takes bytes from the front; 0 means that the ring is empty.
impl Read for RingBuffer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (first, second) = self.as_slices();
        let from_first = first.len().min(out.len());
        let (out_first, out_second) = out.split_at_mut(from_first);
        let from_second = second.len().min(out_second.len());
        out_first.copy_from_slice(&first[..from_first]);
        out_second[..from_second].copy_from_slice(&second[..from_second]);
        self.consume(from_first + from_second);
        Ok(from_first + from_second)
    }
}

/// Appends at the back: all of a slice or, with [`StorageFull`](io::ErrorKind::StorageFull), none
/// of it.
impl Write for RingBuffer {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every read and write.
    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// "abcdef" in a ring of 8, wrapped behind "abc".
    fn wrapped() -> RingBuffer {
        let mut ring = RingBuffer::with_capacity(8);
        ring.extend_from_slice(b"12345abc").unwrap();
        ring.consume(5);
        ring.extend_from_slice(b"def").unwrap();
        ring
    }

    #[test]
    fn one_read_fills_both_sides_of_the_seam() {
        let mut ring = RingBuffer::with_capacity(8);
        ring.extend_from_slice(b"123abcd").unwrap();
        ring.consume(3);
        // The readable bytes are more than were consumed before them, so they do not move.
        let mut source = &b"efghijk"[..];
        assert_eq!(ring.read_from(&mut source, 3).unwrap(), 3);
        assert_eq!(ring.as_slices(), (&b"abcde"[..], &b"fg"[..]));
        assert_eq!(source, b"hijk");
    }

    #[test]
    fn a_read_ends_at_the_limit_and_fails_beyond_it() {
        let mut ring = RingBuffer::with_limit(4);
        let mut source = &b"abcdef"[..];
        assert_eq!(ring.read_from(&mut source, 100).unwrap(), 4);
        let full = ring.read_from(&mut source, 100).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(ring.read_from(&mut source, 0).unwrap(), 0);
        assert_eq!(ring.contiguous(), b"abcd");
        assert_eq!(source, b"ef");
    }

    #[test]
    fn the_end_of_the_source_is_a_count_of_zero() {
        let mut ring = wrapped();
        assert_eq!(ring.read_from(&mut io::empty(), 5).unwrap(), 0);
        assert_eq!(ring.contiguous(), b"abcdef");
    }

    #[test]
    fn errors_pass_through_and_change_nothing() {
        let mut ring = wrapped();
        let error = ring.read_from(&mut Broken, 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let error = ring.write_to(&mut Broken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(ring.contiguous(), b"abcdef");
    }

    #[test]
    fn one_write_offers_both_sides_of_the_seam() {
        let mut ring = wrapped();
        let mut sink = Vec::new();
        assert_eq!(ring.write_to(&mut sink).unwrap(), 6);
        assert_eq!(sink, b"abcdef");
        assert!(ring.is_empty());
        assert_eq!(ring.write_to(&mut Broken).unwrap(), 0);
    }

    #[test]
    fn a_partial_write_leaves_the_rest() {
        let mut ring = wrapped();
        let mut room = [0; 4];
        assert_eq!(ring.write_to(&mut &mut room[..]).unwrap(), 4);
        assert_eq!(&room, b"abcd");
        assert_eq!(ring.contiguous(), b"ef");
    }

    #[test]
    fn the_ring_is_a_reader_and_a_writer() {
        let mut ring = RingBuffer::with_limit(8);
        write!(ring, "{}-{}", 12, 34).unwrap();
        ring.flush().unwrap();
        let full = ring.write_all(b"5678").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let mut out = [0; 3];
        assert_eq!(ring.read(&mut out).unwrap(), 3);
        assert_eq!(&out, b"12-");
        assert_eq!(io::read_to_string(wrapped()).unwrap(), "abcdef");
    }
}
