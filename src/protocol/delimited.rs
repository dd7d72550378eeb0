//! The protocol of messages that end at a delimiter.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::fixed_length::total_length;
use super::{Decode, Encode, EncodeParts, Output, PackError, Protocol, UnpackContext, Unpacked};

/// Byte messages, each followed by a delimiter of one or more bytes.
///
/// A message is everything up to the delimiter, without it; it may be empty. Bytes after the last delimiter are not a
/// message yet.
///
/// An item that the peer would split differently is a [`PackError`]: one that contains the delimiter, or whose end
/// completes the delimiter early (`"a"` before the delimiter `"aa"`). So is one that is longer than the limit.
///
/// The limit counts the bytes of a message without its delimiter. It is 64 KiB by default and applies in both
/// directions. Input is refused once it cannot become a message within the limit, even before a delimiter has come. The
/// search takes linear time for every delimiter and every input: each byte is searched only once, also when the
/// delimiter arrives in pieces.
///
/// ```
/// use ringwheel::protocol::{Decode, Delimited, Encode, Output, Protocol, UnpackContext, Unpacked};
///
/// let (mut decoder, mut encoder) = Delimited::new(b"\r\n\r\n").max_length(8 * 1024).open();
/// let mut output = Output::detached();
/// let mut input = *b"a: 1\r\nb: 2\r\n\r\nc: 3\r\n";
/// let unpacked = decoder.unpack(&mut input, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: &b"a: 1\r\nb: 2"[..], consumed: 14 }));
/// let unpacked = decoder.unpack(&mut input[14..], &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::NeedMore { at_least: 2 }));
///
/// encoder.pack(b"d: 4", &mut output)?;
/// assert_eq!(output.take(), b"d: 4\r\n\r\n");
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Delimited {
    /// Shared by all connections.
    delimiter: Arc<Delimiter>,
    max_length: usize,
}

impl Delimited {
    /// Default limit of a message's length without its delimiter, in bytes: 64 KiB. See
    /// [`max_length`](Self::max_length).
    pub const DEFAULT_MAX_LENGTH: usize = 64 * 1024;

    /// Messages that each end at `delimiter`, a byte string such as `b"\0"` or `b"\r\n\r\n"`.
    ///
    /// # Panics
    /// If `delimiter` is empty.
    pub fn new(delimiter: impl Into<Vec<u8>>) -> Self {
        Delimited {
            delimiter: Arc::new(Delimiter::new(delimiter.into())),
            max_length: Self::DEFAULT_MAX_LENGTH,
        }
    }

    /// Accepts messages of at most `bytes` bytes, not counting the delimiter.
    #[must_use]
    pub fn max_length(self, bytes: usize) -> Self {
        Delimited {
            max_length: bytes,
            ..self
        }
    }

    /// Refuses an item that the peer would not read back as one message.
    #[inline]
    fn check(&self, parts: &[&[u8]]) -> Result<(), PackError> {
        if total_length(parts).is_none_or(|length| length > self.max_length) {
            return Err(PackError("it is longer than a message may be"));
        }
        let mut matched = 0;
        for part in parts {
            if self.delimiter.find_end(part, &mut matched).is_some() {
                return Err(PackError("it contains the delimiter"));
            }
        }
        let delimiter = &*self.delimiter.bytes;
        if matched > 0 && self.delimiter.find_end(delimiter, &mut matched) != Some(delimiter.len())
        {
            return Err(PackError("its end completes the delimiter early"));
        }
        Ok(())
    }
}

impl Protocol for Delimited {
    type Decoder = DelimitedDecoder;
    type Encoder = Delimited;

    fn open(&self) -> (DelimitedDecoder, Delimited) {
        let decoder = DelimitedDecoder {
            delimiter: Arc::clone(&self.delimiter),
            max_length: self.max_length,
            searched: 0,
            matched: 0,
        };
        (decoder, self.clone())
    }
}

/// The reading half of [`Delimited`].
#[derive(Debug)]
pub struct DelimitedDecoder {
    delimiter: Arc<Delimiter>,
    max_length: usize,
    /// Bytes at the front of the input that were searched already; no delimiter ends within them.
    searched: usize,
    /// Length of the delimiter's beginning with which the searched bytes end. Less than the delimiter's length.
    matched: usize,
}

impl DelimitedDecoder {
    /// Sets the longest message that is accepted from now on, in bytes without the delimiter: for
    /// [`Conn::update_decoder`](crate::Conn::update_decoder).
    pub fn set_max_length(&mut self, bytes: usize) {
        self.max_length = bytes;
    }
}

impl Decode for DelimitedDecoder {
    type Encoder = Delimited;
    type Message<'a> = &'a [u8];
    type Error = DelimitedError;

    #[inline]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, Delimited>,
    ) -> Result<Unpacked<&'a [u8]>, DelimitedError> {
        let width = self.delimiter.bytes.len();
        // A message within the limit has its delimiter within this many bytes.
        let reach = input.len().min(self.max_length.saturating_add(width));
        if let Some(end) = self
            .delimiter
            .find_end(&input[self.searched..reach], &mut self.matched)
        {
            let consumed = self.searched + end;
            self.searched = 0;
            self.matched = 0;
            return Ok(Unpacked::Message {
                message: &input[..consumed - width],
                consumed,
            });
        }
        self.searched = reach;
        debug_assert!(self.matched < width && self.matched <= self.searched);
        if self.searched - self.matched > self.max_length {
            return Err(DelimitedError::TooLong {
                limit: self.max_length,
            });
        }
        Ok(Unpacked::NeedMore {
            at_least: width - self.matched,
        })
    }
}

impl Encode for Delimited {
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
        self.check(&[item])?;
        output.put_pair(item, &self.delimiter.bytes);
        Ok(())
    }
}

impl EncodeParts for Delimited {
    #[inline]
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        self.check(parts)?;
        let length = total_length(parts).unwrap_or(usize::MAX);
        output.announce(length.saturating_add(self.delimiter.bytes.len()));
        for part in parts {
            output.put_slice(part);
        }
        output.put_slice(&self.delimiter.bytes);
        Ok(())
    }
}

/// A byte string to search for, with its table for the algorithm of Knuth, Morris and Pratt.
#[derive(Debug)]
struct Delimiter {
    /// At least one byte.
    bytes: Box<[u8]>,
    /// Length of the longest proper prefix that is also a suffix, for each non-empty prefix of the delimiter, at the index
    /// of its length less one. This many bytes remain matched when the next byte does not match.
    borders: Box<[usize]>,
}

impl Delimiter {
    fn new(bytes: Vec<u8>) -> Self {
        assert!(!bytes.is_empty(), "a delimiter has at least 1 byte");
        let mut delimiter = Delimiter {
            borders: vec![0; bytes.len()].into(),
            bytes: bytes.into(),
        };
        let mut matched = 0;
        for at in 1..delimiter.bytes.len() {
            matched = delimiter.advance(matched, delimiter.bytes[at]);
            delimiter.borders[at] = matched;
        }
        delimiter
    }

    /// The matched length after `byte`, if it was `matched` before, which is less than the delimiter's length.
    #[inline]
    fn advance(&self, mut matched: usize, byte: u8) -> usize {
        while self.bytes[matched] != byte {
            if matched == 0 {
                return 0;
            }
            matched = self.borders[matched - 1];
        }
        matched + 1
    }

    /// Position in `bytes` after the first delimiter. `matched` is the length of the delimiter's beginning that ended
    /// right before `bytes`; it is updated to the length matched at the end of the search.
    #[inline]
    fn find_end(&self, bytes: &[u8], matched: &mut usize) -> Option<usize> {
        // A delimiter of one byte is never matched in part.
        if let [only] = *self.bytes {
            return find_byte(bytes, only).map(|at| at + 1);
        }
        self.find_end_of_many(bytes, matched)
    }

    #[inline(never)]
    fn find_end_of_many(&self, bytes: &[u8], matched: &mut usize) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if *matched == 0 {
                at += find_byte(&bytes[at..], self.bytes[0])?;
            }
            *matched = self.advance(*matched, bytes[at]);
            at += 1;
            if *matched == self.bytes.len() {
                return Some(at);
            }
        }
        None
    }
}

/// Position of the first `needle` in `haystack`.
#[inline]
pub(super) fn find_byte(haystack: &[u8], needle: u8) -> Option<usize> {
    let skipped = skip_chunks_without(haystack, needle);
    find_byte_by_words(&haystack[skipped..], needle).map(|at| skipped + at)
}

/// Length of the whole chunks at the front of `haystack` that do not contain `needle`. The loop over a chunk has no
/// early exit, so that it compiles to vector instructions.
#[inline]
fn skip_chunks_without(haystack: &[u8], needle: u8) -> usize {
    const CHUNK: usize = 32;
    let is_clear = |chunk: &&[u8]| {
        let chunk: &[u8; CHUNK] = (*chunk)
            .try_into()
            .expect("chunks_exact yields whole chunks");
        !chunk
            .iter()
            .fold(false, |any, &byte| any | (byte == needle))
    };
    CHUNK * haystack.chunks_exact(CHUNK).take_while(is_clear).count()
}

/// Searches eight bytes at a time in one register. With x zero in exactly the bytes that equal `needle`, the first of
/// them is the lowest byte whose top bit is set in `(x - 0x01..01) & !x & 0x80..80`.
#[inline]
fn find_byte_by_words(haystack: &[u8], needle: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let mut words = haystack.chunks_exact(8);
    let mut at = 0;
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("a chunk of 8 is 8 bytes"));
        let x = word ^ (ONES * u64::from(needle));
        let hits = x.wrapping_sub(ONES) & !x & TOPS;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    words
        .remainder()
        .iter()
        .position(|&byte| byte == needle)
        .map(|rest| at + rest)
}

/// The reason why [`Delimited`] refused its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DelimitedError {
    /// A message is longer than the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for DelimitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DelimitedError::TooLong { limit } => {
                write!(
                    f,
                    "a message is longer than {limit} bytes before its delimiter"
                )
            }
        }
    }
}

impl Error for DelimitedError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_set_later_holds_from_then_on() {
        let (mut decoder, mut encoder) = Delimited::new("|").max_length(4).open();
        let (mut output, mut input) = (Output::detached(), *b"hello|");
        let mut context = UnpackContext::detached(&mut output, &mut encoder);
        assert!(decoder.unpack(&mut input, &mut context).is_err());
        let (mut decoder, _) = Delimited::new("|").max_length(4).open();
        decoder.set_max_length(5);
        let message = decoder.unpack(&mut input, &mut context);
        assert!(matches!(
            message,
            Ok(Unpacked::Message {
                message: b"hello",
                ..
            })
        ));
    }

    #[track_caller]
    fn assert_unpacks(
        protocol: &Delimited,
        input: &[u8],
        expected: Result<Unpacked<&[u8]>, DelimitedError>,
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

    fn message(message: &[u8], consumed: usize) -> Result<Unpacked<&[u8]>, DelimitedError> {
        Ok(Unpacked::Message { message, consumed })
    }

    #[test]
    fn a_message_ends_at_the_first_delimiter() {
        for (delimiter, input, expected, consumed) in [
            (&b"\0"[..], &b"\0"[..], &b""[..], 1),
            (b"\0", b"ab\0cd\0", b"ab", 3),
            (b"\r\n\r\n", b"a\r\nb\r\n\r\nc", b"a\r\nb", 8),
            (b"\r\n\r\n", b"\r\r\n\r\r\n\r\n", b"\r\r\n\r", 8),
            (b"aab", b"aaaab", b"aa", 5),
            (b"abab", b"abaabab", b"aba", 7),
        ] {
            let protocol = Delimited::new(delimiter);
            assert_unpacks(&protocol, input, message(expected, consumed));
        }
    }

    #[test]
    fn need_more_states_how_many_bytes_the_delimiter_lacks() {
        let protocol = Delimited::new(b"abac");
        for (input, at_least) in [
            (&b"x"[..], 4),
            (b"xa", 3),
            (b"xab", 2),
            (b"xaba", 1),
            (b"xabab", 2),
            (b"xababa", 1),
        ] {
            assert_unpacks(&protocol, input, Ok(Unpacked::NeedMore { at_least }));
        }
    }

    #[test]
    fn a_message_at_the_limit_is_accepted() {
        let limit = 3;
        let protocol = Delimited::new("--").max_length(limit);
        assert_unpacks(&protocol, b"abc--", message(b"abc", 5));
        assert_unpacks(&protocol, b"abc-", Ok(Unpacked::NeedMore { at_least: 1 }));
        for input in [&b"abcd"[..], b"abcd--", b"abc-x", b"abcd-", b"-a-b"] {
            assert_unpacks(&protocol, input, Err(DelimitedError::TooLong { limit }));
        }
    }

    #[test]
    fn the_extreme_limits_work() {
        let none = Delimited::new(b"ab").max_length(0);
        assert_unpacks(&none, b"ab", message(b"", 2));
        assert_unpacks(&none, b"a", Ok(Unpacked::NeedMore { at_least: 1 }));
        assert_unpacks(&none, b"b", Err(DelimitedError::TooLong { limit: 0 }));
        let endless = Delimited::new(b"ab").max_length(usize::MAX);
        assert_unpacks(&endless, b"xab", message(b"x", 3));
    }

    #[test]
    fn items_that_the_peer_would_split_differently_are_refused_and_write_nothing() {
        let mut output = Output::detached();
        for (delimiter, item) in [
            (&b"\0"[..], &b"a\0b"[..]),
            (b"\r\n\r\n", b"a\r\n\r\nb"),
            (b"aa", b"baa"),
            (b"aa", b"ba"),
            (b"abab", b"xab"),
        ] {
            let (_, mut encoder) = Delimited::new(delimiter).open();
            assert!(
                encoder.pack(item, &mut output).is_err(),
                "{delimiter:?} in {item:?}"
            );
            let parts: Vec<_> = item.chunks(1).collect();
            assert!(
                encoder.pack_parts(&parts, &mut output).is_err(),
                "{delimiter:?} in {item:?}"
            );
        }
        let (_, mut encoder) = Delimited::new(b"aab").max_length(2).open();
        assert!(encoder.pack(b"xyz", &mut output).is_err());
        assert!(output.is_empty());
        // This item ends with the delimiter's beginning, yet the first delimiter still ends in the right place.
        encoder.pack(b"aa", &mut output).unwrap();
        assert_eq!(output.take(), b"aaaab");
    }

    #[test]
    #[should_panic(expected = "at least 1 byte")]
    fn an_empty_delimiter_panics() {
        Delimited::new(b"");
    }

    #[test]
    fn a_byte_is_found_at_every_position() {
        for length in 0..100 {
            for fill in [b'a', b'\n' + 1, b'\n' | 0x80, 0, 0xFF] {
                let mut haystack = vec![fill; length];
                assert_eq!(find_byte(&haystack, b'\n'), None, "{length} of {fill}");
                for at in (0..length).rev() {
                    haystack[at] = b'\n';
                    assert_eq!(
                        find_byte(&haystack, b'\n'),
                        Some(at),
                        "{at} in {length} of {fill}"
                    );
                }
            }
        }
    }
}
