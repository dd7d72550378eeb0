//! The protocol without framing: bytes are delivered as they arrive.

use std::convert::Infallible;

use bytes::Bytes;

use super::{Decode, Encode, EncodeParts, Output, PackError, Protocol, UnpackContext, Unpacked};

/// No framing: a message is everything that has arrived, and an item is sent unchanged.
///
/// Messages are never empty. Their boundaries mean nothing: a stream does not preserve the pieces in which the peer
/// sent its bytes. There is no limit, since a message is never longer than one read, and no input is refused.
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, Output, Protocol, Raw, UnpackContext, Unpacked};
///
/// let (mut decoder, mut encoder) = Raw.open();
/// let mut output = Output::detached();
/// let mut input = *b"ping";
/// let unpacked = decoder.unpack(&mut input, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"ping"[..], consumed: 4 }));
///
/// encoder.pack(b"pong", &mut output)?;
/// assert_eq!(output.take(), b"pong");
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Protocol for Raw {
    type Decoder = Raw;
    type Encoder = Raw;

    fn open(&self) -> (Raw, Raw) {
        (Raw, Raw)
    }
}

impl Decode for Raw {
    type Encoder = Raw;
    type Message<'a> = &'a [u8];
    type Error = Infallible;

    #[inline]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, Raw>,
    ) -> Result<Unpacked<&'a [u8]>, Infallible> {
        let consumed = input.len();
        Ok(Unpacked::Message {
            message: input,
            consumed,
        })
    }
}

impl Encode for Raw {
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
        output.put_slice(item);
        Ok(())
    }
}

impl EncodeParts for Raw {
    #[inline]
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        output.put_parts(parts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_input_is_one_message() {
        let mut input = *b"one\ntwo";
        let (mut decoder, mut encoder) = Raw.open();
        let unpacked = decoder.unpack(
            &mut input,
            &mut UnpackContext::detached(&mut Output::detached(), &mut encoder),
        );
        assert_eq!(
            unpacked,
            Ok(Unpacked::Message {
                message: &b"one\ntwo"[..],
                consumed: 7
            })
        );
    }

    #[test]
    fn items_and_parts_are_written_unchanged() {
        let mut output = Output::detached();
        Raw.pack(b"one", &mut output).unwrap();
        Raw.pack_parts(&[b"two", b"", b"three"], &mut output)
            .unwrap();
        assert_eq!(output.take(), b"onetwothree");
    }

    #[test]
    fn an_owned_item_is_borrowed_whole() {
        assert_eq!(Raw::borrow(&Bytes::from_static(b"shared")), b"shared");
    }
}
