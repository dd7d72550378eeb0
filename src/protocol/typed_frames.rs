//! The protocol of frames that name the type of their data.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Decode, Encode, Output, PackError, Protocol, UnpackContext, Unpacked};

/// Frames of a type name and data, in the layout of gev's protobuf plugin, so that its clients can connect:
///
/// ```text
///  0        4        6            6 + t                  4 + length
///  ├ length ┼── t ───┼ type name ───┼─────────── data ────────┤      length = 2 + t + data, u32 big-endian
///                                                                   t = bytes of the type name, u16 big-endian
/// ```
///
/// The name is UTF-8. Name and data may be empty; the meaning of the data is left to the handler.
///
/// The limit is on `length`. It is 1 MiB by default and applies in both directions. Input is refused as soon as the
/// length or t is known to be wrong. An item is a [`PackError`] if it is longer than the limit or its name is longer
/// than 65,535 bytes.
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, Output, Protocol, TypedFrame, TypedFrames, UnpackContext, Unpacked};
///
/// let (mut decoder, mut encoder) = TypedFrames::new().open();
/// let mut output = Output::detached();
/// let frame = TypedFrame { type_name: "Ping", data: b"\x08\x01" };
/// encoder.pack(frame, &mut output)?;
/// let mut bytes = output.take();
/// assert_eq!(bytes, b"\x00\x00\x00\x08\x00\x04Ping\x08\x01");
///
/// let unpacked = decoder.unpack(&mut bytes, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: frame, consumed: 12 }));
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TypedFrames {
    /// At most `isize::MAX - LENGTH_WIDTH`, so that the length of a frame within the limit does not overflow.
    max_length: usize,
}

/// Bytes of the length field.
const LENGTH_WIDTH: usize = 4;
/// Bytes of the field that holds the length of the type name.
const NAME_LENGTH_WIDTH: usize = 2;
/// Bytes before the type name.
const HEADER: usize = LENGTH_WIDTH + NAME_LENGTH_WIDTH;

impl TypedFrames {
    /// Default limit of the length field's value: 1 MiB. See [`max_length`](Self::max_length).
    pub const DEFAULT_MAX_LENGTH: usize = 1024 * 1024;

    /// Frames whose length field is at most [`DEFAULT_MAX_LENGTH`](Self::DEFAULT_MAX_LENGTH).
    pub const fn new() -> Self {
        TypedFrames {
            max_length: Self::DEFAULT_MAX_LENGTH,
        }
    }

    /// Accepts frames whose length field (2, plus the bytes of the name and of the data) is at most `bytes`. A limit
    /// beyond the address space is lowered to it.
    #[must_use]
    pub const fn max_length(self, bytes: usize) -> Self {
        let addressable = isize::MAX as usize - LENGTH_WIDTH;
        TypedFrames {
            max_length: if bytes < addressable {
                bytes
            } else {
                addressable
            },
        }
    }
}

impl Default for TypedFrames {
    fn default() -> Self {
        TypedFrames::new()
    }
}

impl Protocol for TypedFrames {
    type Decoder = TypedFrames;
    type Encoder = TypedFrames;

    fn open(&self) -> (TypedFrames, TypedFrames) {
        (*self, *self)
    }
}

/// A type name and data, borrowed.
///
/// ```
/// use ringwheel::protocol::{TypedFrame, TypedFrames};
/// use ringwheel::{Conn, Handler};
///
/// #[derive(Clone)]
/// struct Service;
///
/// impl Handler for Service {
///     type Protocol = TypedFrames;
///     type Session = ();
///     fn on_open(&mut self, _conn: &mut Conn<'_, TypedFrames>) {}
///     fn on_message(&mut self, conn: &mut Conn<'_, TypedFrames>, _: &mut (), frame: TypedFrame<'_>) {
///         match frame.type_name {
///             "Ping" => _ = conn.send(TypedFrame { type_name: "Pong", data: frame.data }),
///             _ => conn.close(),
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedFrame<'a> {
    /// The type of the data, such as a protobuf message's name.
    pub type_name: &'a str,
    /// The encoded value.
    pub data: &'a [u8],
}

/// A [`TypedFrame`] that owns its content. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedFrameBuf {
    /// The type of the data, such as a protobuf message's name.
    pub type_name: Arc<str>,
    /// The encoded value.
    pub data: Bytes,
}

impl TypedFrameBuf {
    /// The same frame, borrowed.
    #[inline]
    pub fn as_frame(&self) -> TypedFrame<'_> {
        TypedFrame {
            type_name: &self.type_name,
            data: &self.data,
        }
    }
}

impl From<TypedFrame<'_>> for TypedFrameBuf {
    fn from(frame: TypedFrame<'_>) -> Self {
        TypedFrameBuf {
            type_name: frame.type_name.into(),
            data: Bytes::copy_from_slice(frame.data),
        }
    }
}

impl Decode for TypedFrames {
    type Encoder = TypedFrames;
    type Message<'a> = TypedFrame<'a>;
    type Error = TypedFramesError;

    #[inline]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, TypedFrames>,
    ) -> Result<Unpacked<TypedFrame<'a>>, TypedFramesError> {
        let Some((&length, after_length)) = input.split_first_chunk::<LENGTH_WIDTH>() else {
            return Ok(Unpacked::NeedMore {
                at_least: LENGTH_WIDTH - input.len(),
            });
        };
        let length = u32::from_be_bytes(length);
        if length < NAME_LENGTH_WIDTH as u32 {
            return Err(TypedFramesError::TooShort { length });
        }
        if length as usize > self.max_length {
            return Err(TypedFramesError::TooLong {
                length,
                limit: self.max_length,
            });
        }
        let Some((&name_length, after_header)) = after_length.split_first_chunk() else {
            return Ok(Unpacked::NeedMore {
                at_least: HEADER - input.len(),
            });
        };
        let name_length = u16::from_be_bytes(name_length);
        let content_length = length as usize - NAME_LENGTH_WIDTH;
        if usize::from(name_length) > content_length {
            return Err(TypedFramesError::NameOverrun {
                name_length,
                length,
            });
        }
        let Some(content) = after_header.get(..content_length) else {
            return Ok(Unpacked::NeedMore {
                at_least: content_length - after_header.len(),
            });
        };
        let (name, data) = content.split_at(usize::from(name_length));
        match std::str::from_utf8(name) {
            Ok(type_name) => {
                let consumed = HEADER + content_length;
                Ok(Unpacked::Message {
                    message: TypedFrame { type_name, data },
                    consumed,
                })
            }
            Err(error) => Err(TypedFramesError::NameNotUtf8 {
                position: error.valid_up_to(),
            }),
        }
    }
}

impl Encode for TypedFrames {
    type Item<'a> = TypedFrame<'a>;
    type Owned = TypedFrameBuf;

    #[inline]
    fn borrow(owned: &TypedFrameBuf) -> TypedFrame<'_> {
        owned.as_frame()
    }

    fn owned_size(owned: &TypedFrameBuf) -> usize {
        owned.type_name.len() + owned.data.len()
    }

    #[inline]
    fn pack(&mut self, item: TypedFrame<'_>, output: &mut Output) -> Result<(), PackError> {
        let Ok(name_length) = u16::try_from(item.type_name.len()) else {
            return Err(PackError("its type name is longer than 65,535 bytes"));
        };
        // The name is short and a slice has at most isize::MAX bytes, so this does not overflow.
        let length = NAME_LENGTH_WIDTH + item.type_name.len() + item.data.len();
        let length = match u32::try_from(length) {
            Ok(field) if length <= self.max_length => field,
            _ => return Err(PackError("it is longer than a frame may be")),
        };
        let mut header = [0; HEADER];
        header[..LENGTH_WIDTH].copy_from_slice(&length.to_be_bytes());
        header[LENGTH_WIDTH..].copy_from_slice(&name_length.to_be_bytes());
        output.announce(header.len() + item.type_name.len() + item.data.len());
        output.put_slice(&header);
        output.put_slice(item.type_name.as_bytes());
        output.put_slice(item.data);
        Ok(())
    }
}

/// The reason why [`TypedFrames`] refused its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypedFramesError {
    /// The length is less than 2, the bytes of the name's length field.
    TooShort {
        /// The value of the length field.
        length: u32,
    },
    /// The length is above the limit.
    TooLong {
        /// The value of the length field.
        length: u32,
        /// The limit of the length field.
        limit: usize,
    },
    /// The type name would extend beyond the end of its frame.
    NameOverrun {
        /// The announced length of the type name, in bytes.
        name_length: u16,
        /// The value of the length field.
        length: u32,
    },
    /// The type name is not UTF-8.
    NameNotUtf8 {
        /// Bytes of the name before the first invalid one.
        position: usize,
    },
}

impl fmt::Display for TypedFramesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypedFramesError::TooShort { length } => {
                write!(
                    f,
                    "a frame length of {length} is less than the 2 bytes it must cover"
                )
            }
            TypedFramesError::TooLong { length, limit } => {
                write!(
                    f,
                    "a frame announces {length} bytes, and {limit} are allowed"
                )
            }
            TypedFramesError::NameOverrun {
                name_length,
                length,
            } => {
                write!(
                    f,
                    "a type name of {name_length} bytes does not fit a frame length of {length}"
                )
            }
            TypedFramesError::NameNotUtf8 { position } => {
                write!(f, "a type name is not UTF-8 from its byte {position} on")
            }
        }
    }
}

impl Error for TypedFramesError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_unpacks(
        protocol: TypedFrames,
        input: &[u8],
        expected: Result<Unpacked<TypedFrame<'_>>, TypedFramesError>,
    ) {
        let mut input = input.to_vec();
        let (mut decoder, mut encoder) = protocol.open();
        assert_eq!(
            decoder.unpack(
                &mut input,
                &mut UnpackContext::detached(&mut Output::detached(), &mut encoder)
            ),
            expected
        );
    }

    fn need_more<'a>(at_least: usize) -> Result<Unpacked<TypedFrame<'a>>, TypedFramesError> {
        Ok(Unpacked::NeedMore { at_least })
    }

    #[test]
    fn name_and_data_may_be_empty() {
        for (input, type_name, data) in [
            (&b"\0\0\0\x02\0\0"[..], "", &b""[..]),
            (b"\0\0\0\x03\0\x01a", "a", b""),
            (b"\0\0\0\x03\0\0b", "", b"b"),
            (b"\0\0\0\x06\0\x02\xC3\xA9\xC3\xA9", "\u{e9}", b"\xC3\xA9"),
        ] {
            let message = TypedFrame { type_name, data };
            let consumed = input.len();
            assert_unpacks(
                TypedFrames::new(),
                input,
                Ok(Unpacked::Message { message, consumed }),
            );
            let followed = [input, b"\0\0"].concat();
            assert_unpacks(
                TypedFrames::new(),
                &followed,
                Ok(Unpacked::Message { message, consumed }),
            );
        }
    }

    #[test]
    fn need_more_states_how_many_bytes_the_next_part_lacks() {
        let frame = b"\0\0\0\x05\0\x01abc";
        for (have, at_least) in [(1, 3), (3, 1), (4, 2), (5, 1), (6, 3), (8, 1)] {
            assert_unpacks(TypedFrames::new(), &frame[..have], need_more(at_least));
        }
    }

    #[test]
    fn seven_zeros_are_an_error() {
        assert_unpacks(
            TypedFrames::new(),
            &[0; 7],
            Err(TypedFramesError::TooShort { length: 0 }),
        );
    }

    #[test]
    fn each_field_is_checked_as_soon_as_it_is_there() {
        use TypedFramesError::*;
        let limit = TypedFrames::DEFAULT_MAX_LENGTH;
        for (input, error) in [
            (&b"\0\0\0\x01"[..], TooShort { length: 1 }),
            (
                b"\x00\x10\x00\x01",
                TooLong {
                    length: 0x10_0001,
                    limit,
                },
            ),
            (
                b"\x7F\xFF\xFF\xFF",
                TooLong {
                    length: 0x7FFF_FFFF,
                    limit,
                },
            ),
            (
                b"\x80\x00\x00\x00",
                TooLong {
                    length: 0x8000_0000,
                    limit,
                },
            ),
            (
                b"\xFF\xFF\xFF\xFF",
                TooLong {
                    length: u32::MAX,
                    limit,
                },
            ),
            (
                b"\0\0\0\x02\0\x01",
                NameOverrun {
                    name_length: 1,
                    length: 2,
                },
            ),
            (
                b"\0\0\0\x09\xFF\xFF",
                NameOverrun {
                    name_length: 0xFFFF,
                    length: 9,
                },
            ),
            (b"\0\0\0\x05\0\x03ab\xC3", NameNotUtf8 { position: 2 }),
            (b"\0\0\0\x05\0\x01\xC3\xA9x", NameNotUtf8 { position: 0 }),
        ] {
            assert_unpacks(TypedFrames::new(), input, Err(error));
        }
    }

    #[test]
    fn the_limit_is_on_the_length_field_in_both_directions() {
        let protocol = TypedFrames::new().max_length(5);
        let frame = |data| TypedFrame {
            type_name: "ab",
            data,
        };
        let (_, mut encoder) = protocol.open();
        let mut output = Output::detached();
        assert!(encoder.pack(frame(b"cd"), &mut output).is_err());
        assert!(output.is_empty());
        encoder.pack(frame(b"c"), &mut output).unwrap();
        assert_eq!(output.take(), b"\0\0\0\x05\0\x02abc");

        let message = frame(b"c");
        let unpacked = Unpacked::Message {
            message,
            consumed: 9,
        };
        assert_unpacks(protocol, b"\0\0\0\x05\0\x02abc", Ok(unpacked));
        let too_long = TypedFramesError::TooLong {
            length: 6,
            limit: 5,
        };
        assert_unpacks(protocol, b"\0\0\0\x06\0\x02abcd", Err(too_long));
    }

    #[test]
    fn the_highest_limit_counts_without_overflow() {
        let protocol = TypedFrames::new().max_length(usize::MAX);
        if usize::BITS > 32 {
            // 4 GiB and 3 bytes in all, of which 6 are here.
            assert_unpacks(
                protocol,
                b"\xFF\xFF\xFF\xFF\0\0",
                need_more(0xFFFF_FFFF - 2),
            );
        }
    }

    #[test]
    fn a_type_name_has_at_most_65_535_bytes() {
        let (_, mut encoder) = TypedFrames::new().open();
        let mut output = Output::detached();
        let mut name = "n".repeat(65_536);
        assert!(
            encoder
                .pack(
                    TypedFrame {
                        type_name: &name,
                        data: b""
                    },
                    &mut output
                )
                .is_err()
        );
        assert!(output.is_empty());

        name.pop();
        let frame = TypedFrame {
            type_name: &name,
            data: b"d",
        };
        encoder.pack(frame, &mut output).unwrap();
        let message = Unpacked::Message {
            message: frame,
            consumed: 6 + 65_535 + 1,
        };
        assert_unpacks(TypedFrames::new(), &output.take(), Ok(message));
    }
}
