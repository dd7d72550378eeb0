//! What goes over the wire, prepared once.
//!
//! The messages of a connection are a walk along a ring of distinct, pseudo-random messages, each already in its frame.
//! Message `n` of connection `c` is element `c * STRIDE + n` of the ring. A burst is therefore one contiguous slice:
//! nothing is built or copied to send it, and verifying is one comparison of slices.

use serde::{Deserialize, Serialize};

use super::LoadError;

/// What is put in front of each payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// Nothing: the server echoes bytes.
    #[default]
    Raw,
    /// The payload's length as a big-endian `u32`.
    LengthPrefixed,
}

impl Framing {
    const fn header(self) -> usize {
        match self {
            Self::Raw => 0,
            Self::LengthPrefixed => 4,
        }
    }
}

/// Largest payload, in bytes.
pub(crate) const MAX_SIZE: usize = 16 * 1024 * 1024;
/// The ring is about this long, so that it stays in the second-level cache beside the socket buffers.
const RING_BYTES: usize = 64 * 1024;
/// Even large messages have this many distinct contents.
const MIN_MESSAGES: usize = 5;
/// Longest slice that is written or compared at once, and so the length of a buffer to read into.
pub(crate) const SLICE: usize = 256 * 1024;
/// Keeps neighbouring connections apart on the ring.
const STRIDE: usize = 7919;

/// The ring of prepared messages.
///
/// Invariants: the bytes from `period` on repeat the beginning, for `SLICE` bytes, so that a slice may start anywhere in
/// the ring; the number of messages is prime, so that no burst length makes a connection revisit a few of them.
#[derive(Debug)]
pub struct WireImage {
    bytes: Vec<u8>,
    period: usize,
    frame: usize,
}

impl WireImage {
    /// Prepares messages with payloads of `size` bytes.
    ///
    /// # Errors
    /// A size of 0 or above 16 MiB is refused.
    pub fn new(framing: Framing, size: usize) -> Result<Self, LoadError> {
        if size == 0 || size > MAX_SIZE {
            return Err(LoadError::Options(format!(
                "a message has 1 to {MAX_SIZE} bytes, not {size}"
            )));
        }
        let frame = framing.header() + size;
        let messages = next_prime((RING_BYTES / frame).max(MIN_MESSAGES));
        let period = messages * frame;
        let mut bytes = Vec::with_capacity(period + SLICE);
        let mut random = SplitMix(0x7269_6e67_7768_6565);
        for _ in 0..messages {
            if framing == Framing::LengthPrefixed {
                // `MAX_SIZE` fits in a `u32`.
                bytes.extend_from_slice(&(size as u32).to_be_bytes());
            }
            random.fill(&mut bytes, size);
        }
        for index in 0..SLICE {
            bytes.push(bytes[index]);
        }
        Ok(Self {
            bytes,
            period,
            frame,
        })
    }

    /// Bytes per message on the wire.
    #[inline]
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// Where the walk of a connection begins.
    pub fn start(&self, connection: usize) -> usize {
        (connection * STRIDE % (self.period / self.frame)) * self.frame
    }

    /// At most `length` bytes from `cursor` on, as many as lie in one slice.
    #[inline]
    pub fn slice(&self, cursor: usize, length: u64) -> &[u8] {
        debug_assert!(cursor < self.period);
        let length = length.min(SLICE as u64) as usize;
        &self.bytes[cursor..cursor + length]
    }

    /// The cursor after `length` more bytes.
    #[inline]
    pub fn advance(&self, cursor: usize, length: usize) -> usize {
        let cursor = cursor + length;
        if cursor < self.period {
            cursor
        } else {
            cursor % self.period
        }
    }
}

fn next_prime(from: usize) -> usize {
    let is_prime = |n: usize| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0);
    (from..)
        .find(|&n| is_prime(n))
        .expect("there is always a larger prime")
}

/// Steele, Lea and Flood's SplitMix64: small, seeded, good enough for payloads.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, mut count: usize) {
        while count > 0 {
            let word = self.next().to_le_bytes();
            let taken = count.min(word.len());
            bytes.extend_from_slice(&word[..taken]);
            count -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_ring_repeats_across_its_seam() {
        let image = WireImage::new(Framing::Raw, 64).unwrap();
        let before_seam = image.period - 10;
        let slice = image.slice(before_seam, 30).to_vec();
        assert_eq!(
            slice[10..],
            *image.slice(image.advance(before_seam, 10), 20)
        );
        assert_eq!(image.advance(before_seam, 10), 0);
    }

    #[test]
    fn every_message_of_the_ring_is_distinct() {
        let image = WireImage::new(Framing::Raw, 64).unwrap();
        let messages: HashSet<_> = image.bytes[..image.period].chunks(64).collect();
        assert_eq!(messages.len(), image.period / 64);
        assert!(messages.len() >= 1024);
    }

    #[test]
    fn a_framed_message_begins_with_its_length() {
        let image = WireImage::new(Framing::LengthPrefixed, 300).unwrap();
        let start = image.start(3);
        assert_eq!(image.slice(start, 4), 300_u32.to_be_bytes());
        let second = image.advance(start, image.frame());
        assert_eq!(image.slice(second, 4), 300_u32.to_be_bytes());
    }

    #[test]
    fn a_message_longer_than_a_slice_is_given_in_parts() {
        let image = WireImage::new(Framing::Raw, 1024 * 1024).unwrap();
        assert_eq!(image.slice(0, 1024 * 1024).len(), SLICE);
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        assert!(WireImage::new(Framing::Raw, 0).is_err());
        assert!(WireImage::new(Framing::Raw, MAX_SIZE + 1).is_err());
    }

    #[test]
    fn primes() {
        assert_eq!(next_prime(5), 5);
        assert_eq!(next_prime(24), 29);
        assert_eq!(next_prime(1024), 1031);
    }
}
