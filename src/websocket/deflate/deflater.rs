//! The compression of messages that are sent.

use flate2::{FlushCompress, Status};

use super::pool::{self, Compressor, Lease};
use super::{Agreed, Deflate, WINDOW_BITS};

/// Compresses messages with the parameters that were agreed on for our direction.
///
/// Between messages it holds a compressor only with context takeover, and may release that at any time: a message need not refer
/// to those before it.
#[derive(Debug)]
pub(crate) struct Deflater {
    /// The compressor that has seen the messages before. `None` without context takeover, before the first message and after a
    /// release.
    context: Option<Lease<Compressor>>,
    level: u8,
    window_bits: u8,
    context_takeover: bool,
    /// True if the context was used since the last call of `release_if_idle`.
    is_used: bool,
}

/// The bytes that a flush ends with, which are not sent (RFC 7692, section 7.2.1).
const FLUSH_MARKER: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The room in the output for the headers of blocks and the marker.
const MIN_ROOM: usize = 64;

/// The most room that is reserved at a time, since most messages become much shorter.
const MAX_ROOM: usize = 64 * 1024;

impl Deflater {
    pub(crate) fn new(agreed: Agreed, settings: &Deflate) -> Self {
        Deflater {
            context: None,
            level: settings.level,
            window_bits: agreed.ours.window_bits,
            context_takeover: agreed.ours.context_takeover,
            is_used: false,
        }
    }

    /// Appends the compressed message to `out`. If it returns false, `out` is unchanged and the message is to be sent as it is.
    ///
    /// It returns false for a message that is empty, and, without context takeover, for one that would
    /// not become shorter; and for every message if the window is too small to compress with. With context takeover a compressed message is part of the context and has to be sent compressed.
    #[must_use]
    pub(crate) fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if payload.is_empty() || !WINDOW_BITS.contains(&self.window_bits) {
            return false;
        }
        let start = out.len();
        let mut compressor = match self.context.take() {
            Some(context) => context,
            None => pool::compressor(self.level, self.window_bits),
        };
        let is_flushed = compressor.deflate(payload, out);
        let is_shorter = out.len() - start < payload.len();
        if !is_flushed || !(is_shorter || self.context_takeover) {
            out.truncate(start);
            return false;
        }
        if self.context_takeover {
            self.context = Some(compressor);
            self.is_used = true;
        }
        true
    }

    /// True if there is a compressor that [`release_if_idle`](Self::release_if_idle) may release.
    pub(crate) fn has_context(&self) -> bool {
        self.context.is_some()
    }

    /// Forgets the messages before. Call it when the peer was sent a compressed message that this compressor has not seen.
    pub(crate) fn reset_context(&mut self) {
        self.context = None;
    }

    /// Releases the compressor if no message was compressed since the last call. True if there still is one; then call this again
    /// after [`Deflate::idle_release`].
    pub(crate) fn release_if_idle(&mut self) -> bool {
        if !self.is_used {
            self.context = None;
        }
        self.is_used = false;
        self.context.is_some()
    }
}

impl Compressor {
    /// Appends `payload`, compressed. After false, neither the compressor nor the appended bytes are of any use.
    fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let mut rest = payload;
        self.is_flushed = false;
        loop {
            // Incompressible data becomes an eighth longer at worst.
            out.reserve((rest.len() + rest.len() / 8 + MIN_ROOM).min(MAX_ROOM));
            let before = self.stream.total_in();
            let status = self.stream.compress_vec(rest, out, FlushCompress::Sync);
            if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                return false;
            }
            // It is at most the length of the slice.
            let consumed = (self.stream.total_in() - before) as usize;
            rest = &rest[consumed..];
            // The flush is complete when it leaves room in the output.
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        self.is_flushed = out[start..].ends_with(&FLUSH_MARKER);
        debug_assert!(self.is_flushed, "a flush ends with its marker");
        if self.is_flushed {
            out.truncate(out.len() - FLUSH_MARKER.len());
        }
        self.is_flushed
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{deflater, inflate, inflater};
    use super::*;

    fn deflate(deflater: &mut Deflater, payload: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        deflater.deflate(payload, &mut out).then_some(out)
    }

    /// RFC 7692, sections 7.2.3.1 and 7.2.3.2.
    #[test]
    fn the_examples_of_the_rfc_come_out_byte_for_byte() {
        let mut deflater = deflater(6, true);
        let first = deflate(&mut deflater, b"Hello").expect("deflated");
        assert_eq!(first, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        let second = deflate(&mut deflater, b"Hello").expect("deflated");
        assert_eq!(second, [0xf2, 0x00, 0x11, 0x00, 0x00]);

        deflater.reset_context();
        assert_eq!(deflate(&mut deflater, b"Hello"), Some(first));
    }

    #[test]
    fn without_context_takeover_every_message_is_as_the_first() {
        let payload = b"Hello, hello, hello, hello!";
        for level in 1..=9 {
            let mut deflater = deflater(level, false);
            let first = deflate(&mut deflater, payload).expect("deflated");
            assert!(first.len() < payload.len());
            assert_eq!(deflate(&mut deflater, payload), Some(first));
            assert!(!deflater.release_if_idle(), "nothing is kept");
        }
    }

    #[test]
    fn empty_messages_are_left_as_they_are() {
        for context_takeover in [false, true] {
            assert_eq!(deflate(&mut deflater(1, context_takeover), b""), None);
        }
    }

    /// zlib-rs 0.6 resets a stream incompletely if a flush was not finished, so every flush must be.
    #[test]
    fn a_compressor_is_as_new_after_a_message_that_did_not_get_shorter() {
        for level in [1, 2, 3, 6, 9] {
            let mut deflater = deflater(level, false);
            for length in [30_000, 100_000] {
                assert_eq!(deflate(&mut deflater, &noise(length)), None);
                let payload = [noise(length), vec![b'a'; length]].concat();
                let deflated = deflate(&mut deflater, &payload).expect("deflated");
                let inflated = inflate(&mut inflater(false), &deflated, &[], 2 * length);
                assert!(inflated == Ok(payload), "level {level}, {length} bytes");
            }
        }
    }

    /// Bytes in which nothing repeats.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn noise_is_left_as_it_is_without_context_takeover_and_sent_with_it() {
        for level in 0..=9 {
            for length in [1, 100, 1000, 100_000] {
                let payload = noise(length);
                assert_eq!(deflate(&mut deflater(level, false), &payload), None);

                let deflated = deflate(&mut deflater(level, true), &payload).expect("deflated");
                assert!(deflated.len() <= length + length / 8 + 16);
                let inflated = inflate(&mut inflater(true), &deflated, &[], length);
                assert_eq!(inflated, Ok(payload));
            }
        }
    }

    #[test]
    fn a_buffer_that_is_full_grows() {
        let payload = noise(50_000);
        let mut deflater = deflater(6, true);
        let mut out = Vec::new();
        for _ in 0..3 {
            out.clear();
            out.shrink_to_fit();
            assert!(deflater.deflate(&payload, &mut out));
        }
    }

    #[test]
    fn an_idle_context_is_released_at_the_second_look() {
        let mut deflater = deflater(6, true);
        assert!(!deflater.release_if_idle(), "none before the first message");
        let first = deflate(&mut deflater, b"Hello");
        assert!(deflater.release_if_idle(), "used since the last look");
        let _ = deflate(&mut deflater, b"Hello");
        assert!(deflater.release_if_idle(), "used again");
        assert!(!deflater.release_if_idle(), "not used since");
        assert_eq!(deflate(&mut deflater, b"Hello"), first);
    }
}
