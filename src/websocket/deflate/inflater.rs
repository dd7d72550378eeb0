//! The decompression of messages that are received.

use std::collections::VecDeque;

use flate2::{FlushDecompress, Status};

use super::pool::{self, Decompressor, Lease, SCRATCH_LENGTH};
use super::{Agreed, Deflate};
use crate::websocket::session::Inflated;

/// Inflates messages with the parameters that were agreed on for the peer's direction.
///
/// Between messages it holds only the bytes that the peer may still refer to, and those only with context takeover. A message
/// ends at the end of a block and on a byte boundary, so any decompressor that is given those bytes can continue.
#[derive(Debug)]
pub(crate) struct Inflater {
    /// The decompressor of a message whose end has not come.
    message: Option<Lease<Decompressor>>,
    /// `None` without context takeover.
    window: Option<Box<Window>>,
    max_ratio: u32,
    ratio_floor: u32,
}

/// The reasons for which a message is refused. The inflater is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError<E> {
    /// The message is not valid deflate, or ends within a block.
    Corrupt,
    /// The message inflates to more bytes than there is room for.
    TooLong,
    /// The message inflates by a larger factor than [`Deflate::max_ratio`] allows.
    Ratio,
    /// The sink failed.
    Sink(E),
}

/// Compressed bytes that are read in one step. They bound the work of a step that inflates to nothing.
const STEP_LENGTH: usize = 1024;

/// Work of a compressed byte, besides the bytes that it inflates to. Measured, it takes 5 to 12 ns in ordinary messages, and up
/// to 46 ns in blocks that are all header; a received byte takes some 0.25 ns.
const COMPRESSED_BYTE_COST: usize = 32;
/// Work of an inflated byte. Measured, it takes 0.2 to 4 ns.
const INFLATED_BYTE_COST: usize = 8;
/// Work of another sequence of blocks after a final one. Measured, it takes 60 ns, and 970 ns if it may refer to 32 KiB.
const RESTART_COST: usize = 256;
/// Bytes that a sequence of blocks may refer to, for a unit of work.
const WINDOW_BYTES_PER_COST: usize = 8;

/// The bytes that are read after a message: the marker that the peer did not send (RFC 7692, section 7.2.2), and an empty final
/// block. Zlib reports the end of a final block only, so a message that ends elsewhere is found by this block.
const TAIL: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

impl Inflater {
    pub(crate) fn new(agreed: Agreed, settings: &Deflate) -> Self {
        let window = agreed
            .theirs
            .context_takeover
            .then(|| Box::new(Window::new(agreed.theirs.window_bits)));
        Inflater {
            message: None,
            window,
            max_ratio: settings.max_ratio,
            ratio_floor: settings.ratio_floor,
        }
    }

    /// Inflates the next piece of a message, of any length, and hands the inflated bytes to `sink` in chunks of at most 16 KiB.
    /// It stops after a step that brings the work to `most`, and has then read at least one byte of a piece that has any; the
    /// next call goes on with the rest of the piece. After all of the last piece the next call begins another message.
    ///
    /// # Errors
    /// The message is corrupt, inflates to more than `room` bytes in this call, or exceeds the ratio; the chunk that does is not
    /// handed out. Or `sink` failed.
    pub(crate) fn inflate<E>(
        &mut self,
        piece: &[u8],
        is_last: bool,
        room: usize,
        most: usize,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Inflated, InflateError<E>> {
        let (mut message, work) = match self.message.take() {
            Some(message) => (message, 0),
            None => (self.begin()?, self.restart_cost()),
        };
        let mut step = Step { room, work, sink };
        let consumed = self.read(&mut message, piece, most, &mut step)?;
        if !is_last || consumed < piece.len() {
            self.message = Some(message);
            return Ok(Inflated {
                consumed,
                work: step.work,
            });
        }
        // Some peers do not send the octet that has to follow a final block, or send an empty message as no octet at all.
        if !message.is_at_end && message.compressed > 0 {
            let compressed = message.compressed;
            self.read(&mut message, &TAIL, usize::MAX, &mut step)?;
            message.compressed = compressed;
            if !message.is_at_end {
                return Err(InflateError::Corrupt);
            }
        }
        self.check_ratio(&message)?;
        Ok(Inflated {
            consumed,
            work: step.work,
        })
    }

    /// The work of a beginning with the bytes that the peer may refer to.
    fn restart_cost(&self) -> usize {
        let known = self.window.as_ref().map_or(0, |window| window.bytes.len());
        RESTART_COST + known / WINDOW_BYTES_PER_COST
    }

    /// A decompressor that knows the bytes that the peer may refer to.
    fn begin<E>(&self) -> Result<Lease<Decompressor>, InflateError<E>> {
        let mut message = pool::decompressor();
        message.refer_to(self.window.as_deref())?;
        Ok(message)
    }

    /// Inflates `input`, until the work is `most`. Returns the bytes that were read.
    fn read<E, S: FnMut(&[u8]) -> Result<(), E>>(
        &mut self,
        message: &mut Decompressor,
        input: &[u8],
        most: usize,
        step: &mut Step<'_, S>,
    ) -> Result<usize, InflateError<E>> {
        let mut scratch = pool::scratch();
        let whole = input.len();
        let mut input = input;
        let mut has_more = !input.is_empty();
        while has_more {
            // Output that is left over from the last byte comes out first.
            if step.work >= most && (1..whole).contains(&input.len()) {
                break;
            }
            if message.is_at_end {
                // Another sequence of blocks follows a final one (RFC 7692, section 7.2.3.4).
                message.stream.reset(false);
                message.refer_to(self.window.as_deref())?;
                message.is_at_end = false;
                step.work += self.restart_cost();
            }
            // A step ends at multiples of the scratch's length, so that the ratio is checked at points that depend on the
            // message alone and not on the pieces in which it arrives.
            let line = SCRATCH_LENGTH - message.inflated as usize % SCRATCH_LENGTH;
            let next = &input[..input.len().min(STEP_LENGTH)];
            let (consumed, inflated) = message.step(next, &mut scratch.0[..line])?;
            input = &input[consumed..];
            step.work += inflated * INFLATED_BYTE_COST + consumed * COMPRESSED_BYTE_COST;
            let chunk = &scratch.0[..inflated];
            step.room = step
                .room
                .checked_sub(inflated)
                .ok_or(InflateError::TooLong)?;
            if inflated == line {
                self.check_ratio(message)?;
            }
            if !chunk.is_empty() {
                if let Some(window) = &mut self.window {
                    window.push(chunk);
                }
                (step.sink)(chunk).map_err(InflateError::Sink)?;
            }
            // Output that is full may not be all of it.
            has_more = !input.is_empty() || (inflated == line && !message.is_at_end);
            if has_more && consumed == 0 && inflated == 0 && !message.is_at_end {
                // With input and room for output a valid stream makes progress.
                return Err(InflateError::Corrupt);
            }
        }
        Ok(whole - input.len())
    }

    fn check_ratio<E>(&self, message: &Decompressor) -> Result<(), InflateError<E>> {
        let allowed = message.compressed.saturating_mul(self.max_ratio.into());
        if message.inflated > self.ratio_floor.into() && message.inflated > allowed {
            return Err(InflateError::Ratio);
        }
        Ok(())
    }
}

/// The state of one call of [`Inflater::inflate`], step by step.
struct Step<'a, S> {
    /// Bytes that may still come out.
    room: usize,
    /// The work so far.
    work: usize,
    sink: &'a mut S,
}

impl Decompressor {
    /// Gives the stream, which has to be at its beginning, the bytes before it.
    fn refer_to<E>(&mut self, window: Option<&Window>) -> Result<(), InflateError<E>> {
        let Some(window) = window else {
            return Ok(());
        };
        let (older, newer) = window.bytes.as_slices();
        for part in [older, newer] {
            if !part.is_empty() {
                let known = self.stream.set_dictionary(part);
                known.map_err(|_| InflateError::Corrupt)?;
            }
        }
        Ok(())
    }

    /// Inflates until the input is used up, the output is full or a final block ends. Returns the bytes consumed and inflated.
    fn step<E>(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(usize, usize), InflateError<E>> {
        let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(input, output, FlushDecompress::Sync)
            .map_err(|_| InflateError::Corrupt)?;
        let consumed = self.stream.total_in() - before_in;
        let inflated = self.stream.total_out() - before_out;
        self.compressed += consumed;
        self.inflated += inflated;
        self.is_at_end = status == Status::StreamEnd;
        // Both are at most the lengths of slices.
        Ok((consumed as usize, inflated as usize))
    }
}

/// The last inflated bytes, as many as the peer may refer to.
#[derive(Debug)]
struct Window {
    /// At most `length`, in order.
    bytes: VecDeque<u8>,
    length: usize,
}

impl Window {
    /// The least window bits. Zlib has long used 9 when asked for 8, so 9 are kept for a peer that agreed on 8.
    const MIN_BITS: u8 = 9;

    fn new(bits: u8) -> Self {
        Window {
            bytes: VecDeque::new(),
            length: 1 << bits.max(Self::MIN_BITS),
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        let newest = &chunk[chunk.len().saturating_sub(self.length)..];
        let total = self.bytes.len() + newest.len();
        self.bytes.drain(..total.saturating_sub(self.length));
        if total > self.bytes.capacity() {
            // The capacity doubles, but never exceeds the window.
            let capacity = total.next_power_of_two().min(self.length);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend(newest);
        debug_assert!(self.bytes.len() <= self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{agreed, deflater, inflate, inflater};
    use std::convert::Infallible;

    use super::*;

    const ROOM: usize = 1 << 20;
    /// No limit on the work.
    const ALL: usize = usize::MAX;

    fn hex(digits: &str) -> Vec<u8> {
        assert!(digits.len() % 2 == 0);
        (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hexadecimal"))
            .collect()
    }

    /// Whole, cut in two at every byte, and byte by byte.
    fn assert_inflates(context: &[&str], message: &str, expected: &[u8]) {
        let message = hex(message);
        let every_byte = vec![1; message.len()];
        let in_two = (0..=message.len()).map(|cut| vec![cut]);
        for cuts in in_two.chain([vec![], every_byte, vec![0; 3]]) {
            let mut inflater = inflater(!context.is_empty());
            for before in context {
                inflate(&mut inflater, &hex(before), &[], ROOM).expect("the context is valid");
            }
            let inflated = inflate(&mut inflater, &message, &cuts, ROOM);
            assert_eq!(inflated.as_deref(), Ok(expected), "cut at {cuts:?}");
        }
    }

    /// RFC 7692, section 7.2.3.
    #[test]
    fn the_examples_of_the_rfc_inflate() {
        for message in [
            "f248cdc9c90700",             // one block
            "000500faff48656c6c6f00",     // a block without compression
            "f348cdc9c9070000",           // a final block
            "f24805000000ffffcac9c90700", // two blocks
        ] {
            assert_inflates(&[], message, b"Hello");
            assert_inflates(&[message], "f200110000", b"Hello");
            assert_inflates(&[message, "f200110000"], "f200110000", b"Hello");
        }
        assert_inflates(&[], "00", b"");
        assert_inflates(&["f248cdc9c90700", "00"], "f200110000", b"Hello");
    }

    #[test]
    fn blocks_after_a_final_block_are_inflated_too() {
        let finals = "f348cdc9c90700";
        assert_inflates(&[], &[finals, finals, "00"].concat(), b"HelloHello");
        assert_inflates(&[], &[finals, "f248cdc9c90700"].concat(), b"HelloHello");
        // With the context the second may refer to the first, within a message too.
        assert_inflates(&[finals], &[finals, "f200110000"].concat(), b"HelloHello");
    }

    #[test]
    fn an_octet_left_out_after_a_final_block_or_of_an_empty_message_is_forgiven() {
        assert_inflates(&[], "f348cdc9c90700", b"Hello");
        assert_inflates(&[], "", b"");
        assert_inflates(&["f348cdc9c90700", ""], "f200110000", b"Hello");
    }

    /// Made with CPython's `zlib.compressobj(level, DEFLATED, -15, 9, strategy)`, flushed with `Z_SYNC_FLUSH`.
    #[test]
    fn messages_of_zlib_inflate() {
        let first = br#"{"symbol":"EURUSD","bid":1.0841,"ask":1.0843,"at":1700000001}"#;
        let fixed = "aa562aaecc4dcacf51b252720d0d0a0d7651d2514aca4c51b232d433b03031d4514a2cce86728c819c1220dbdc00020c6b\
                     0100";
        let huffman_only = "aa562aaecc4dcacf51b252720d0d0a0d7651d2514aca4c51b232d433b03031d4514a2cce56b232d433b03031d65\
                            14a2c51b232343730303030303030ac0500";
        let finished = "ab562aaecc4dcacf51b252720d0d0a0d7651d2514aca4c51b232d433b03031d4514a2cce86728c819c1220dbdc00020\
                        c6b0100";
        let in_pieces = "aa562aaecc4dcacf51b252720d0d0a0d7651d25102000000ffff4aca4c51b232d433b03031d4514a2cce067100000\
                         000ffff02728c819c1220dbdc00020c01000000ffffaa0500";
        for message in [fixed, huffman_only, finished, in_pieces] {
            assert_inflates(&[], message, first);
        }

        let second = br#"{"symbol":"EURUSD","bid":1.0842,"ask":1.0844,"at":1700000002}"#;
        let after_first = "aac6abd90859b3099a66a35a0000";
        assert_inflates(&[fixed], after_first, second);
        assert_inflates(&[in_pieces], after_first, second);
        let third = br#"{"symbol":"USDJPY","bid":151.21,"ask":151.23,"at":1700000003}"#;
        let after_second = "42d20cd4e9151009d76c6aa86704b719c441b7d9b81600";
        assert_inflates(&[fixed, after_first], after_second, third);

        let dynamic = "ecc1010d000000c2a0acef5fc21e0e28000000e0dd00";
        assert_inflates(&[], dynamic, &[b'a'; 4096]);
    }

    #[test]
    fn without_context_takeover_nothing_before_can_be_referred_to() {
        let mut inflater = inflater(false);
        let hello = hex("f248cdc9c90700");
        assert!(inflate(&mut inflater, &hello, &[], ROOM).is_ok());
        let referring = inflate(&mut inflater, &hex("f200110000"), &[], ROOM);
        assert_eq!(referring, Err(InflateError::Corrupt));
    }

    #[test]
    fn a_peer_can_refer_to_its_window_and_no_further() {
        // The second message repeats the beginning of the first, at a distance of 600 bytes.
        let noise: Vec<u8> = (0..600_u32).map(|i| (i * i * 7 + i / 3) as u8).collect();
        let mut wide = deflater(9, true);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(wide.deflate(&noise, &mut first));
        assert!(wide.deflate(&noise[..80], &mut second));

        for (bits, expected) in [
            (15, Ok(noise[..80].to_vec())),
            (10, Ok(noise[..80].to_vec())),
            (9, Err(InflateError::Corrupt)),
        ] {
            let mut inflater = Inflater::new(agreed(true, bits), &Deflate::new());
            assert!(inflate(&mut inflater, &first, &[], ROOM).is_ok());
            assert_eq!(
                inflate(&mut inflater, &second, &[], ROOM),
                expected,
                "{bits} bits"
            );
        }
    }

    #[test]
    fn what_is_not_deflate_is_corrupt() {
        for message in [
            "07",                     // a block of the reserved type
            "000500faff",             // a stored block without its bytes
            "00ffff000048656c6c6f",   // a stored block with too few of them
            "000500fafe48656c6c6f00", // a stored block whose lengths disagree
            "f200110000",             // a distance to before the beginning
            "f248cdc9c9070000",       // another empty block's header without its lengths
            "f248cdc9c907000000ffff", // the marker that is not to be sent
            "f348cdc9c9070007",       // a reserved type after a final block
        ] {
            let message = hex(message);
            for cuts in [vec![], vec![1; message.len()]] {
                for context_takeover in [false, true] {
                    let result = inflate(&mut inflater(context_takeover), &message, &cuts, ROOM);
                    assert_eq!(result, Err(InflateError::Corrupt), "{message:02x?}");
                }
            }
        }
    }

    #[test]
    fn a_message_that_is_cut_short_is_corrupt() {
        let payload = br#"{"type":"message","room":"lobby","text":"hello, hello, hello"}"#;
        let mut message = Vec::new();
        assert!(deflater(6, true).deflate(payload, &mut message));
        for length in 1..message.len() {
            let result = inflate(&mut inflater(true), &message[..length], &[], ROOM);
            assert_eq!(result, Err(InflateError::Corrupt), "{length} bytes");
        }
    }

    /// A message that inflates to this many zeros, by a factor of more than 1,000.
    fn bomb(length: usize) -> Vec<u8> {
        let mut message = Vec::new();
        assert!(deflater(9, true).deflate(&vec![0; length], &mut message));
        assert!(message.len() < length / 1000 + 32);
        message
    }

    fn without_ratio(context_takeover: bool) -> Inflater {
        Inflater::new(
            agreed(context_takeover, 15),
            &Deflate::new().max_ratio(u32::MAX),
        )
    }

    #[test]
    fn a_message_may_fill_the_room_and_not_a_byte_more() {
        for length in [
            1,
            100,
            SCRATCH_LENGTH - 1,
            SCRATCH_LENGTH,
            3 * SCRATCH_LENGTH,
            500_000,
        ] {
            let bomb = bomb(length);
            for cuts in [vec![], vec![1; bomb.len()]] {
                let fits = inflate(&mut without_ratio(true), &bomb, &cuts, length);
                assert_eq!(fits, Ok(vec![0; length]));
                let longer = inflate(&mut without_ratio(true), &bomb, &cuts, length - 1);
                assert_eq!(longer, Err(InflateError::TooLong));
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_whole_or_in_pieces() {
        // Blocks that end in a marker can be put one after another.
        let mut bomb = [bomb(1 << 20), vec![0x00, 0x00, 0xff, 0xff]]
            .concat()
            .repeat(64);
        bomb.truncate(bomb.len() - 4);
        for context_takeover in [false, true] {
            for cuts in [vec![], vec![1; 5000]] {
                let mut inflater = without_ratio(context_takeover);
                // The helper asserts that no more than the room is handed out.
                let result = inflate(&mut inflater, &bomb, &cuts, ROOM);
                assert_eq!(result, Err(InflateError::TooLong));
            }
        }
    }

    #[test]
    fn a_bomb_that_refers_to_messages_before_is_stopped_too() {
        let mut deflater = deflater(9, true);
        let mut inflater = without_ratio(true);
        let mut message = Vec::new();
        for _ in 0..20 {
            message.clear();
            assert!(deflater.deflate(&[0; 40_000], &mut message));
            let inflated = inflate(&mut inflater, &message, &[], 40_000);
            assert_eq!(inflated, Ok(vec![0; 40_000]));
            let window = inflater.window.as_ref().expect("agreed on");
            assert!(window.bytes.capacity() <= 32 * 1024);
        }
        message.clear();
        assert!(deflater.deflate(&[0; 40_001], &mut message));
        let result = inflate(&mut inflater, &message, &[], 40_000);
        assert_eq!(result, Err(InflateError::TooLong));
    }

    /// The beginning of the message exceeds the ratio, the whole does not: it must be accepted in pieces, too.
    #[test]
    fn the_ratio_does_not_depend_on_how_a_message_is_cut() {
        let settings = Deflate::new().max_ratio(20).ratio_floor(8 * 1024);
        let noise: Vec<u8> = (0..8000_u32)
            .map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 19) as u8)
            .collect();
        let mut seen = [0; 2];
        for zeros in (10_000..200_000).step_by(5_000) {
            let payload = [vec![0; zeros], noise.clone()].concat();
            let mut message = Vec::new();
            assert!(deflater(9, false).deflate(&payload, &mut message));
            let whole = inflate(
                &mut Inflater::new(agreed(false, 15), &settings),
                &message,
                &[],
                ROOM,
            );
            for cuts in [vec![1; message.len()], vec![60], vec![20, 40, 10, 3000]] {
                let mut inflater = Inflater::new(agreed(false, 15), &settings);
                assert!(
                    inflate(&mut inflater, &message, &cuts, ROOM) == whole,
                    "{zeros}"
                );
            }
            seen[usize::from(whole.is_ok())] += 1;
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }

    #[test]
    fn the_ratio_counts_past_the_floor_over_the_whole_message() {
        let settings = Deflate::new().max_ratio(100).ratio_floor(100_000);
        for (length, cuts, expected) in [
            (100_000, vec![], true),
            (100_000, vec![1; 90], true),
            (120_000, vec![], false),
            (120_000, vec![1; 90], false),
        ] {
            let mut inflater = Inflater::new(agreed(false, 15), &settings);
            let result = inflate(&mut inflater, &bomb(length), &cuts, ROOM);
            match expected {
                true => assert_eq!(result, Ok(vec![0; length])),
                false => assert_eq!(result, Err(InflateError::Ratio)),
            }
        }

        // Incompressible bytes in front pay for bytes behind them that compress very well.
        let noise: Vec<u8> = (0..5000_u32)
            .map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 19) as u8)
            .collect();
        let payload = [noise, vec![0; 200_000]].concat();
        let mut message = Vec::new();
        assert!(deflater(9, false).deflate(&payload, &mut message));
        assert!(message.len() > 2100, "the noise is noise");
        for cuts in [vec![], vec![4000, 1, 500]] {
            let mut inflater = Inflater::new(agreed(false, 15), &settings);
            let result = inflate(&mut inflater, &message, &cuts, ROOM);
            assert!(result.as_ref() == Ok(&payload));
        }

        // The count begins anew with each message.
        let mut inflater = Inflater::new(agreed(true, 15), &settings);
        for _ in 0..3 {
            let result = inflate(&mut inflater, &bomb(90_000), &[5], ROOM);
            assert_eq!(result, Ok(vec![0; 90_000]));
        }
    }

    /// The floor was the default limit on messages, so that the ratio limited nothing.
    #[test]
    fn a_message_that_inflates_a_thousandfold_is_refused_by_default_past_64_kib() {
        let result = inflate(&mut inflater(false), &bomb(65_537), &[], ROOM);
        assert_eq!(result, Err(InflateError::Ratio));
        assert!(inflate(&mut inflater(false), &bomb(65_536), &[], ROOM).is_ok());
    }

    #[test]
    fn a_message_of_one_letter_is_not_refused_by_default() {
        let chat = vec![b'a'; Deflate::DEFAULT_RATIO_FLOOR as usize];
        let mut message = Vec::new();
        assert!(deflater(9, false).deflate(&chat, &mut message));
        let inflated = inflate(&mut inflater(false), &message, &[], chat.len());
        assert_eq!(inflated, Ok(chat));
    }

    #[test]
    fn a_piece_hands_out_all_that_it_gives() {
        let bomb = bomb(100_000);
        let mut all = vec![0; 100_000];
        for length in 0..=bomb.len() {
            let piece = &bomb[..length];
            let mut stream = flate2::Decompress::new(false);
            let inflates = stream.decompress(piece, &mut all, FlushDecompress::Sync);
            assert!(inflates.is_ok());

            let mut inflated = 0;
            let result = without_ratio(false).inflate(piece, false, ROOM, ALL, &mut |chunk| {
                inflated += chunk.len() as u64;
                Ok::<(), ()>(())
            });
            let consumed = result.map(|progress| progress.consumed);
            assert_eq!((consumed, inflated), (Ok(length), stream.total_out()));
        }
    }

    #[test]
    fn the_sink_stops_it_at_once() {
        let bomb = bomb(500_000);
        let mut chunks = 0;
        let result = without_ratio(false).inflate(&bomb, true, ROOM, ALL, &mut |_| {
            chunks += 1;
            if chunks == 2 { Err("enough") } else { Ok(()) }
        });
        assert_eq!(result, Err(InflateError::Sink("enough")));
        assert_eq!(chunks, 2);
    }

    #[test]
    fn a_message_in_progress_keeps_its_decompressor_and_no_other_does() {
        let mut inflater = inflater(true);
        let no_sink = &mut |_: &[u8]| Ok::<(), ()>(());
        assert!(inflater.message.is_none());
        let message = hex("f248cdc9c90700");
        let mut inflate = |inflater: &mut Inflater, piece: &[u8], is_last, most| {
            let progress = inflater.inflate(piece, is_last, ROOM, most, no_sink);
            progress.expect("it is valid").consumed
        };
        assert_eq!(inflate(&mut inflater, &message[..3], false, ALL), 3);
        assert!(inflater.message.is_some());
        assert_eq!(inflate(&mut inflater, &message[3..], true, ALL), 4);
        assert!(inflater.message.is_none());
    }

    /// Inflates a message of one piece in calls with a limit of `most` each. Returns the inflated bytes, the work of each call,
    /// and the most that one has read.
    fn inflate_by_work(
        inflater: &mut Inflater,
        message: &[u8],
        most: usize,
    ) -> (Vec<u8>, Vec<usize>) {
        let (mut inflated, mut works) = (Vec::new(), Vec::new());
        let mut rest = message;
        loop {
            let room = ROOM - inflated.len();
            let progress = inflater.inflate(rest, true, room, most, &mut |chunk| {
                inflated.extend_from_slice(chunk);
                Ok::<(), Infallible>(())
            });
            let progress = progress.expect("it is valid");
            works.push(progress.work);
            if progress.consumed == rest.len() {
                return (inflated, works);
            }
            assert!(progress.consumed > 0 && progress.work >= most);
            rest = &rest[progress.consumed..];
        }
    }

    /// The most work of one step, and of a beginning before it.
    const STEP_COST: usize = SCRATCH_LENGTH * INFLATED_BYTE_COST
        + STEP_LENGTH * COMPRESSED_BYTE_COST
        + RESTART_COST
        + (32 << 10) / WINDOW_BYTES_PER_COST;

    #[test]
    fn a_limit_on_the_work_stops_it_within_a_step_and_it_goes_on() {
        let noise: Vec<u8> = (0..60_000_u32)
            .map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 19) as u8)
            .collect();
        for payload in [vec![b'a'; 600_000], noise, b"few".to_vec(), Vec::new()] {
            let mut message = Vec::new();
            let _ = deflater(9, true).deflate(&payload, &mut message);
            for most in [0, 1, 40_000, 200_000, ALL] {
                let (inflated, works) = inflate_by_work(&mut without_ratio(true), &message, most);
                assert!(inflated == payload, "{most}");
                let largest = works.iter().max().expect("there was a call");
                let allowed = most.saturating_add(STEP_COST + TAIL.len() * COMPRESSED_BYTE_COST);
                assert!(*largest <= allowed, "{largest} of {most}");
                // What is done counts in full, however it is cut.
                assert!(works.iter().sum::<usize>() >= payload.len());
            }
        }
    }

    #[test]
    fn each_final_block_counts_and_the_more_the_longer_the_window() {
        const BLOCKS: usize = 20_000;
        let finals = [3, 0].repeat(BLOCKS);
        let mut plain = inflater(false);
        let mut referring = inflater(true);
        let mut window = Vec::new();
        assert!(
            deflater(1, true).deflate(&(0..=u8::MAX).collect::<Vec<_>>().repeat(128), &mut window)
        );
        inflate(&mut referring, &window, &[], ROOM).expect("it is valid");
        for (inflater, each) in [
            (&mut plain, RESTART_COST),
            (
                &mut referring,
                RESTART_COST + (32 << 10) / WINDOW_BYTES_PER_COST,
            ),
        ] {
            let (inflated, works) = inflate_by_work(inflater, &finals, 100_000);
            assert!(inflated.is_empty());
            assert!(works.iter().sum::<usize>() >= BLOCKS * each);
            assert!(works.iter().all(|work| *work <= 100_000 + STEP_COST));
        }
    }

    #[test]
    fn a_window_keeps_the_newest_bytes() {
        let mut window = Window::new(9);
        let mut all = Vec::new();
        for length in [1, 0, 200, 311, 1, 511, 512, 513, 30_000, 7] {
            let chunk: Vec<u8> = (0..length).map(|i| (i ^ all.len()) as u8).collect();
            window.push(&chunk);
            all.extend_from_slice(&chunk);
            let newest = &all[all.len().saturating_sub(512)..];
            assert!(window.bytes.iter().eq(newest));
            assert!(window.bytes.capacity() <= 512);
        }
    }
}
