//! Frame headers (RFC 6455, section 5.2): the reader parses them, the writer makes them.

use super::error::Violation;
use super::mask::Key;
use super::message::Message;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The longest payload of a control frame (section 5.5).
pub(crate) const CONTROL_MAX: usize = 125;
/// The longest header: two bytes, eight of length, four of key.
const HEADER_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;

/// The header of a frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) is_final: bool,
    /// RSV1: the first frame of a compressed message (RFC 7692, section 6).
    pub(crate) is_compressed: bool,
    pub(crate) key: Option<Key>,
    /// Bytes of the payload.
    pub(crate) length: u64,
    /// Bytes of the header itself.
    pub(crate) size: usize,
}

/// The result of [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Header(Header),
    /// At least this many bytes are missing.
    NeedMore(usize),
}

/// Reads a header, and refuses one that is not acceptable in any state of the connection. A client's frames must be masked and
/// a server's not; a message may be compressed if that was agreed on.
#[inline]
pub(crate) fn parse(
    input: &[u8],
    from_client: bool,
    may_be_compressed: bool,
) -> Result<Parsed, Violation> {
    let Some(&first) = input.first() else {
        return Ok(Parsed::NeedMore(2));
    };
    let opcode = Opcode::from_bits(first & 0xF).ok_or(Violation::UnknownOpcode)?;
    let is_final = first & FIN != 0;
    let is_compressed = first & RSV1 != 0;
    let is_first_of_message = matches!(opcode, Opcode::Text | Opcode::Binary);
    if first & RSV2_RSV3 != 0 || (is_compressed && !(may_be_compressed && is_first_of_message)) {
        return Err(Violation::ReservedBit);
    }
    if opcode.is_control() && !is_final {
        return Err(Violation::FragmentedControl);
    }
    let Some(&second) = input.get(1) else {
        return Ok(Parsed::NeedMore(1));
    };
    let is_masked = second & MASKED != 0;
    if is_masked != from_client {
        return Err(match from_client {
            true => Violation::Unmasked,
            false => Violation::Masked,
        });
    }
    let short = second & !MASKED;
    if opcode.is_control() && usize::from(short) > CONTROL_MAX {
        return Err(Violation::LongControl);
    }
    let length_size = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let size = 2 + length_size + if is_masked { 4 } else { 0 };
    let length = match length_size {
        0 => u64::from(short),
        _ if input.len() < 2 + length_size => return Ok(Parsed::NeedMore(size - input.len())),
        2 => minimal(u64::from(u16::from_be_bytes([input[2], input[3]])), 126)?,
        _ => minimal(long_length(input), 1 << 16)?,
    };
    if input.len() < size {
        return Ok(Parsed::NeedMore(size - input.len()));
    }
    let key = is_masked.then(|| input[size - 4..size].first_chunk().copied());
    Ok(Parsed::Header(Header {
        opcode,
        is_final,
        is_compressed,
        key: key.flatten(),
        length,
        size,
    }))
}

/// A short message in one masked frame, behind a header of six bytes: the frames that clients send most.
pub(crate) struct ShortFrame {
    pub(crate) is_text: bool,
    pub(crate) key: Key,
    /// Bytes of header and payload.
    pub(crate) end: usize,
}

impl ShortFrame {
    /// Bytes of the header.
    pub(crate) const HEADER: usize = 6;

    /// The frame at the front of the input, if it is such a one, is all there and is within the limit. Any other frame is
    /// left to [`parse`].
    #[inline(always)]
    pub(crate) fn parse(input: &[u8], max_message: usize) -> Option<Self> {
        let &[first, second, a, b, c, d] = input.first_chunk()?;
        // Final, no reserved bit, and an opcode of 1 or 2; masked, and a length in seven bits.
        if !matches!(first, 0x81 | 0x82) || !matches!(second, 0x80..=0xFD) {
            return None;
        }
        let length = usize::from(second & 0x7F);
        let end = Self::HEADER + length;
        if input.len() < end || length > max_message {
            return None;
        }
        Some(ShortFrame {
            is_text: first == 0x81,
            key: [a, b, c, d],
            end,
        })
    }
}

fn long_length(input: &[u8]) -> u64 {
    let field = input[2..].first_chunk().copied();
    u64::from_be_bytes(field.unwrap_or([0xFF; 8]))
}

/// Checks that a length needs as many bytes as it has, and that the most significant bit of eight bytes is 0.
fn minimal(length: u64, at_least: u64) -> Result<u64, Violation> {
    if length < at_least {
        Err(Violation::LengthNotMinimal)
    } else if length >> 63 != 0 {
        Err(Violation::LengthTooLarge)
    } else {
        Ok(length)
    }
}

/// The first byte of a frame that is sent: its opcode, and three flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstByte(u8);

impl FirstByte {
    /// A whole message, the last fragment of one, or a control frame; not compressed.
    #[inline]
    pub(crate) fn last(opcode: Opcode) -> Self {
        FirstByte(FIN | opcode as u8)
    }

    /// A fragment that another one follows.
    pub(crate) fn unfinished(opcode: Opcode) -> Self {
        FirstByte(opcode as u8)
    }

    /// The same with a compressed payload.
    #[cfg(feature = "deflate")]
    pub(crate) fn compressed(self) -> Self {
        FirstByte(self.0 | RSV1)
    }
}

/// The header of a frame that is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    bytes: [u8; HEADER_MAX],
    size: usize,
}

impl FrameHeader {
    /// The header of a frame with a payload of `length` bytes, masked if there is a key.
    #[inline]
    pub(crate) fn new(first: FirstByte, length: usize, key: Option<Key>) -> Self {
        let mut bytes = [0; HEADER_MAX];
        bytes[0] = first.0;
        let mut size = 2;
        if length < 126 {
            bytes[1] = length as u8;
        } else if let Ok(length) = u16::try_from(length) {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            size = 4;
        } else {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            size = 10;
        }
        if let Some(key) = key {
            bytes[1] |= MASKED;
            bytes[size..size + 4].copy_from_slice(&key);
            size += 4;
        }
        FrameHeader { bytes, size }
    }

    /// The header of a message that a server sends whole and not compressed.
    #[inline]
    pub(crate) fn of_message(message: Message<'_>) -> Self {
        FrameHeader::new(FirstByte::last(message.opcode()), message.len(), None)
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(opcode: Opcode, length: usize, key: Option<Key>) -> Vec<u8> {
        let header = FrameHeader::new(FirstByte::last(opcode), length, key);
        header.as_slice().to_vec()
    }

    /// The examples of RFC 6455, section 5.7.
    #[test]
    fn section_5_7_examples() {
        assert_eq!(written(Opcode::Text, 5, None), [0x81, 0x05]);
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            written(Opcode::Text, 5, key),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]
        );
        assert_eq!(written(Opcode::Ping, 5, None), [0x89, 0x05]);
        assert_eq!(written(Opcode::Binary, 256, None), [0x82, 0x7E, 1, 0]);
        assert_eq!(
            written(Opcode::Binary, 65536, None),
            [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn what_is_written_is_read_and_every_cut_says_what_is_missing() {
        for opcode in [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Close] {
            for length in [0, 1, 125, 126, 127, 65535, 65536, 1 << 40] {
                if opcode.is_control() && length > CONTROL_MAX {
                    continue;
                }
                for key in [None, Some([1, 2, 3, 4])] {
                    let bytes = written(opcode, length, key);
                    let header = Header {
                        opcode,
                        is_final: true,
                        is_compressed: false,
                        key,
                        length: length as u64,
                        size: bytes.len(),
                    };
                    let from_client = key.is_some();
                    assert_eq!(
                        parse(&bytes, from_client, false),
                        Ok(Parsed::Header(header))
                    );
                    for cut in 0..bytes.len() {
                        let Ok(Parsed::NeedMore(missing)) =
                            parse(&bytes[..cut], from_client, false)
                        else {
                            panic!("{cut} bytes of {bytes:?} are no header");
                        };
                        assert!(missing >= 1 && cut + missing <= bytes.len());
                    }
                }
            }
        }
    }

    /// Every first byte, masked and not: section 5.2 and 5.5 say which are acceptable.
    #[test]
    fn section_5_2_all_first_bytes() {
        for first in 0..=255u8 {
            for from_client in [true, false] {
                let opcode = first & 0xF;
                let known = matches!(opcode, 0..=2 | 8..=10);
                let fragmented_control = opcode >= 8 && first & 0x80 == 0;
                let second = if from_client { 0x80 } else { 0 };
                let input = [first, second, 0, 0, 0, 0];
                let expected = known && first & 0x70 == 0 && !fragmented_control;
                assert_eq!(
                    parse(&input, from_client, false).is_ok(),
                    expected,
                    "{first:#x}"
                );
                let wrong_mask = [first, second ^ 0x80, 0, 0, 0, 0];
                assert!(parse(&wrong_mask, from_client, false).is_err());
                // RSV1 is for the first frame of a message, and only when it was agreed on.
                let compressed = known && first & 0x30 == 0 && matches!(opcode, 1 | 2);
                let plain = known && first & 0x70 == 0 && !fragmented_control;
                assert_eq!(
                    parse(&input, from_client, true).is_ok(),
                    compressed || plain,
                    "{first:#x}, compression agreed"
                );
            }
        }
    }

    #[test]
    fn section_5_2_lengths_are_minimal_and_63_bits() {
        let read = |bytes: &[u8]| parse(bytes, false, false);
        assert_eq!(read(&[0x82, 126, 0, 125]), Err(Violation::LengthNotMinimal));
        assert!(read(&[0x82, 126, 0, 126]).is_ok());
        let long = |length: u64| [&[0x82, 127], &length.to_be_bytes()[..]].concat();
        assert_eq!(read(&long(65535)), Err(Violation::LengthNotMinimal));
        assert!(read(&long(65536)).is_ok());
        assert!(read(&long((1 << 63) - 1)).is_ok());
        for length in [1 << 63, (1 << 63) + 1, u64::MAX] {
            assert_eq!(read(&long(length)), Err(Violation::LengthTooLarge));
        }
    }

    #[test]
    fn section_5_5_control_frames_are_short() {
        for opcode in [0x88, 0x89, 0x8A] {
            assert!(parse(&[opcode, 125], false, false).is_ok());
            assert_eq!(
                parse(&[opcode, 126], false, false),
                Err(Violation::LongControl)
            );
        }
    }
}
