//! The protocol of messages after a length field.

mod error;
mod field;

pub use error::LengthPrefixedError;

use bytes::Bytes;

use field::{ByteOrder, LengthField};

use super::fixed_length::total_length;
use super::{Decode, Encode, EncodeParts, Output, PackError, Protocol, UnpackContext, Unpacked};

/// Byte messages, each in a frame that starts with its length.
///
/// ```text
///  0          offset        header                                 frame end
///  ├─ leading ──┼─ length field ─┼────── length + adjustment bytes ─────┤
///  ├─ stripped, by default all of the header ─┼──────── message ────────┤
/// ```
///
/// The field is 1 to 8 bytes wide, in either byte order. For most formats a constructor is enough:
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, LengthPrefixed, Output, Protocol, UnpackContext, Unpacked};
///
/// let (mut decoder, mut encoder) = LengthPrefixed::u16_be().open();
/// let mut output = Output::detached();
/// let mut input = *b"\x00\x05hello\x00\x03by";
/// let unpacked = decoder.unpack(&mut input, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"hello"[..], consumed: 7 }));
/// let unpacked = decoder.unpack(&mut input[7..], &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::NeedMore { at_least: 1 }));
///
/// encoder.pack(b"world", &mut output)?;
/// assert_eq!(output.take(), b"\x00\x05world");
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
///
/// [`offset`](Self::offset), [`adjustment`](Self::adjustment) and [`strip`](Self::strip) describe other formats. Here a
/// type byte stands before the length, the length counts the whole header too, and the message is the whole frame:
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, LengthPrefixed, Output, Protocol, UnpackContext, Unpacked};
///
/// let protocol = LengthPrefixed::u16_be().offset(1).adjustment(-2).strip(0);
/// let (mut decoder, mut encoder) = protocol.open();
/// let mut output = Output::detached();
/// let mut input = *b"K\x00\x06body";
/// let unpacked = decoder.unpack(&mut input, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"K\x00\x06body"[..], consumed: 7 }));
///
/// // The length field in the item is a placeholder.
/// encoder.pack(b"L\0\0longer", &mut output)?;
/// assert_eq!(output.take(), b"L\x00\x08longer");
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
///
/// # Writing
/// An item is the message that a peer with the same configuration will see. The frame consists of as many zeros as are
/// stripped, then the item; then the length field is set to its true value. So leading bytes that are stripped are sent
/// as zeros, and a length field inside the item is overwritten. A message that was read with `strip(0)` is sent
/// unchanged.
///
/// # Limits
/// [`max_length`](Self::max_length) limits the bytes that follow the length field: 1 MiB by default, in both
/// directions. A longer frame is refused as soon as its length field is there, and no memory is allocated for it. The
/// arithmetic is checked for every value of the field.
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    /// Bytes before the length field, at most `MAX_OFFSET`.
    offset: usize,
    field: LengthField,
    adjustment: i64,
    /// `None` strips everything up to the end of the length field. At most `MAX_STRIP`.
    strip: Option<usize>,
    /// At most `isize::MAX - MAX_OFFSET - 8`, so that the length of a frame within the limit does not overflow.
    max_length: usize,
    /// The longest body on the fast path, which serves one layout: a big-endian u32 and nothing else. `None` for all
    /// others.
    fast_path: Option<usize>,
}

impl LengthPrefixed {
    /// Default limit of the bytes after the length field: 1 MiB. See [`max_length`](Self::max_length).
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
        Self::new(LengthField::new(width, ByteOrder::BigEndian))
    }

    /// A length field of `width` bytes, the least significant first.
    ///
    /// # Panics
    /// If `width` is not 1 to 8.
    pub const fn little_endian(width: usize) -> Self {
        Self::new(LengthField::new(width, ByteOrder::LittleEndian))
    }

    const fn new(field: LengthField) -> Self {
        LengthPrefixed {
            offset: 0,
            field,
            adjustment: 0,
            strip: None,
            max_length: Self::DEFAULT_MAX_LENGTH,
            fast_path: None,
        }
        .choose_path()
    }

    /// Decides between the fast and the slow path. Every setter ends with this call.
    const fn choose_path(self) -> Self {
        let strips_header = match self.strip {
            None => true,
            Some(bytes) => bytes == self.header(),
        };
        let fast_path = if self.field.is_u32_be()
            && self.offset == 0
            && self.adjustment == 0
            && strips_header
        {
            let expressible = u32::MAX as usize;
            Some(if self.max_length < expressible {
                self.max_length
            } else {
                expressible
            })
        } else {
            None
        };
        LengthPrefixed { fast_path, ..self }
    }

    /// Accepts at most `bytes` bytes after the length field. A limit beyond the address space is lowered to it.
    #[must_use]
    pub const fn max_length(self, bytes: usize) -> Self {
        let addressable = isize::MAX as usize - Self::MAX_OFFSET - 8;
        let max_length = if bytes < addressable {
            bytes
        } else {
            addressable
        };
        LengthPrefixed { max_length, ..self }.choose_path()
    }

    /// Expects `bytes` bytes before the length field. Default 0.
    ///
    /// # Panics
    /// If `bytes` is more than [`MAX_OFFSET`](Self::MAX_OFFSET).
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
        .choose_path()
    }

    /// Adds `adjustment` to the value of the length field to get the number of bytes after the field. Default 0.
    ///
    /// Negative if the length also counts the field or the bytes before it; positive if the length leaves out some of
    /// the bytes that follow.
    #[must_use]
    pub const fn adjustment(self, adjustment: i64) -> Self {
        LengthPrefixed { adjustment, ..self }.choose_path()
    }

    /// Removes the first `bytes` bytes of a frame from the message. Default: everything up to the end of the length
    /// field.
    ///
    /// # Panics
    /// If `bytes` is more than [`MAX_STRIP`](Self::MAX_STRIP).
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
        .choose_path()
    }

    /// Bytes up to the end of the length field.
    #[inline]
    const fn header(&self) -> usize {
        self.offset + self.field.width()
    }

    #[inline]
    fn stripped(&self) -> usize {
        self.strip.unwrap_or(self.header())
    }

    /// True if a frame consists of only the length field and the message.
    #[inline]
    fn is_plain(&self) -> bool {
        self.offset == 0 && self.stripped() == self.field.width()
    }

    /// Length in bytes of the whole frame whose length field holds `length`.
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

    /// The value of the length field for an item of `item` bytes.
    fn length_to_write(&self, item: usize) -> Result<u64, PackError> {
        const TOO_LONG: PackError = PackError("it is longer than a frame may be");
        let total = item.checked_add(self.stripped());
        let following = total
            .ok_or(TOO_LONG)?
            .checked_sub(self.header())
            .ok_or(PackError("it is shorter than the header it should contain"))?;
        if following > self.max_length {
            return Err(TOO_LONG);
        }
        let length = if self.adjustment < 0 {
            (following as u64).checked_add(self.adjustment.unsigned_abs())
        } else {
            (following as u64).checked_sub(self.adjustment.unsigned_abs())
        };
        length
            .filter(|length| *length <= self.field.max_value())
            .ok_or(PackError("its length does not fit the length field"))
    }

    /// Writes a frame that is not [plain](Self::is_plain): the slow path.
    fn put_framed(&self, length: u64, parts: &[&[u8]], output: &mut Output) {
        let stripped = self.stripped();
        let zeros_before = stripped.min(self.offset);
        put_zeros(zeros_before, output);
        put_front(self.offset - zeros_before, parts, output);
        self.field.write(length, output);
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

/// Writes the first `count` bytes of the concatenation of `parts`.
fn put_front(mut count: usize, parts: &[&[u8]], output: &mut Output) {
    for part in parts {
        let now = count.min(part.len());
        output.put_slice(&part[..now]);
        count -= now;
    }
}

/// Writes the concatenation of `parts` without its first `count` bytes.
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
        _context: &mut UnpackContext<'_, LengthPrefixed>,
    ) -> Result<Unpacked<&'a [u8]>, LengthPrefixedError> {
        if let (Some(limit), Some((field, rest))) = (self.fast_path, input.split_first_chunk()) {
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
        let consumed = self.frame_length(self.field.read(&input[self.offset..]))?;
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

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    #[inline]
    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        if self.fast_path.is_none_or(|limit| item.len() > limit) {
            return self.pack_parts(&[item], output);
        }
        output.put_pair(&(item.len() as u32).to_be_bytes(), item);
        Ok(())
    }
}

impl EncodeParts for LengthPrefixed {
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        let item = total_length(parts).unwrap_or(usize::MAX);
        let length = self.length_to_write(item)?;
        output.announce(item.saturating_add(self.stripped()));
        if self.is_plain() {
            self.field.write(length, output);
            for part in parts {
                output.put_slice(part);
            }
        } else {
            self.put_framed(length, parts, output);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
