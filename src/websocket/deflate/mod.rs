//! The permessage-deflate extension of RFC 7692: its negotiation, and the two engines that carry it out.
//!
//! All of it is sans-io: [`negotiate`] reads and writes header values, [`Deflater`] and [`Inflater`] see the payloads of
//! messages, and none of them knows a frame, a socket or a clock. The engines borrow their memory from pools of the thread and
//! return it after each message, so that a connection between two messages holds none, unless context takeover was agreed on.

mod deflater;
mod inflater;
mod negotiation;
mod pool;

pub(crate) use deflater::Deflater;
pub(crate) use inflater::{InflateError, Inflater};
pub(crate) use negotiation::{Agreed, agree, negotiate, offer};
pub(crate) use pool::frame_buffer;

use std::ops::RangeInclusive;
use std::time::Duration;

/// Compression of messages: the settings of permessage-deflate (RFC 7692).
///
/// Each side decides which of its messages it compresses, and limits the memory that the other side can make it use. The
/// defaults suit a server with many connections: they are fast and take no memory per connection.
///
/// ```
/// use std::time::Duration;
/// use ringwheel::websocket::Deflate;
///
/// // For few busy connections with similar messages: each message is compressed against those before it.
/// let deflate = Deflate::new()
///     .level(3)
///     .min_size(32)
///     .server_context_takeover(true)
///     .server_max_window_bits(12)
///     .idle_release(Duration::from_secs(60));
/// ```
///
/// # Memory
/// | for each | memory | bytes |
/// | --- | --- | --- |
/// | thread | compressors, at most 4 kept | 248 KiB each for 9 window bits, 372 KiB for 15 |
/// | thread | decompressors, at most 4 kept | 47 KiB each |
/// | connection with a message half arrived | its decompressor | 47 KiB |
/// | connection that compresses with takeover | its compressor, until it [is idle](Self::idle_release) | 248 to 372 KiB |
/// | connection whose peer compresses with takeover | the bytes that the peer may still refer to, which cannot be released | the inflated messages, at most 2^window bits: 512 B to 32 KiB |
/// | any other | | none |
///
/// # Limits
/// | limit | default | past it |
/// | --- | --- | --- |
/// | [`max_size`](Self::max_size) of a message that is compressed | 256 KiB | it is sent as it is |
/// | the protocol's limit on messages, which counts inflated bytes | the protocol's | the connection ends; inflating stops within 16 KiB of it |
/// | [`max_ratio`](Self::max_ratio) of a message past [`ratio_floor`](Self::ratio_floor) | 256 past 64 KiB | the same |
/// | [`Listen::message_timeout`](crate::Listen::message_timeout) of a message that has begun, which holds what it inflated to | 30 s | the connection is cut off |
/// | [`ServerBuilder::read_budget`](crate::ServerBuilder::read_budget) of a turn, which counts 8 for each inflated byte, 32 for each compressed byte, and 256 to 4,352 for each sequence of blocks | 256 KiB | other connections have their turn, in the middle of a message, too |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// 0 to 9.
    level: u8,
    min_size: u32,
    max_size: u32,
    server_context_takeover: bool,
    client_context_takeover: bool,
    /// Both within `WINDOW_BITS`.
    server_max_window_bits: u8,
    client_max_window_bits: u8,
    /// At least 1.
    max_ratio: u32,
    ratio_floor: u32,
    idle_release: Duration,
}

/// The memory of a decompressor, measured. A connection has one while a compressed message is half arrived.
pub(crate) const DECOMPRESSOR_BYTES: usize = 47 * 1024;

/// Window bits that can be compressed with. The RFC knows 8 too, which zlib cannot do on a stream without header. A server
/// declines an offer of 8, and a client that is told 8 sends its messages as they are.
pub(super) const WINDOW_BITS: RangeInclusive<u8> = 9..=15;

/// The window bits unless fewer were agreed on.
const MAX_WINDOW_BITS: u8 = *WINDOW_BITS.end();

impl Deflate {
    /// The level unless [`level`](Self::level) says otherwise: 1.
    pub const DEFAULT_LEVEL: u8 = 1;
    /// The shortest message that is compressed, in bytes, unless [`min_size`](Self::min_size) says otherwise: 256.
    pub const DEFAULT_MIN_SIZE: u32 = 256;
    /// The longest message that is compressed, in bytes, unless [`max_size`](Self::max_size) says otherwise: 256 KiB.
    pub const DEFAULT_MAX_SIZE: u32 = 256 * 1024;
    /// Inflated bytes for each compressed byte, at most, unless [`max_ratio`](Self::max_ratio) says otherwise: 256.
    pub const DEFAULT_MAX_RATIO: u32 = 256;
    /// Inflated bytes that are allowed at any ratio, unless [`ratio_floor`](Self::ratio_floor) says otherwise: 64 KiB.
    pub const DEFAULT_RATIO_FLOOR: u32 = 64 * 1024;
    /// The time for which an unused compressor is kept, unless [`idle_release`](Self::idle_release) says otherwise: 10 seconds.
    pub const DEFAULT_IDLE_RELEASE: Duration = Duration::from_secs(10);

    /// The defaults: level 1 from 256 bytes to 256 KiB, no context takeover in either direction, windows of 32 KiB.
    pub const fn new() -> Self {
        Deflate {
            level: Self::DEFAULT_LEVEL,
            min_size: Self::DEFAULT_MIN_SIZE,
            max_size: Self::DEFAULT_MAX_SIZE,
            server_context_takeover: false,
            client_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
            max_ratio: Self::DEFAULT_MAX_RATIO,
            ratio_floor: Self::DEFAULT_RATIO_FLOOR,
            idle_release: Self::DEFAULT_IDLE_RELEASE,
        }
    }

    /// Sets the level at which messages are compressed: 0 (not at all) to 9 (most). 1 by default.
    ///
    /// Level 1 saves the most for its time. Of a message of 1 KiB of JSON that is compressed by itself it takes off 47% in 7 µs;
    /// level 3 takes off 59% in 17 µs, and level 6 60% in 18 µs. With context takeover the levels take off 63% in 4 µs, 73% in
    /// 13 µs and 77% in 30 µs.
    ///
    /// These are figures of honest messages. A peer that chooses what is sent, as where messages are echoed or passed on to a
    /// room, can make the higher levels search in vain: a byte then takes 20 ns at level 1, 110 ns at level 6 and 1,600 ns at
    /// level 9. So take a level above 5 only for messages of your own, or with a small [`max_size`](Self::max_size), which
    /// has the table of the worst cases.
    ///
    /// # Panics
    /// If `level` is above 9.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        assert!(level <= 9, "a compression level is 0 to 9");
        self.level = level;
        self
    }

    /// Sets the shortest message, in bytes, that is compressed; a shorter one is sent as it is. 256 by default.
    ///
    /// Without context takeover, JSON of 64 bytes gets longer, JSON of 128 bytes 3% shorter and JSON of 256 bytes 22% shorter, in
    /// 4 µs each. With it a message of 64 bytes may lose more than half, so that a smaller size, such as 32, is worth while.
    #[must_use]
    pub const fn min_size(mut self, bytes: u32) -> Self {
        self.min_size = bytes;
        self
    }

    /// Sets the longest message, in bytes, that is compressed; a longer one is sent as it is, which RFC 7692 leaves to the sender.
    /// 256 KiB by default; `u32::MAX` for no limit.
    ///
    /// The compression of a message is not interrupted: all other connections of the worker wait for it, and also a
    /// [publication](crate::Conn::publish) is compressed in one piece. The time depends on the data, which a peer may have chosen.
    /// The worst that was found, in milliseconds of processor time, of random bytes, few letters at random, and words of which one
    /// letter is random:
    ///
    /// | level | 16 KiB | 64 KiB | 256 KiB | 1 MiB |
    /// | --- | ---: | ---: | ---: | ---: |
    /// | 1 | 0.2 | 0.9 | 4.8 | 16 |
    /// | 2 | 0.3 | 1.5 | 6.9 | 24 |
    /// | 3 | 0.3 | 1.7 | 8.2 | 24 |
    /// | 4 | 0.4 | 1.8 | 8.0 | 27 |
    /// | 5 | 0.5 | 2.5 | 11 | 34 |
    /// | 6 | 0.7 | 6.0 | 29 | 117 |
    /// | 7 | 1.3 | 10 | 49 | 202 |
    /// | 8 | 4.8 | 32 | 160 | 659 |
    /// | 9 | 8.7 | 93 | 428 | 1,741 |
    #[must_use]
    pub const fn max_size(mut self, bytes: u32) -> Self {
        self.max_size = bytes;
        self
    }

    /// Lets the server compress a message against those before it, if the client does not forbid it. Off by default.
    ///
    /// It costs the server a compressor for each connection that is sent messages, and the client up to the server's window.
    #[must_use]
    pub const fn server_context_takeover(mut self, yes: bool) -> Self {
        self.server_context_takeover = yes;
        self
    }

    /// Lets the client compress a message against those before it. Off by default.
    ///
    /// It costs the server up to the client's window for each connection, and the client a compressor.
    #[must_use]
    pub const fn client_context_takeover(mut self, yes: bool) -> Self {
        self.client_context_takeover = yes;
        self
    }

    /// Limits the base-2 logarithm of the server's window in bytes: 9 to 15, 15 by default.
    ///
    /// # Panics
    /// If `bits` is not 9 to 15.
    #[must_use]
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        assert_window_bits(bits);
        self.server_max_window_bits = bits;
        self
    }

    /// Limits the base-2 logarithm of the client's window in bytes: 9 to 15, 15 by default.
    ///
    /// A client has to offer that its window may be limited. One that does not gets no context takeover where the limit is below
    /// 15, so that the memory is limited all the same.
    ///
    /// # Panics
    /// If `bits` is not 9 to 15.
    #[must_use]
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        assert_window_bits(bits);
        self.client_max_window_bits = bits;
        self
    }

    /// Limits the inflated bytes of a message for each of its compressed bytes, once the message is past the
    /// [floor](Self::ratio_floor). 256 by default; 1,032 and more is no limit, since deflate cannot exceed it.
    ///
    /// With it a peer pays in bandwidth for the work that it causes, where the limit on messages is large. Memory is bounded by
    /// the limit on messages, which counts inflated bytes.
    ///
    /// # Panics
    /// If `ratio` is 0.
    #[must_use]
    pub const fn max_ratio(mut self, ratio: u32) -> Self {
        assert!(ratio > 0, "a ratio of 0 would refuse every message");
        self.max_ratio = ratio;
        self
    }

    /// Sets the inflated bytes of a message that are allowed at any [ratio](Self::max_ratio). 64 KiB by default.
    ///
    /// An honest short message may compress very well, such as one letter repeated. The floor has to lie below the limit on
    /// messages, or the ratio limits nothing. Whoever receives long messages that are all but empty, such as bitmaps, sets a
    /// higher one.
    #[must_use]
    pub const fn ratio_floor(mut self, bytes: u32) -> Self {
        self.ratio_floor = bytes;
        self
    }

    /// Sets the time after which a connection that compresses no messages releases its compressor: at least `after`, and less
    /// than twice that. 10 seconds by default. Without context takeover no connection keeps one.
    ///
    /// The next message is then compressed without those before it.
    #[must_use]
    pub const fn idle_release(mut self, after: Duration) -> Self {
        self.idle_release = after;
        self
    }

    /// True if a message of this length is compressed.
    pub(crate) const fn compresses(&self, length: usize) -> bool {
        length >= self.min_size as usize && length <= self.max_size as usize
    }

    /// The time between calls of [`Deflater::release_if_idle`], and between the first message and the first call.
    pub(crate) const fn idle_release_period(&self) -> Duration {
        self.idle_release
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

const fn assert_window_bits(bits: u8) {
    assert!(
        *WINDOW_BITS.start() <= bits && bits <= *WINDOW_BITS.end(),
        "window bits are 9 to 15"
    );
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::negotiation::Direction;
    use super::*;

    pub(in super::super) fn agreed(context_takeover: bool, window_bits: u8) -> Agreed {
        let direction = Direction {
            context_takeover,
            window_bits,
        };
        Agreed {
            ours: direction,
            theirs: direction,
        }
    }

    /// An inflater with default settings and windows of 32 KiB.
    pub(super) fn inflater(context_takeover: bool) -> Inflater {
        Inflater::new(agreed(context_takeover, 15), &Deflate::new())
    }

    /// A deflater that compresses whatever it is given.
    pub(super) fn deflater(level: u8, context_takeover: bool) -> Deflater {
        Deflater::new(
            agreed(context_takeover, 15),
            &Deflate::new().level(level).min_size(0),
        )
    }

    /// Inflates a message that arrives in pieces, cut where `cuts` say (modulo what is left), in at most `room` bytes.
    pub(super) fn inflate(
        inflater: &mut Inflater,
        message: &[u8],
        cuts: &[usize],
        room: usize,
    ) -> Result<Vec<u8>, InflateError<Infallible>> {
        let mut inflated = Vec::new();
        let mut rest = message;
        for cut in cuts {
            let (piece, after) = rest.split_at(cut % (rest.len() + 1));
            inflate_piece(inflater, piece, false, room, &mut inflated)?;
            rest = after;
        }
        inflate_piece(inflater, rest, true, room, &mut inflated)?;
        Ok(inflated)
    }

    fn inflate_piece(
        inflater: &mut Inflater,
        piece: &[u8],
        is_last: bool,
        room: usize,
        inflated: &mut Vec<u8>,
    ) -> Result<(), InflateError<Infallible>> {
        let left = room - inflated.len();
        let outcome = inflater.inflate(piece, is_last, left, usize::MAX, &mut |chunk| {
            assert!(!chunk.is_empty() && chunk.len() <= pool::SCRATCH_LENGTH);
            inflated.extend_from_slice(chunk);
            assert!(inflated.len() <= room, "more was handed out than allowed");
            Ok(())
        });
        outcome.map(|progress| assert_eq!(progress.consumed, piece.len()))
    }

    #[test]
    fn connections_hold_little_and_can_change_threads() {
        fn is_send<T: Send>() {}
        is_send::<Deflater>();
        is_send::<Inflater>();
        assert!(size_of::<Agreed>() <= 8);
        assert!(size_of::<Deflater>() <= 24);
        assert!(size_of::<Inflater>() <= 32);
    }

    #[test]
    #[should_panic(expected = "window bits are 9 to 15")]
    fn eight_window_bits_cannot_be_set() {
        let _ = Deflate::new().server_max_window_bits(8);
    }

    #[test]
    #[should_panic(expected = "a compression level is 0 to 9")]
    fn level_ten_cannot_be_set() {
        let _ = Deflate::new().level(10);
    }

    /// A piece of a message: text with much repetition, or noise.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            ("[a-d]{1,12}", 1..400_usize).prop_map(|(word, times)| word.repeat(times).into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..3000),
            (any::<u8>(), 0..40_000_usize).prop_map(|(byte, times)| vec![byte; times]),
            Just(br#"{"type":"message","room":"lobby","text":"hello, world"}"#.to_vec()),
        ]
    }

    #[derive(Clone, Debug)]
    struct Message {
        payload: Vec<u8>,
        cuts: Vec<usize>,
        is_context_reset: bool,
        is_idle_before: bool,
    }

    fn message() -> impl Strategy<Value = Message> {
        (
            proptest::collection::vec(part(), 0..4),
            proptest::collection::vec(any::<usize>(), 0..6),
            proptest::bool::weighted(0.1),
            proptest::bool::weighted(0.1),
        )
            .prop_map(|(parts, cuts, is_context_reset, is_idle_before)| Message {
                payload: parts.concat(),
                cuts,
                is_context_reset,
                is_idle_before,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 256,
            // The same cases in every run.
            rng_seed: RngSeed::Fixed(0x7692),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_deflated_inflates_to_the_same(
            messages in proptest::collection::vec(message(), 1..6),
            level in 0..=9_u8,
            window_bits in WINDOW_BITS,
            context_takeover in any::<bool>(),
        ) {
            let agreed = agreed(context_takeover, window_bits);
            let settings = Deflate::new().level(level).min_size(0).max_ratio(u32::MAX);
            let mut deflater = Deflater::new(agreed, &settings);
            let mut inflater = Inflater::new(agreed, &settings);
            let mut frame = frame_buffer();
            for Message { payload, cuts, is_context_reset, is_idle_before } in messages {
                if is_context_reset {
                    deflater.reset_context();
                }
                if is_idle_before {
                    deflater.release_if_idle();
                    prop_assert!(!deflater.release_if_idle());
                }
                frame.clear();
                frame.extend_from_slice(b"before");
                if !deflater.deflate(&payload, &mut frame) {
                    prop_assert!(!context_takeover || payload.is_empty());
                    prop_assert_eq!(&frame[..], b"before");
                    continue;
                }
                let deflated = frame.strip_prefix(b"before").expect("what was there stays");
                prop_assert!(context_takeover || deflated.len() < payload.len());
                let inflated = inflate(&mut inflater, deflated, &cuts, payload.len());
                prop_assert!(inflated == Ok(payload), "not what was deflated");
            }
        }

        #[test]
        fn any_bytes_inflate_within_the_limits_or_are_refused(
            messages in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..400), proptest::collection::vec(any::<usize>(), 0..4)),
                1..6,
            ),
            room in 0..5000_usize,
            context_takeover in any::<bool>(),
        ) {
            let mut inflater = inflater(context_takeover);
            for (message, cuts) in messages {
                if inflate(&mut inflater, &message, &cuts, room).is_err() {
                    break;
                }
            }
        }

        #[test]
        fn a_message_with_changed_bytes_inflates_within_the_limits_or_is_refused(
            payload in part(),
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
            level in 1..=9_u8,
        ) {
            let mut deflated = Vec::new();
            if deflater(level, true).deflate(&payload, &mut deflated) {
                for (index, byte) in changes {
                    let index = index % deflated.len();
                    deflated[index] = byte;
                }
                let _ = inflate(&mut inflater(true), &deflated, &[], 2 * payload.len());
            }
        }
    }
}
