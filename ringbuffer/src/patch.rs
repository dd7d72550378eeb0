//! Reserves space for a value that is known only later, such as a length.

use crate::{LimitExceeded, RingBuffer};

/// Bytes reserved by [`RingBuffer::reserve_patch`], to be filled in by [`RingBuffer::patch`].
///
/// The patch identifies the bytes by their position in the stream, so it stays valid while bytes are
/// appended or consumed and while the ring grows.
#[derive(Debug)]
#[must_use = "the reserved bytes stay zero until they are patched"]
pub struct Patch {
    /// Position in the stream, wrapping.
    position: usize,
    width: usize,
}

impl Patch {
    /// The number of bytes reserved.
    #[inline]
    pub fn width(&self) -> usize {
        self.width
    }
}

impl RingBuffer {
    /// Appends `width` zero bytes that [`patch`](Self::patch) replaces later: a header whose length
    /// field is known only after its body.
    ///
    /// ```
    /// use ringwheel_ringbuffer::{LimitExceeded, RingBuffer};
    ///
    /// let mut ring = RingBuffer::new();
    /// let header = ring.reserve_patch(2)?;
    /// ring.extend_from_slice(b"body")?;
    /// let length = u16::try_from(ring.len() - header.width()).unwrap();
    /// ring.patch(header, &length.to_be_bytes());
    /// assert_eq!(ring.contiguous(), b"\x00\x04body");
    /// # Ok::<(), LimitExceeded>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`] if the bytes do not fit within the ring's limit; nothing is changed then.
    pub fn reserve_patch(&mut self, width: usize) -> Result<Patch, LimitExceeded> {
        const ZEROES: [u8; 16] = [0; 16];
        self.grow_for(width)?;
        let position = self.consumed().wrapping_add(self.len());
        let mut missing = width;
        while missing > 0 {
            let count = missing.min(ZEROES.len());
            self.extend_from_slice(&ZEROES[..count])?;
            missing -= count;
        }
        Ok(Patch { position, width })
    }

    /// Replaces the bytes that `patch` reserved in this ring.
    ///
    /// # Panics
    ///
    /// If `bytes` has another width than was reserved, or if some of the reserved bytes are no
    /// longer in the ring: consumed, or truncated. (A ring that was truncated and then appended to
    /// cannot tell: the patch then replaces the new bytes.)
    pub fn patch(&mut self, patch: Patch, bytes: &[u8]) {
        assert_eq!(
            bytes.len(),
            patch.width,
            "the bytes have another width than was reserved"
        );
        // A position before the first readable byte wraps to an offset far beyond the last.
        let offset = patch.position.wrapping_sub(self.consumed());
        let held = offset <= self.len() && patch.width <= self.len() - offset;
        assert!(held, "the reserved bytes are gone");
        self.overwrite(offset, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of 8 bytes in which two reserved bytes wrap at the seam, behind "ab".
    fn straddling() -> (RingBuffer, Patch) {
        let mut ring = RingBuffer::with_capacity(8);
        ring.extend_from_slice(b"12345ab").unwrap();
        ring.consume(5);
        let patch = ring.reserve_patch(2).unwrap();
        ring.extend_from_slice(b"cd").unwrap();
        assert_eq!(ring.as_slices(), (&b"ab\0"[..], &b"\0cd"[..]));
        (ring, patch)
    }

    #[test]
    fn a_patch_across_the_seam() {
        let (mut ring, patch) = straddling();
        assert_eq!(patch.width(), 2);
        ring.patch(patch, b"XY");
        assert_eq!(ring.contiguous(), b"abXYcd");
    }

    #[test]
    fn a_patch_survives_consumption_moves_and_growth() {
        let (mut ring, patch) = straddling();
        ring.consume(2);
        ring.contiguous();
        ring.extend_from_slice(&[b'e'; 600]).unwrap();
        ring.shrink_to(0);
        ring.patch(patch, b"XY");
        assert_eq!(&ring.contiguous()[..5], b"XYcde");
    }

    #[test]
    fn wide_reservations_are_zero() {
        let mut ring = RingBuffer::with_capacity(64);
        ring.extend_from_slice(&[7; 64]).unwrap();
        ring.clear();
        let patch = ring.reserve_patch(41).unwrap();
        assert_eq!(ring.contiguous(), [0; 41]);
        ring.patch(patch, &[9; 41]);
        assert_eq!(ring.contiguous(), [9; 41]);
    }

    #[test]
    fn a_reservation_beyond_the_limit_changes_nothing() {
        let mut ring = RingBuffer::with_limit(20);
        ring.extend_from_slice(b"abc").unwrap();
        assert_eq!(ring.reserve_patch(18).unwrap_err(), LimitExceeded);
        assert_eq!(ring.contiguous(), b"abc");
    }

    #[test]
    fn the_stream_position_may_wrap() {
        let mut ring = RingBuffer::with_capacity(8);
        ring.set_consumed(usize::MAX);
        ring.extend_from_slice(b"ab").unwrap();
        let patch = ring.reserve_patch(2).unwrap();
        ring.consume(1);
        ring.patch(patch, b"XY");
        assert_eq!(ring.contiguous(), b"bXY");
    }

    #[test]
    #[should_panic(expected = "the reserved bytes are gone")]
    fn patching_partly_consumed_bytes_panics() {
        let (mut ring, patch) = straddling();
        ring.consume(3);
        ring.patch(patch, b"XY");
    }

    #[test]
    #[should_panic(expected = "the reserved bytes are gone")]
    fn patching_partly_truncated_bytes_panics() {
        let (mut ring, patch) = straddling();
        ring.truncate(3);
        ring.patch(patch, b"XY");
    }

    #[test]
    #[should_panic(expected = "the bytes have another width than was reserved")]
    fn patching_with_another_width_panics() {
        let (mut ring, patch) = straddling();
        ring.patch(patch, b"XYZ");
    }
}
