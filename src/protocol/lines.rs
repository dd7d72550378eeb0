//! The protocol of text lines.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::delimited::find_byte;
use super::{Decode, Encode, Output, PackError, Protocol, UnpackContext, Unpacked};

/// Lines of UTF-8 text, ended by LF or CRLF.
///
/// A message is a line without its ending; it may be empty. Both endings are accepted, even mixed. In `"a\r\r\n"` one
/// CR belongs to the ending, and the line is `"a\r"`. Bytes after the last ending are not a line yet.
///
/// Lines are sent with LF, or with CRLF after [`crlf`](Self::crlf). An item that contains CR or LF is a [`PackError`],
/// and so is one longer than the limit, because a peer with the same configuration could not read it back.
///
/// The limit counts the bytes of a line without its ending. It is 64 KiB by default and applies in both directions.
/// Input is refused as soon as it exceeds the limit, even before the line has ended. Each byte is searched for an
/// ending only once, however small the pieces in which the input arrives.
///
/// ```
/// use ringwheel::protocol::{Decode, Encode, Lines, Output, Protocol, UnpackContext, Unpacked};
///
/// let (mut decoder, mut encoder) = Lines::new().crlf().open();
/// let mut output = Output::detached();
/// let mut input = *b"one\ntwo\r\n";
/// let unpacked = decoder.unpack(&mut input, &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: "one", consumed: 4 }));
/// let unpacked = decoder.unpack(&mut input[4..], &mut UnpackContext::detached(&mut output, &mut encoder));
/// assert_eq!(unpacked, Ok(Unpacked::Message { message: "two", consumed: 5 }));
///
/// encoder.pack("three", &mut output)?;
/// assert_eq!(output.take(), b"three\r\n");
/// # Ok::<(), ringwheel::protocol::PackError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    max_length: usize,
    ending: &'static [u8],
}

impl Lines {
    /// Default limit of a line's length without its ending, in bytes: 64 KiB. See [`max_length`](Self::max_length).
    pub const DEFAULT_MAX_LENGTH: usize = 64 * 1024;

    /// Lines that are sent with LF.
    pub const fn new() -> Self {
        Lines {
            max_length: Self::DEFAULT_MAX_LENGTH,
            ending: b"\n",
        }
    }

    /// Accepts lines of at most `bytes` bytes, not counting the ending.
    #[must_use]
    pub const fn max_length(self, bytes: usize) -> Self {
        Lines {
            max_length: bytes,
            ..self
        }
    }

    /// Sends lines with CRLF.
    #[must_use]
    pub const fn crlf(self) -> Self {
        Lines {
            ending: b"\r\n",
            ..self
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Lines::new()
    }
}

impl Protocol for Lines {
    type Decoder = LinesDecoder;
    type Encoder = Lines;

    fn open(&self) -> (LinesDecoder, Lines) {
        (
            LinesDecoder {
                max_length: self.max_length,
                searched: 0,
            },
            *self,
        )
    }
}

/// The reading half of [`Lines`].
#[derive(Debug)]
pub struct LinesDecoder {
    max_length: usize,
    /// Bytes at the front of the input that are known to hold no LF.
    searched: usize,
}

impl LinesDecoder {
    /// Sets the longest line that is accepted from now on, in bytes without the line break: for
    /// [`Conn::update_decoder`](crate::Conn::update_decoder).
    ///
    /// ```
    /// use ringwheel::{Conn, protocol::Lines};
    ///
    /// /// A user that has logged in may send lines of up to 1 MiB.
    /// fn on_login(conn: &mut Conn<'_, Lines>) {
    ///     conn.update_decoder(|decoder| decoder.set_max_length(1 << 20));
    /// }
    /// ```
    pub fn set_max_length(&mut self, bytes: usize) {
        self.max_length = bytes;
    }
}

impl Decode for LinesDecoder {
    type Encoder = Lines;
    type Message<'a> = &'a str;
    type Error = LinesError;

    #[inline]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, Lines>,
    ) -> Result<Unpacked<&'a str>, LinesError> {
        // A line within the limit has its LF within this many bytes: the line, CR, LF.
        let reach = input.len().min(self.max_length.saturating_add(2));
        let found = find_byte(&input[self.searched..reach], b'\n');
        let end = found.map_or(reach, |at| self.searched + at);

        // While the LF is missing, a CR at the end may still turn out to belong to the ending.
        let line = without_trailing_cr(&input[..end]);
        if line.len() > self.max_length {
            return Err(LinesError::TooLong {
                limit: self.max_length,
            });
        }
        if found.is_none() {
            self.searched = end;
            return Ok(Unpacked::NeedMore { at_least: 1 });
        }
        self.searched = 0;
        match std::str::from_utf8(line) {
            Ok(message) => Ok(Unpacked::Message {
                message,
                consumed: end + 1,
            }),
            Err(error) => Err(LinesError::InvalidUtf8 {
                position: error.valid_up_to(),
            }),
        }
    }
}

#[inline]
fn without_trailing_cr(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

impl Encode for Lines {
    type Item<'a> = &'a str;
    type Owned = Arc<str>;

    #[inline]
    fn borrow(owned: &Arc<str>) -> &str {
        owned
    }

    fn owned_size(owned: &Arc<str>) -> usize {
        owned.len()
    }

    #[inline]
    fn pack(&mut self, item: &str, output: &mut Output) -> Result<(), PackError> {
        if item.len() > self.max_length {
            return Err(PackError("it is longer than a line may be"));
        }
        if contains_line_break(item.as_bytes()) {
            return Err(PackError("it contains a line break"));
        }
        output.put_pair(item.as_bytes(), self.ending);
        Ok(())
    }
}

/// True if `bytes` contains CR or LF. The loop has no early exit, so that it compiles to vector instructions; if it is
/// inlined into a branch, it does not.
#[inline(never)]
fn contains_line_break(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(false, |any, &byte| any | (byte == b'\r') | (byte == b'\n'))
}

/// The reason why [`Lines`] refused its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinesError {
    /// A line is longer than the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line is not UTF-8.
    InvalidUtf8 {
        /// Bytes of the line before the first invalid one.
        position: usize,
    },
}

impl fmt::Display for LinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinesError::TooLong { limit } => write!(f, "a line is longer than {limit} bytes"),
            LinesError::InvalidUtf8 { position } => {
                write!(f, "a line is not UTF-8 from its byte {position} on")
            }
        }
    }
}

impl Error for LinesError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_set_later_holds_from_then_on() {
        let (mut decoder, mut encoder) = Lines::new().max_length(4).open();
        let (mut output, mut input) = (Output::detached(), *b"hello\n");
        let mut context = UnpackContext::detached(&mut output, &mut encoder);
        assert!(decoder.unpack(&mut input, &mut context).is_err());
        let (mut decoder, _) = Lines::new().max_length(4).open();
        decoder.set_max_length(5);
        let line = decoder.unpack(&mut input, &mut context);
        assert!(matches!(
            line,
            Ok(Unpacked::Message {
                message: "hello",
                ..
            })
        ));
        decoder.set_max_length(3);
        assert!(decoder.unpack(&mut input, &mut context).is_err());
    }

    #[track_caller]
    fn assert_unpacks(protocol: Lines, input: &[u8], expected: Result<Unpacked<&str>, LinesError>) {
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

    fn line(message: &str, consumed: usize) -> Result<Unpacked<&str>, LinesError> {
        Ok(Unpacked::Message { message, consumed })
    }

    #[test]
    fn one_cr_belongs_to_the_ending() {
        for (input, message) in [
            (&b"\n"[..], ""),
            (b"\r\n", ""),
            (b"\r\r\n", "\r"),
            (b"a\n", "a"),
            (b"a\r\n", "a"),
            (b"a\rb\r\r\n", "a\rb\r"),
        ] {
            assert_unpacks(Lines::new(), input, line(message, input.len()));
        }
    }

    #[test]
    fn a_line_at_the_limit_is_accepted_with_either_ending() {
        let limit = 3;
        let protocol = Lines::new().max_length(limit);
        assert_unpacks(protocol, b"abc\n", line("abc", 4));
        assert_unpacks(protocol, b"abc\r\n", line("abc", 5));
        for input in [
            &b"abcd"[..],
            b"abcd\n",
            b"abc\rx",
            b"abc\r\r",
            b"abc\r\r\n",
            b"\r\r\r\r\r\n",
        ] {
            assert_unpacks(protocol, input, Err(LinesError::TooLong { limit }));
        }
        for input in [&b"abc"[..], b"abc\r"] {
            assert_unpacks(protocol, input, Ok(Unpacked::NeedMore { at_least: 1 }));
        }
    }

    #[test]
    fn the_extreme_limits_work() {
        assert_unpacks(Lines::new().max_length(0), b"\r\n", line("", 2));
        assert_unpacks(
            Lines::new().max_length(0),
            b"a",
            Err(LinesError::TooLong { limit: 0 }),
        );
        assert_unpacks(Lines::new().max_length(usize::MAX), b"a\n", line("a", 2));
    }

    #[test]
    fn invalid_utf8_is_an_error_with_its_position() {
        let at = |position| Err(LinesError::InvalidUtf8 { position });
        assert_unpacks(Lines::new(), b"ab\xFFcd\n", at(2));
        assert_unpacks(Lines::new(), b"\xC3\xA9\xC3\n", at(2));
        assert_unpacks(Lines::new(), b"\xC3\xA9\r\n\xFF", line("\u{e9}", 4));
    }

    #[test]
    fn items_with_a_line_break_or_beyond_the_limit_are_refused_and_write_nothing() {
        let (_, mut encoder) = Lines::new().max_length(100).open();
        let mut output = Output::detached();
        for at in 0..80 {
            for line_break in ["\r", "\n"] {
                let mut item = "x".repeat(79);
                item.insert_str(at, line_break);
                assert!(
                    encoder.pack(&item, &mut output).is_err(),
                    "{line_break:?} at {at}"
                );
            }
        }
        assert!(encoder.pack(&"x".repeat(101), &mut output).is_err());
        assert!(output.is_empty());
        encoder.pack(&"x".repeat(100), &mut output).unwrap();
        assert_eq!(output.len(), 101);
    }

    #[test]
    fn lines_are_written_with_the_chosen_ending() {
        let mut output = Output::detached();
        Lines::new().open().1.pack("lf", &mut output).unwrap();
        Lines::new()
            .crlf()
            .open()
            .1
            .pack("crlf", &mut output)
            .unwrap();
        Lines::new().open().1.pack("", &mut output).unwrap();
        assert_eq!(output.take(), b"lf\ncrlf\r\n\n");
    }
}
