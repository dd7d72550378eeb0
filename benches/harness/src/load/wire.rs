//! The messages on the wire, prepared once.
//!
//! The messages of a connection are a walk along a ring of different pseudo-random messages, each already in its frame.
//! Message `n` of connection `c` is element `c * STRIDE + n` of the ring. A burst is therefore one contiguous slice:
//! nothing is built, masked or copied to send it, and verifying is one comparison of slices. If answers look different
//! from messages, as with WebSocket, there are two rings with the same messages, one for each direction. If servers may
//! choose the form of an answer, as when it is deflated, [`Documents`] take the place of the second ring.

use super::deflate::Documents;
use super::error::LoadError;
use super::frames::{self, BINARY, DEFLATED_TEXT};
use super::framing::{Framing, MAX_SIZE};
use super::random::SplitMix;

/// Approximate length of a ring: it stays in the second-level cache beside the socket buffers.
const RING_BYTES: usize = 64 * 1024;
/// Large messages have at least this many different contents.
const MIN_MESSAGES: usize = 5;
/// Lowest number of documents that are deflated for each ring.
const DOCUMENTS: usize = 256;
/// Longest slice that is written or compared at once, and so the length of a read buffer.
pub(crate) const SLICE: usize = 256 * 1024;
/// Keeps neighbouring connections apart on the ring.
const STRIDE: usize = 7919;
/// Every run sends the same bytes.
const SEED: u64 = 0x7269_6e67_7768_6565;

/// The prepared messages, in the form that is sent and in the form that is received.
///
/// Invariant: both rings hold the same number of messages, with the same payloads in the same order.
#[derive(Debug)]
pub struct WireImage {
    framing: Framing,
    sent: Ring,
    received: Received,
}

#[derive(Debug)]
enum Received {
    AsSent,
    Otherwise(Ring),
    Deflated(Documents),
}

/// The expected output of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    /// These bytes.
    Bytes(&'a Ring),
    /// These documents, deflated in any way.
    Documents(&'a Documents),
}

impl WireImage {
    /// Prepares messages with payloads of `size` bytes.
    ///
    /// # Errors
    /// A size of 0, of a document below 128 bytes, or above 16 MiB is refused.
    pub fn new(framing: Framing, size: usize) -> Result<Self, LoadError> {
        if size == 0 || size > MAX_SIZE {
            return Err(LoadError::Options(format!(
                "a message has 1 to {MAX_SIZE} bytes, not {size}"
            )));
        }
        let mut random = SplitMix::new(SEED);
        if framing == Framing::WebSocketDeflate {
            return Self::deflated(size, &mut random);
        }
        let frame = size + framing.overhead(size);
        let messages = next_prime((RING_BYTES / frame).max(MIN_MESSAGES));
        let mut payload = vec![0; size];
        let mut sent = Vec::with_capacity(messages * frame + SLICE);
        let mut received = Vec::new();
        for _ in 0..messages {
            random.fill(&mut payload);
            match framing {
                Framing::Raw => sent.extend_from_slice(&payload),
                Framing::LengthPrefixed => {
                    // `MAX_SIZE` fits in a `u32`.
                    sent.extend_from_slice(&(size as u32).to_be_bytes());
                    sent.extend_from_slice(&payload);
                }
                Framing::Lines => {
                    sent.extend(payload.iter().map(|&byte| printable(byte)));
                    sent.push(b'\n');
                }
                Framing::WebSocket | Framing::WebSocketDeflate => {
                    let mut mask = [0; 4];
                    random.fill(&mut mask);
                    frames::append_client_frame(&mut sent, BINARY, &payload, mask);
                    frames::append_server_frame(&mut received, BINARY, &payload);
                }
            }
        }
        Ok(Self {
            framing,
            sent: Ring::of_equals(sent, messages),
            received: match framing {
                Framing::WebSocket => Received::Otherwise(Ring::of_equals(received, messages)),
                _ => Received::AsSent,
            },
        })
    }

    fn deflated(size: usize, random: &mut SplitMix) -> Result<Self, LoadError> {
        let documents = Documents::new(next_prime(DOCUMENTS), size, random)?;
        let (mut sent, mut starts) = (Vec::new(), vec![0]);
        for payload in documents.deflated() {
            let mut mask = [0; 4];
            random.fill(&mut mask);
            frames::append_client_frame(&mut sent, DEFLATED_TEXT, &payload, mask);
            starts.push(sent.len());
        }
        Ok(Self {
            framing: Framing::WebSocketDeflate,
            sent: Ring::new(sent, starts),
            received: Received::Deflated(documents),
        })
    }

    /// The bytes around each payload.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The messages in the form that the generator sends.
    #[inline]
    pub fn sent(&self) -> &Ring {
        &self.sent
    }

    /// The messages in the form that a server must send.
    #[inline]
    pub(crate) fn expected(&self) -> Expected<'_> {
        match &self.received {
            Received::AsSent => Expected::Bytes(&self.sent),
            Received::Otherwise(ring) => Expected::Bytes(ring),
            Received::Deflated(documents) => Expected::Documents(documents),
        }
    }
}

/// One of 64 printable ASCII characters; the upper two bits are ignored.
fn printable(byte: u8) -> u8 {
    b'0' + (byte & 0x3f)
}

/// A ring of framed messages.
///
/// Invariants: the bytes from `period` on repeat the beginning, for `SLICE` bytes, so that a slice may start anywhere
/// in the ring; the number of messages is prime, so that no burst length makes a connection repeat only a few of them;
/// `starts` ascends from 0 to `period` and has one more entry than there are messages.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    period: usize,
    starts: Vec<usize>,
}

impl Ring {
    /// Makes a ring of `bytes`, which are `messages` frames of equal length.
    fn of_equals(bytes: Vec<u8>, messages: usize) -> Self {
        debug_assert_eq!(bytes.len() % messages, 0);
        let frame = bytes.len() / messages;
        let starts = (0..=messages).map(|message| message * frame).collect();
        Self::new(bytes, starts)
    }

    fn new(mut bytes: Vec<u8>, starts: Vec<usize>) -> Self {
        let period = bytes.len();
        debug_assert!(starts.is_sorted());
        debug_assert_eq!((starts[0], starts[starts.len() - 1]), (0, period));
        for index in 0..SLICE {
            bytes.push(bytes[index]);
        }
        Self {
            bytes,
            period,
            starts,
        }
    }

    /// Length of the first message on the wire; of every message, unless they are deflated.
    #[inline]
    pub fn frame(&self) -> usize {
        self.starts[1]
    }

    fn messages(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of the message with which a connection's walk begins.
    pub fn first(&self, connection: usize) -> usize {
        connection * STRIDE % self.messages()
    }

    /// Position at which a connection's walk begins.
    pub fn start(&self, connection: usize) -> usize {
        self.starts[self.first(connection)]
    }

    /// The bytes of `count` messages from number `message` on, and the number of the message after them.
    #[inline]
    pub fn span(&self, message: usize, count: usize) -> (u64, usize) {
        debug_assert!(message < self.messages());
        let end = message + count;
        let (rounds, next) = if end < self.messages() {
            (0, end)
        } else {
            (end / self.messages(), end % self.messages())
        };
        let bytes = rounds * self.period + self.starts[next] - self.starts[message];
        (bytes as u64, next)
    }

    /// At most `length` bytes from `cursor` on, as many as one slice contains.
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The frames of one period.
    fn frames(ring: &Ring) -> Vec<&[u8]> {
        let frame = |ends: &[usize]| &ring.bytes[ends[0]..ends[1]];
        ring.starts.windows(2).map(frame).collect()
    }

    /// The rings of bytes.
    fn rings(image: &WireImage) -> Vec<&Ring> {
        match image.expected() {
            Expected::Bytes(received) => vec![image.sent(), received],
            Expected::Documents(_) => vec![image.sent()],
        }
    }

    fn received(image: &WireImage) -> &Ring {
        rings(image)[1]
    }

    #[test]
    fn the_ring_repeats_across_its_seam() {
        for framing in Framing::ALL {
            let image = WireImage::new(framing, 128).unwrap();
            for ring in rings(&image) {
                let before_seam = ring.period - 10;
                let slice = ring.slice(before_seam, 30).to_vec();
                assert_eq!(slice[10..], *ring.slice(ring.advance(before_seam, 10), 20));
                assert_eq!(ring.advance(before_seam, 10), 0);
            }
        }
    }

    #[test]
    fn every_message_of_the_ring_is_distinct() {
        for framing in Framing::ALL {
            let image = WireImage::new(framing, 128).unwrap();
            for ring in rings(&image) {
                let messages = frames(ring);
                assert!(messages.len() >= 256);
                let distinct: HashSet<_> = messages.iter().collect();
                assert_eq!(distinct.len(), messages.len(), "{framing}");
            }
        }
    }

    #[test]
    fn only_websocket_answers_differ_from_the_messages_sent() {
        for framing in Framing::ALL {
            let image = WireImage::new(framing, 128).unwrap();
            let shared = rings(&image)[1..]
                .iter()
                .any(|&ring| std::ptr::eq(image.sent(), ring));
            assert_eq!(shared, !framing.is_websocket(), "{framing}");
        }
    }

    #[test]
    fn a_length_prefixed_message_begins_with_its_length() {
        let image = WireImage::new(Framing::LengthPrefixed, 300).unwrap();
        let ring = image.sent();
        let start = ring.start(3);
        assert_eq!(ring.slice(start, 4), 300_u32.to_be_bytes());
        let second = ring.advance(start, ring.frame());
        assert_eq!(ring.slice(second, 4), 300_u32.to_be_bytes());
    }

    #[test]
    fn a_line_is_text_and_has_one_line_feed_at_its_end() {
        let image = WireImage::new(Framing::Lines, 300).unwrap();
        for frame in frames(image.sent()) {
            let (&last, payload) = frame.split_last().unwrap();
            assert_eq!((payload.len(), last), (300, b'\n'));
            assert!(payload.iter().all(u8::is_ascii_graphic), "{payload:?}");
        }
    }

    #[test]
    fn websocket_rings_hold_the_same_messages_masked_and_unmasked() {
        // Both sides of each change of the length's form (RFC 6455, 5.2).
        for (size, length) in [
            (1, vec![1]),
            (125, vec![125]),
            (126, vec![126, 0, 126]),
            (65_535, vec![126, 0xff, 0xff]),
            (65_536, vec![127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let image = WireImage::new(Framing::WebSocket, size).unwrap();
            let (sent, received) = (frames(image.sent()), frames(received(&image)));
            assert_eq!(sent.len(), received.len());
            let mut masks = HashSet::new();
            for (sent, received) in sent.into_iter().zip(received) {
                let header = 1 + length.len();
                assert_eq!((received[0], &received[1..header]), (0x82, &length[..]));
                assert_eq!((sent[0], sent[1]), (0x82, 0x80 | length[0]));
                assert_eq!(sent.len(), size + Framing::WebSocket.overhead(size));
                assert_eq!(sent[2..header], length[1..]);
                let (mask, masked) = sent[header..].split_at(4);
                let unmasked: Vec<u8> = (0..size).map(|i| masked[i] ^ mask[i % 4]).collect();
                assert_eq!(unmasked, received[header..]);
                masks.insert(mask);
            }
            assert!(masks.len() > 1, "each message has its own mask");
        }
    }

    #[test]
    fn both_rings_of_a_connection_begin_with_the_same_message() {
        let image = WireImage::new(Framing::WebSocket, 20).unwrap();
        let (sent, received) = (image.sent(), received(&image));
        let message = sent.start(17) / sent.frame();
        assert_ne!(message, 0);
        assert_eq!(message, received.start(17) / received.frame());
        assert_eq!(message, sent.first(17));
    }

    #[test]
    fn a_span_of_messages_is_as_long_as_they_are() {
        for framing in Framing::ALL {
            let image = WireImage::new(framing, 1000).unwrap();
            let ring = image.sent();
            let lengths: Vec<_> = frames(ring).iter().map(|frame| frame.len()).collect();
            let mut walk = (0..ring.messages()).cycle().skip(3);
            let (mut message, mut cursor) = (3, ring.starts[3]);
            for count in [0, 1, 2, 70, 7 * ring.messages() + 1] {
                let length: usize = walk.by_ref().take(count).map(|it| lengths[it]).sum();
                let (bytes, next) = ring.span(message, count);
                assert_eq!(bytes, length as u64, "{framing}");
                cursor = (cursor + length) % ring.period;
                assert_eq!(ring.starts[next], cursor);
                message = next;
            }
        }
    }

    #[test]
    fn deflated_messages_are_masked_text_of_several_lengths() {
        let image = WireImage::new(Framing::WebSocketDeflate, 1024).unwrap();
        let lengths: HashSet<_> = frames(image.sent())
            .iter()
            .map(|frame| {
                assert_eq!(frame[..2], [0xc1, 0x80 | 126]);
                assert_eq!(
                    frame.len(),
                    8 + usize::from(frame[2]) * 256 + usize::from(frame[3])
                );
                frame.len()
            })
            .collect();
        assert!(lengths.len() > 10);
        assert!(lengths.iter().all(|&length| length < 800), "{lengths:?}");
    }

    #[test]
    fn a_message_longer_than_a_slice_is_given_in_parts() {
        let image = WireImage::new(Framing::Raw, 1024 * 1024).unwrap();
        assert_eq!(image.sent().slice(0, 1024 * 1024).len(), SLICE);
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        assert!(WireImage::new(Framing::Raw, 0).is_err());
        assert!(WireImage::new(Framing::Raw, MAX_SIZE + 1).is_err());
        assert!(WireImage::new(Framing::WebSocketDeflate, 127).is_err());
    }

    #[test]
    fn primes() {
        assert_eq!(next_prime(5), 5);
        assert_eq!(next_prime(24), 29);
        assert_eq!(next_prime(1024), 1031);
    }
}
