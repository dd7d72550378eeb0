//! The reading half.

use std::error::Error;
use std::fmt;

use ringwheel::protocol::{Decode, LengthPrefixed, LengthPrefixedError, UnpackContext, Unpacked};

use crate::encoder::CheckedEncoder;
use crate::frame::{self, HEADER, Kind};

/// The reading half of [`CheckedFrames`](crate::CheckedFrames).
#[derive(Debug)]
pub struct CheckedDecoder {
    /// The reading half of the protocol below.
    inner: LengthPrefixed,
    /// The sequence number that the peer's next frame must have.
    expected: u32,
}

/// The reasons for which a frame is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckedError {
    /// The frame is malformed as a length-prefixed one.
    Frame(LengthPrefixedError),
    /// The frame is too short for its header, or of an unknown kind.
    Header,
    /// The checksum is not that of the content.
    Checksum,
    /// A frame is missing, or came twice.
    Sequence,
}

impl fmt::Display for CheckedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckedError::Frame(error) => error.fmt(f),
            CheckedError::Header => f.write_str("a frame's header is malformed"),
            CheckedError::Checksum => f.write_str("a frame's checksum is wrong"),
            CheckedError::Sequence => f.write_str("a frame is out of sequence"),
        }
    }
}

impl Error for CheckedError {}

impl CheckedDecoder {
    pub(crate) fn new(inner: LengthPrefixed) -> Self {
        CheckedDecoder { inner, expected: 0 }
    }
}

impl Decode for CheckedDecoder {
    type Encoder = CheckedEncoder;
    type Message<'a> = &'a [u8];
    type Error = CheckedError;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, CheckedEncoder>,
    ) -> Result<Unpacked<&'a [u8]>, CheckedError> {
        let expected = self.expected;
        let mut inner = context.with_encoder(|encoder| &mut encoder.inner);
        let unpacked = self
            .inner
            .unpack(input, &mut inner)
            .map_err(CheckedError::Frame)?
            .try_map(|body| checked(body, expected))?;
        let Unpacked::Message { message, consumed } = unpacked else {
            return Ok(unpacked.map(|(_, payload)| payload));
        };
        self.expected = expected.wrapping_add(1);
        let (kind, payload) = message;
        match kind {
            Kind::Message => {
                let message = payload;
                return Ok(Unpacked::Message { message, consumed });
            }
            // It fails for frames that are too long only, and an answer is short.
            Kind::Ping => _ = context.encoder.answer_ping(context.output),
            Kind::Pong => context.encoder.take_pong(context.now),
        }
        Ok(Unpacked::Skip { consumed })
    }

    fn held(&self) -> usize {
        self.inner.held()
    }
}

/// Kind and payload of a frame with this body, if all in it is as it must be.
fn checked(body: &[u8], expected: u32) -> Result<(Kind, &[u8]), CheckedError> {
    let Some((&[kind, a, b, c, d, e, f, g, h], payload)) = body.split_first_chunk::<HEADER>()
    else {
        return Err(CheckedError::Header);
    };
    let sequence = u32::from_be_bytes([a, b, c, d]);
    if frame::checksum(kind, sequence, payload) != u32::from_be_bytes([e, f, g, h]) {
        return Err(CheckedError::Checksum);
    }
    if sequence != expected {
        return Err(CheckedError::Sequence);
    }
    let kind = Kind::from_byte(kind).ok_or(CheckedError::Header)?;
    Ok((kind, payload))
}
