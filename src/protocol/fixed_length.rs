//! The protocol of messages that all have the same length.

use std::convert::Infallible;

use bytes::Bytes;

use super::{Decode, Encode, EncodeParts, Output, PackError, Protocol, UnpackContext, Unpacked};

/// Messages of exactly n bytes each, with nothing between them.
///
/// The length is also the limit, so no input is refused. An item of another length is a [`PackError`].
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, FixedLength, Output, Protocol, UnpackContext, Unpacked};
///
/// let (mut decoder, mut encoder) = FixedLength::new(4).open();
/// let mut output = Output::detached();
/// let mut input = *b"abcdef";
/// let unpacked = decoder.unpack(&mut input, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"abcd"[..], consumed: 4 }));
/// let unpacked = decoder.unpack(&mut input[4..], &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::NeedMore { at_least: 2 }));
///
/// encoder.pack(b"wxyz", &mut output)?;
/// assert_eq!(output.take(), b"wxyz");
/// assert!(encoder.pack(b"xyz", &mut output).is_err());
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FixedLength {
    /// At least 1.
    length: usize,
}

impl FixedLength {
    /// Messages of `length` bytes.
    ///
    /// # Panics
    /// If `length` is 0: a stream would contain endlessly many such messages.
    pub const fn new(length: usize) -> Self {
        assert!(length > 0, "a fixed length is at least 1 byte");
        FixedLength { length }
    }

    /// Bytes in each message.
    pub const fn length(&self) -> usize {
        self.length
    }

    #[inline]
    fn check(&self, length: Option<usize>) -> Result<(), PackError> {
        match length {
            Some(length) if length == self.length => Ok(()),
            _ => Err(PackError("it does not have the fixed length")),
        }
    }
}

impl Protocol for FixedLength {
    type Decoder = FixedLength;
    type Encoder = FixedLength;

    fn open(&self) -> (FixedLength, FixedLength) {
        (*self, *self)
    }
}

impl Decode for FixedLength {
    type Encoder = FixedLength;
    type Message<'a> = &'a [u8];
    type Error = Infallible;

    #[inline]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, FixedLength>,
    ) -> Result<Unpacked<&'a [u8]>, Infallible> {
        Ok(match input.get(..self.length) {
            Some(message) => Unpacked::Message {
                message,
                consumed: self.length,
            },
            None => Unpacked::NeedMore {
                at_least: self.length - input.len(),
            },
        })
    }
}

impl Encode for FixedLength {
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
        self.check(Some(item.len()))?;
        output.put_slice(item);
        Ok(())
    }
}

impl EncodeParts for FixedLength {
    #[inline]
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        self.check(total_length(parts))?;
        output.put_parts(parts);
        Ok(())
    }
}

/// Total length of all parts, or `None` if it exceeds `usize`, which is possible because parts may overlap in memory.
#[inline]
pub(super) fn total_length(parts: &[&[u8]]) -> Option<usize> {
    parts
        .iter()
        .try_fold(0usize, |total, part| total.checked_add(part.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn need_more_states_exactly_how_many_bytes_are_missing() {
        let (mut decoder, mut encoder) = FixedLength::new(3).open();
        let mut output = Output::detached();
        for (have, at_least) in [(1, 2), (2, 1)] {
            let mut input = *b"abc";
            let unpacked = decoder.unpack(
                &mut input[..have],
                &mut UnpackContext::detached(&mut output, &mut encoder),
            );
            assert_eq!(unpacked, Ok(Unpacked::NeedMore { at_least }));
        }
    }

    #[test]
    fn items_of_another_length_are_refused_and_write_nothing() {
        let mut encoder = FixedLength::new(3);
        let mut output = Output::detached();
        for item in [&b""[..], b"ab", b"abcd"] {
            assert!(encoder.pack(item, &mut output).is_err(), "{item:?}");
            assert!(
                encoder.pack_parts(&[item, b""], &mut output).is_err(),
                "{item:?}"
            );
        }
        assert!(output.is_empty());
        encoder
            .pack_parts(&[b"a", b"", b"bc"], &mut output)
            .unwrap();
        assert_eq!(output.take(), b"abc");
    }

    #[test]
    #[should_panic(expected = "at least 1 byte")]
    fn a_length_of_zero_panics() {
        FixedLength::new(0);
    }
}
