//! Messages after a length field.

use std::error::Error;
use std::fmt;

use bytes::Bytes;

use super::fixed_length::total_length;
use super::{Decode, Encode, EncodeParts, Output, Protocol, Turn, Unencodable, Unpacked};

/// Byte messages, each in a frame that says how long it is.
///
/// ```text
///  0          offset        header                                 frame end
///  ├─ leading ──┼─ length field ─┼─ what follows: length + adjustment ──┤
///  ├─ stripped, by default all of the header ─┼──────── message ────────┤
/// ```
///
/// The field is 1 to 8 bytes wide in either byte order. Most formats need no more than a constructor:
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, LengthPrefixed, Output, Protocol, Turn, Unpacked};
///
/// let (mut decoder, mut encoder) = LengthPrefixed::u16_be().open();
/// let mut output = Output::detached();
/// let mut input = *b"\x00\x05hello\x00\x03by";
/// let unpacked = decoder.unpack(&mut input, &mut Turn::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"hello"[..], consumed: 7 }));
/// let unpacked = decoder.unpack(&mut input[7..], &mut Turn::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::NeedMore { at_least: 1 }));
///
/// encoder.pack(b"world", &mut output)?;
/// assert_eq!(output.take(), b"\x00\x05world");
/// # Ok::<(), ringwheel::protocol::Unencodable>(())
/// ```
///
/// [`offset`](Self::offset), [`adjustment`](Self::adjustment) and [`strip`](Self::strip) describe the others. Here a
/// kind stands before the length, the length counts itself too, and the message is the whole frame:
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, LengthPrefixed, Output, Protocol, Turn, Unpacked};
///
/// let protocol = LengthPrefixed::u16_be().offset(1).adjustment(-2).strip(0);
/// let (mut decoder, mut encoder) = protocol.open();
/// let mut output = Output::detached();
/// let mut input = *b"K\x00\x06body";
/// let unpacked = decoder.unpack(&mut input, &mut Turn::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"K\x00\x06body"[..], consumed: 7 }));
///
/// // The length field in the item is a placeholder.
/// encoder.pack(b"L\0\0longer", &mut output)?;
/// assert_eq!(output.take(), b"L\x00\x08longer");
/// # Ok::<(), ringwheel::protocol::Unencodable>(())
/// ```
///
/// # Writing
/// An item is the message that the peer, configured alike, is to see. The frame is as many zeros as are stripped, then the
/// item, and in that the length field is set to the true value: leading bytes that are stripped go out as zeros, and a
/// length field that the item contains is overwritten. What was read with `strip(0)` goes out unchanged.
///
/// # Limits
/// [`max_length`](Self::max_length) limits the bytes that follow the length field, 1 MiB by default, in both directions. A
/// longer frame is refused as soon as its length field is there, and nothing is allocated on its word. Whatever the field
/// says, the arithmetic is checked.
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    order: ByteOrder,
    /// Bytes before the length field, at most `MAX_OFFSET`.
    offset: usize,
    /// Bytes of the length field, 1 to 8.
    width: usize,
    adjustment: i64,
    /// `None` for all up to the end of the length field; at most `MAX_STRIP`.
    strip: Option<usize>,
    /// At most `isize::MAX - MAX_OFFSET - 8`, so that the length of a frame within the limit does not overflow.
    max_length: usize,
    /// The longest body of the usual layout, which has a path of its own: a big-endian u32 and nothing else.
    usual: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum ByteOrder {
    BigEndian,
    LittleEndian,
}

impl LengthPrefixed {
    /// Bytes after the length field, at most, unless [`max_length`](Self::max_length) says otherwise: 1 MiB.
    pub const DEFAULT_MAX_LENGTH: usize = 1024 * 1024;
    /// The most bytes that may stand before the length field: 64 KiB.
    pub const MAX_OFFSET: usize = 64 * 1024;
    /// The most bytes that may be stripped: 64 KiB and the widest length field.
    pub const MAX_STRIP: usize = Self::MAX_OFFSET + 8;

    /// A length field of one byte.
    pub const fn u8() -> Self {
        Self::big_endian(1)
    }

    /// A length field of 2 bytes, the most significant first.
    pub const fn u16_be() -> Self {
        Self::big_endian(2)
    }

    /// A length field of 2 bytes, the least significant first.
    pub const fn u16_le() -> Self {
        Self::little_endian(2)
    }

    /// A length field of 4 bytes, the most significant first.
    pub const fn u32_be() -> Self {
        Self::big_endian(4)
    }

    /// A length field of 4 bytes, the least significant first.
    pub const fn u32_le() -> Self {
        Self::little_endian(4)
    }

    /// A length field of 8 bytes, the most significant first.
    pub const fn u64_be() -> Self {
        Self::big_endian(8)
    }

    /// A length field of 8 bytes, the least significant first.
    pub const fn u64_le() -> Self {
        Self::little_endian(8)
    }

    /// A length field of `width` bytes, the most significant first.
    ///
    /// # Panics
    /// If `width` is not 1 to 8.
    pub const fn big_endian(width: usize) -> Self {
        Self::new(width, ByteOrder::BigEndian)
    }

    /// A length field of `width` bytes, the least significant first.
    ///
    /// # Panics
    /// If `width` is not 1 to 8.
    pub const fn little_endian(width: usize) -> Self {
        Self::new(width, ByteOrder::LittleEndian)
    }

    const fn new(width: usize, order: ByteOrder) -> Self {
        assert!(width >= 1 && width <= 8, "a length field has 1 to 8 bytes");
        LengthPrefixed {
            order,
            offset: 0,
            width,
            adjustment: 0,
            strip: None,
            max_length: Self::DEFAULT_MAX_LENGTH,
            usual: None,
        }
        .see_if_usual()
    }

    /// Every change of the layout ends with this.
    const fn see_if_usual(self) -> Self {
        let strips_header = match self.strip {
            None => true,
            Some(bytes) => bytes == self.offset + self.width,
        };
        let is_u32_be = self.width == 4 && matches!(self.order, ByteOrder::BigEndian);
        let usual = if is_u32_be && self.offset == 0 && self.adjustment == 0 && strips_header {
            let expressible = u32::MAX as usize;
            Some(if self.max_length < expressible {
                self.max_length
            } else {
                expressible
            })
        } else {
            None
        };
        LengthPrefixed { usual, ..self }
    }

    /// Accepts at most `bytes` bytes after the length field. No limit is higher than what memory can address.
    #[must_use]
    pub const fn max_length(self, bytes: usize) -> Self {
        let addressable = isize::MAX as usize - Self::MAX_OFFSET - 8;
        let max_length = if bytes < addressable {
            bytes
        } else {
            addressable
        };
        LengthPrefixed { max_length, ..self }.see_if_usual()
    }

    /// Leaves `bytes` bytes before the length field. Default 0.
    ///
    /// # Panics
    /// If it is more than [`MAX_OFFSET`](Self::MAX_OFFSET).
    #[must_use]
    pub const fn offset(self, bytes: usize) -> Self {
        assert!(
            bytes <= Self::MAX_OFFSET,
            "the offset of a length field is at most 64 KiB"
        );
        LengthPrefixed {
            offset: bytes,
            ..self
        }
        .see_if_usual()
    }

    /// What to add to the value of the length field to get the number of bytes that follow the field. Default 0.
    ///
    /// It is negative where the length counts the field or what is before it, and positive where it leaves out a part of
    /// what follows.
    #[must_use]
    pub const fn adjustment(self, adjustment: i64) -> Self {
        LengthPrefixed { adjustment, ..self }.see_if_usual()
    }

    /// Leaves the first `bytes` bytes of a frame out of the message. Default: everything up to the end of the length
    /// field.
    ///
    /// # Panics
    /// If it is more than [`MAX_STRIP`](Self::MAX_STRIP).
    #[must_use]
    pub const fn strip(self, bytes: usize) -> Self {
        assert!(
            bytes <= Self::MAX_STRIP,
            "more is stripped than a header can have"
        );
        LengthPrefixed {
            strip: Some(bytes),
            ..self
        }
        .see_if_usual()
    }

    /// Bytes up to the end of the length field.
    #[inline]
    fn header(&self) -> usize {
        self.offset + self.width
    }

    #[inline]
    fn stripped(&self) -> usize {
        self.strip.unwrap_or(self.header())
    }

    /// Whether a frame is nothing but the length field and the message.
    #[inline]
    fn is_plain(&self) -> bool {
        self.offset == 0 && self.stripped() == self.width
    }

    /// Bits of a u64 that the length field does not have.
    #[inline]
    fn unused_bits(&self) -> usize {
        64 - 8 * self.width
    }

    /// The value of the length field in `input`, which holds at least the header.
    #[inline]
    fn read_length(&self, input: &[u8]) -> u64 {
        let field = &input[self.offset..];
        // Eight bytes are read whatever the width is, and those that follow the field are shifted out.
        let word = field.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..field.len()].copy_from_slice(field);
            word
        });
        match self.order {
            ByteOrder::BigEndian => u64::from_be_bytes(word) >> self.unused_bits(),
            ByteOrder::LittleEndian => {
                u64::from_le_bytes(word) << self.unused_bits() >> self.unused_bits()
            }
        }
    }

    /// Bytes of the whole frame whose length field says `length`.
    #[inline]
    fn frame_length(&self, length: u64) -> Result<usize, LengthPrefixedError> {
        let following = match length.checked_add_signed(self.adjustment) {
            Some(following) if following <= self.max_length as u64 => following as usize,
            following => return Err(self.refuse(length, following)),
        };
        let total = self.header() + following;
        if total < self.stripped() {
            return Err(LengthPrefixedError::ShorterThanStrip {
                length: total,
                strip: self.stripped(),
            });
        }
        Ok(total)
    }

    #[cold]
    fn refuse(&self, length: u64, following: Option<u64>) -> LengthPrefixedError {
        match following {
            None if self.adjustment < 0 => LengthPrefixedError::Negative {
                length,
                adjustment: self.adjustment,
            },
            _ => LengthPrefixedError::TooLong {
                length: following.unwrap_or(u64::MAX),
                limit: self.max_length,
            },
        }
    }

    /// What the length field is to say of the item that `parts` are together.
    fn length_to_write(&self, item: usize) -> Result<u64, Unencodable> {
        const TOO_LONG: Unencodable = Unencodable("it is longer than a frame may be");
        let total = item.checked_add(self.stripped());
        let following = total
            .ok_or(TOO_LONG)?
            .checked_sub(self.header())
            .ok_or(Unencodable(
                "it is shorter than the header it should contain",
            ))?;
        if following > self.max_length {
            return Err(TOO_LONG);
        }
        let length = if self.adjustment < 0 {
            (following as u64).checked_add(self.adjustment.unsigned_abs())
        } else {
            (following as u64).checked_sub(self.adjustment.unsigned_abs())
        };
        length
            .filter(|length| *length <= u64::MAX >> self.unused_bits())
            .ok_or(Unencodable("its length does not fit the length field"))
    }

    fn length_field(&self, length: u64) -> [u8; 8] {
        match self.order {
            ByteOrder::BigEndian => (length << self.unused_bits()).to_be_bytes(),
            ByteOrder::LittleEndian => length.to_le_bytes(),
        }
    }

    fn put_length(&self, length: u64, output: &mut Output) {
        output.put_slice(&self.length_field(length)[..self.width]);
    }

    /// Writes a frame that is not [plain](Self::is_plain).
    fn put_unusual(&self, length: u64, parts: &[&[u8]], output: &mut Output) {
        let stripped = self.stripped();
        let zeros_before = stripped.min(self.offset);
        put_zeros(zeros_before, output);
        put_front(self.offset - zeros_before, parts, output);
        self.put_length(length, output);
        put_zeros(stripped.saturating_sub(self.header()), output);
        put_rest_after(self.header().saturating_sub(stripped), parts, output);
    }
}

fn put_zeros(mut count: usize, output: &mut Output) {
    const ZEROS: [u8; 64] = [0; 64];
    while count > 0 {
        let now = count.min(ZEROS.len());
        output.put_slice(&ZEROS[..now]);
        count -= now;
    }
}

/// Writes the first `count` bytes of what `parts` are together.
fn put_front(mut count: usize, parts: &[&[u8]], output: &mut Output) {
    for part in parts {
        let now = count.min(part.len());
        output.put_slice(&part[..now]);
        count -= now;
    }
}

/// Writes what `parts` are together without its first `count` bytes.
fn put_rest_after(mut count: usize, parts: &[&[u8]], output: &mut Output) {
    for part in parts {
        let now = count.min(part.len());
        output.put_slice(&part[now..]);
        count -= now;
    }
}

impl Protocol for LengthPrefixed {
    type Decoder = LengthPrefixed;
    type Encoder = LengthPrefixed;

    fn open(&self) -> (LengthPrefixed, LengthPrefixed) {
        (*self, *self)
    }
}

impl Decode for LengthPrefixed {
    type Encoder = LengthPrefixed;
    type Message<'a> = &'a [u8];
    type Error = LengthPrefixedError;

    #[inline]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _turn: &mut Turn<'_, LengthPrefixed>,
    ) -> Result<Unpacked<&'a [u8]>, LengthPrefixedError> {
        if let (Some(limit), Some((field, rest))) = (self.usual, input.split_first_chunk()) {
            let length = u32::from_be_bytes(*field) as usize;
            if let (true, Some(message)) = (length <= limit, rest.get(..length)) {
                let consumed = field.len() + length;
                return Ok(Unpacked::Message { message, consumed });
            }
        }
        if input.len() < self.header() {
            return Ok(Unpacked::NeedMore {
                at_least: self.header() - input.len(),
            });
        }
        let consumed = self.frame_length(self.read_length(input))?;
        Ok(match input.get(self.stripped()..consumed) {
            Some(message) => Unpacked::Message { message, consumed },
            None => Unpacked::NeedMore {
                at_least: consumed - input.len(),
            },
        })
    }
}

impl Encode for LengthPrefixed {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    #[inline]
    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    #[inline]
    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), Unencodable> {
        if self.usual.is_none_or(|limit| item.len() > limit) {
            return self.pack_parts(&[item], output);
        }
        output.put_pair(&(item.len() as u32).to_be_bytes(), item);
        Ok(())
    }
}

impl EncodeParts for LengthPrefixed {
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), Unencodable> {
        let item = total_length(parts).unwrap_or(usize::MAX);
        let length = self.length_to_write(item)?;
        output.announce(item.saturating_add(self.stripped()));
        if self.is_plain() {
            self.put_length(length, output);
            for part in parts {
                output.put_slice(part);
            }
        } else {
            self.put_unusual(length, parts, output);
        }
        Ok(())
    }
}

/// Why [`LengthPrefixed`] refused its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthPrefixedError {
    /// More bytes are to follow the length field than the limit allows.
    TooLong {
        /// Bytes that are to follow: the value of the length field, adjusted, or `u64::MAX` if it is beyond that.
        length: u64,
        /// The most bytes that may follow.
        limit: usize,
    },
    /// The adjustment makes the number of bytes that are to follow the length field negative.
    Negative {
        /// The value of the length field.
        length: u64,
        /// What is added to it.
        adjustment: i64,
    },
    /// The frame is shorter than what is to be stripped from it.
    ShorterThanStrip {
        /// Bytes of the whole frame.
        length: usize,
        /// Bytes to strip.
        strip: usize,
    },
}

impl fmt::Display for LengthPrefixedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LengthPrefixedError::TooLong { length, limit } => {
                write!(
                    f,
                    "a frame announces {length} bytes, and {limit} are allowed"
                )
            }
            LengthPrefixedError::Negative { length, adjustment } => {
                write!(
                    f,
                    "a length of {length}, adjusted by {adjustment}, is negative"
                )
            }
            LengthPrefixedError::ShorterThanStrip { length, strip } => {
                write!(
                    f,
                    "a frame has {length} bytes, fewer than the {strip} to strip"
                )
            }
        }
    }
}

impl Error for LengthPrefixedError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_unpacks(
        protocol: LengthPrefixed,
        input: &[u8],
        expected: Result<Unpacked<&[u8]>, LengthPrefixedError>,
    ) {
        let mut input = input.to_vec();
        let (mut decoder, mut encoder) = protocol.open();
        assert_eq!(
            decoder.unpack(
                &mut input,
                &mut Turn::detached(&mut Output::detached(), &mut encoder)
            ),
            expected,
            "{protocol:?}"
        );
    }

    fn packed(protocol: LengthPrefixed, item: &[u8]) -> Result<Vec<u8>, Unencodable> {
        let mut output = Output::detached();
        let outcome = protocol.open().1.pack(item, &mut output);
        assert!(
            outcome.is_ok() || output.is_empty(),
            "a refused item leaves nothing behind"
        );
        outcome.map(|()| output.take())
    }

    #[test]
    fn every_width_in_both_orders() {
        for width in 1..=8 {
            let mut field = vec![0; width];
            field[width - 1] = 3;
            let frame = [&field[..], b"abc"].concat();
            let message = || {
                Ok(Unpacked::Message {
                    message: &b"abc"[..],
                    consumed: width + 3,
                })
            };
            assert_unpacks(LengthPrefixed::big_endian(width), &frame, message());
            assert_eq!(
                packed(LengthPrefixed::big_endian(width), b"abc").unwrap(),
                frame
            );

            field.reverse();
            let frame = [&field[..], b"abc"].concat();
            assert_unpacks(LengthPrefixed::little_endian(width), &frame, message());
            assert_eq!(
                packed(LengthPrefixed::little_endian(width), b"abc").unwrap(),
                frame
            );
        }
    }

    #[test]
    fn bytes_after_the_field_are_not_taken_for_a_part_of_it() {
        let message = || {
            Ok(Unpacked::Message {
                message: &b"\xFF"[..],
                consumed: 4,
            })
        };
        assert_unpacks(
            LengthPrefixed::big_endian(3),
            b"\0\0\x01\xFF\xFF\xFF\xFF\xFF\xFF",
            message(),
        );
        assert_unpacks(
            LengthPrefixed::little_endian(3),
            b"\x01\0\0\xFF\xFF\xFF\xFF\xFF\xFF",
            message(),
        );
    }

    #[test]
    fn need_more_names_exactly_what_is_missing() {
        let protocol = LengthPrefixed::u16_be().offset(1);
        let frame = b"K\0\x03abc";
        for (have, at_least) in [(1, 2), (2, 1), (3, 3), (5, 1)] {
            assert_unpacks(
                protocol,
                &frame[..have],
                Ok(Unpacked::NeedMore { at_least }),
            );
        }
        let message = Unpacked::Message {
            message: &b"abc"[..],
            consumed: 6,
        };
        assert_unpacks(protocol, frame, Ok(message));
    }

    #[test]
    fn lengths_at_the_edges_of_integers_are_too_long() {
        let limit = LengthPrefixed::DEFAULT_MAX_LENGTH;
        for length in [
            limit as u64 + 1,
            (1 << 31) - 1,
            1 << 31,
            (1 << 31) + 1,
            (1 << 32) - 1,
            1 << 32,
            (1 << 32) + 1,
            (1 << 63) - 1,
            1 << 63,
            (1 << 63) + 1,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let too_long = || Err(LengthPrefixedError::TooLong { length, limit });
            assert_unpacks(LengthPrefixed::u64_be(), &length.to_be_bytes(), too_long());
            assert_unpacks(LengthPrefixed::u64_le(), &length.to_le_bytes(), too_long());
            if let Ok(length) = u32::try_from(length) {
                assert_unpacks(LengthPrefixed::u32_be(), &length.to_be_bytes(), too_long());
                assert_unpacks(LengthPrefixed::u32_le(), &length.to_le_bytes(), too_long());
            }
        }
    }

    #[test]
    fn the_highest_limit_counts_without_overflow() {
        let limit = isize::MAX as usize - LengthPrefixed::MAX_OFFSET - 8;
        let protocol = LengthPrefixed::u64_be().max_length(usize::MAX);
        let highest = (limit as u64).to_be_bytes();
        assert_unpacks(
            protocol,
            &highest,
            Ok(Unpacked::NeedMore { at_least: limit }),
        );
        let length = limit as u64 + 1;
        let too_long = Err(LengthPrefixedError::TooLong { length, limit });
        assert_unpacks(protocol, &length.to_be_bytes(), too_long);
    }

    #[test]
    fn extreme_adjustments_are_checked() {
        use LengthPrefixedError::*;
        let limit = LengthPrefixed::DEFAULT_MAX_LENGTH;
        let half = 1 << 63;
        for (length, adjustment, error) in [
            (
                u64::MAX,
                1,
                TooLong {
                    length: u64::MAX,
                    limit,
                },
            ),
            (
                u64::MAX,
                i64::MAX,
                TooLong {
                    length: u64::MAX,
                    limit,
                },
            ),
            (
                u64::MAX,
                i64::MIN,
                TooLong {
                    length: half - 1,
                    limit,
                },
            ),
            (
                0,
                i64::MAX,
                TooLong {
                    length: half - 1,
                    limit,
                },
            ),
            (
                0,
                i64::MIN,
                Negative {
                    length: 0,
                    adjustment: i64::MIN,
                },
            ),
            (
                half - 1,
                i64::MIN,
                Negative {
                    length: half - 1,
                    adjustment: i64::MIN,
                },
            ),
            (
                3,
                -4,
                Negative {
                    length: 3,
                    adjustment: -4,
                },
            ),
        ] {
            let protocol = LengthPrefixed::u64_be().adjustment(adjustment);
            assert_unpacks(protocol, &length.to_be_bytes(), Err(error));
        }
        let protocol = LengthPrefixed::u64_be().adjustment(i64::MIN);
        let message = Unpacked::Message {
            message: &b"x"[..],
            consumed: 9,
        };
        assert_unpacks(protocol, b"\x80\0\0\0\0\0\0\x01x", Ok(message));
        assert_eq!(packed(protocol, b"x").unwrap(), b"\x80\0\0\0\0\0\0\x01x");
        assert!(packed(LengthPrefixed::u64_be().adjustment(i64::MAX), b"x").is_err());
    }

    /// The examples in the documentation of Netty's LengthFieldBasedFrameDecoder, in its order.
    #[test]
    fn netty_speaks_the_same_language() {
        let u16_be = LengthPrefixed::u16_be();
        for (protocol, frame, message) in [
            (
                u16_be.strip(0),
                &b"\x00\x0CHELLO, WORLD"[..],
                &b"\x00\x0CHELLO, WORLD"[..],
            ),
            (u16_be.strip(2), b"\x00\x0CHELLO, WORLD", b"HELLO, WORLD"),
            (
                u16_be.adjustment(-2).strip(0),
                b"\x00\x0EHELLO, WORLD",
                b"\x00\x0EHELLO, WORLD",
            ),
            (
                LengthPrefixed::big_endian(3).offset(2).strip(0),
                b"\xCA\xFE\x00\x00\x0CHELLO, WORLD",
                b"\xCA\xFE\x00\x00\x0CHELLO, WORLD",
            ),
            (
                LengthPrefixed::big_endian(3).adjustment(2).strip(0),
                b"\x00\x00\x0C\xCA\xFEHELLO, WORLD",
                b"\x00\x00\x0C\xCA\xFEHELLO, WORLD",
            ),
            (
                u16_be.offset(1).adjustment(1).strip(3),
                b"\xCA\x00\x0C\xFEHELLO, WORLD",
                b"\xFEHELLO, WORLD",
            ),
            (
                u16_be.offset(1).adjustment(-3).strip(3),
                b"\xCA\x00\x10\xFEHELLO, WORLD",
                b"\xFEHELLO, WORLD",
            ),
        ] {
            let consumed = frame.len();
            assert_unpacks(protocol, frame, Ok(Unpacked::Message { message, consumed }));
            let mut rewritten = frame.to_vec();
            if protocol.stripped() > 0 {
                rewritten[..protocol.offset].fill(0);
            }
            assert_eq!(
                packed(protocol, message).unwrap(),
                rewritten,
                "{protocol:?}"
            );
        }
    }

    #[test]
    fn stripping_beyond_the_frame_is_an_error() {
        let protocol = LengthPrefixed::u8().strip(3);
        let short = LengthPrefixedError::ShorterThanStrip {
            length: 2,
            strip: 3,
        };
        assert_unpacks(protocol, b"\x01", Err(short));
        let message = Unpacked::Message {
            message: &b""[..],
            consumed: 3,
        };
        assert_unpacks(protocol, b"\x02ab", Ok(message));
        assert_eq!(packed(protocol, b"").unwrap(), b"\x02\0\0");
    }

    #[test]
    fn an_item_is_stripped_zeros_short_of_a_frame() {
        // The cut lies before, in and after the length field.
        let protocol = LengthPrefixed::u16_be().offset(2);
        for (strip, item, frame) in [
            (0, &b"AB??cd"[..], &b"AB\x00\x02cd"[..]),
            (1, b"B??cd", b"\0B\x00\x02cd"),
            (2, b"??cd", b"\0\0\x00\x02cd"),
            (3, b"?cd", b"\0\0\x00\x02cd"),
            (4, b"cd", b"\0\0\x00\x02cd"),
            (5, b"d", b"\0\0\x00\x02\0d"),
        ] {
            let protocol = protocol.strip(strip);
            assert_eq!(packed(protocol, item).unwrap(), frame, "strip {strip}");
            let mut output = Output::detached();
            let parts: Vec<_> = item.chunks(1).collect();
            protocol.open().1.pack_parts(&parts, &mut output).unwrap();
            assert_eq!(output.take(), frame, "strip {strip}, in parts");
        }
        assert!(packed(protocol.strip(0), b"AB?").is_err());
        assert_eq!(packed(protocol.strip(100), b"x").unwrap().len(), 101);
    }

    #[test]
    fn what_neither_field_nor_limit_can_hold_is_refused() {
        assert!(packed(LengthPrefixed::u8(), &[0; 255]).is_ok());
        assert!(packed(LengthPrefixed::u8(), &[0; 256]).is_err());
        assert!(packed(LengthPrefixed::u8().adjustment(1), &[0; 256]).is_ok());
        assert!(packed(LengthPrefixed::u8().adjustment(1), &[]).is_err());
        let protocol = LengthPrefixed::u32_le().max_length(4);
        assert!(packed(protocol, b"four").is_ok());
        assert!(packed(protocol, b"fives").is_err());
        let too_long = LengthPrefixedError::TooLong {
            length: 5,
            limit: 4,
        };
        assert_unpacks(protocol, b"\x05\0\0\0fives", Err(too_long));
    }

    #[test]
    #[should_panic(expected = "1 to 8 bytes")]
    fn a_field_of_no_width_is_none() {
        LengthPrefixed::big_endian(0);
    }

    #[test]
    #[should_panic(expected = "1 to 8 bytes")]
    fn a_field_wider_than_a_u64_cannot_be_read() {
        LengthPrefixed::little_endian(9);
    }

    #[test]
    #[should_panic(expected = "at most 64 KiB")]
    fn an_offset_is_limited() {
        let _ = LengthPrefixed::u8().offset(LengthPrefixed::MAX_OFFSET + 1);
    }

    #[test]
    #[should_panic(expected = "more is stripped")]
    fn a_strip_is_limited() {
        let _ = LengthPrefixed::u8().strip(LengthPrefixed::MAX_STRIP + 1);
    }
}
