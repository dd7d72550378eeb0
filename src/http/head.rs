//! The search for the end of a head, within its limits; and the status line of a response.

use std::ops::Range;
use std::str;

use httparse::Header;

use super::fields::is_token_byte;

/// The limits of the head of a request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// The most bytes, with the empty line that ends the head; `u32::MAX` at most.
    pub(crate) bytes: usize,
    /// The most header fields.
    pub(crate) fields: usize,
}

impl HeadLimits {
    /// 8 KiB, as common servers have it: room for cookies and a token.
    pub(crate) const DEFAULT_BYTES: usize = 8 * 1024;
    /// Browsers send about fifteen, and each proxy adds a few.
    pub(crate) const DEFAULT_FIELDS: usize = 64;

    /// Room for the fields of a head with `head_length` bytes, of which a field takes at least four. It is on the heap, since
    /// the limit may be any number; a connection needs it once.
    pub(crate) fn storage<'a>(&self, head_length: usize) -> Vec<Header<'a>> {
        vec![httparse::EMPTY_HEADER; self.fields.min(head_length / 4)]
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits {
            bytes: Self::DEFAULT_BYTES,
            fields: Self::DEFAULT_FIELDS,
        }
    }
}

/// The search for the end of a head. It goes on where it stopped, so that input which comes byte by byte costs no more than
/// input in one piece.
///
/// Invariant: the first `searched` bytes are valid where they stand, and the next one stands at `place`.
#[derive(Debug)]
pub(crate) struct HeadSearch {
    searched: u32,
    /// Bytes of empty lines before the head.
    skipped: u8,
    place: Place,
}

/// The part of a head that a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before a request, where there may be empty lines.
    Start,
    /// After the CR of an empty line before a request.
    EmptyLine,
    Method,
    Target,
    Version,
    StatusLine,
    /// After the CR of a line.
    LineEnd,
    LineStart,
    FieldName,
    FieldValue,
    /// After the CR of the empty line.
    HeadEnd,
    /// Behind the head.
    Behind,
}

/// The reasons for which a head is refused before it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFault {
    FirstLine,
    FirstLineTooLong,
    MethodTooLong,
    Field,
    TooLong,
}

impl HeadSearch {
    /// The longest method that is accepted. Those of RFC 9110 have at most 7 letters, those of WebDAV up to 16.
    const MAX_METHOD: usize = 16;
    /// The most empty lines that are skipped before a request. Old clients send one behind a body.
    pub(crate) const MAX_EMPTY_LINES: u8 = 4;

    /// A search in a head that begins at `place`: [`Place::Start`] or [`Place::StatusLine`].
    pub(crate) fn new(place: Place) -> Self {
        HeadSearch {
            searched: 0,
            skipped: 0,
            place,
        }
    }

    /// The place of the head in the input, once it is whole. No byte before `searched` is looked at again. The `limit` on bytes
    /// includes empty lines before a request, which are not part of the head.
    ///
    /// This is stricter than a tolerant receiver may be: a line ends in CR and LF, and none is folded. Requests are smuggled by
    /// bytes that mean different things to different receivers.
    pub(crate) fn find_head(
        &mut self,
        input: &[u8],
        limit: usize,
    ) -> Result<Option<Range<usize>>, HeadFault> {
        let limit = limit.min(u32::MAX as usize);
        let within = &input[..input.len().min(limit)];
        debug_assert!(
            within.len() >= self.searched as usize,
            "input was taken away"
        );
        for (position, &byte) in within.iter().enumerate().skip(self.searched as usize) {
            let length = position - self.skipped as usize;
            self.place = self
                .after(byte, length)
                .ok_or_else(|| self.fault_of(byte))?;
            match self.place {
                // An empty line is over: it has two bytes.
                Place::Start => self.skipped += 2,
                Place::Behind => return Ok(Some(self.skipped as usize..position + 1)),
                _ => {}
            }
        }
        self.searched = within.len() as u32;
        if within.len() < limit {
            return Ok(None);
        }
        Err(match self.fault() {
            HeadFault::FirstLine => HeadFault::FirstLineTooLong,
            _ => HeadFault::TooLong,
        })
    }

    /// The bytes before the head, as far as the search has come: empty lines.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped.into()
    }

    /// The place of the byte after `byte`, before which the head has `length` bytes; `None` if `byte` is not valid at its own
    /// place.
    fn after(&self, byte: u8, length: usize) -> Option<Place> {
        const STATUS_LINE: &[u8] = b"HTTP/1.";
        match (self.place, byte) {
            (Place::Start, b'\r') if self.skipped < 2 * Self::MAX_EMPTY_LINES => {
                Some(Place::EmptyLine)
            }
            (Place::EmptyLine, b'\n') => Some(Place::Start),
            (Place::Start, _) if is_token_byte(byte) => Some(Place::Method),
            (Place::Method, b' ') => Some(Place::Target),
            (Place::Method, _) if is_token_byte(byte) && length < Self::MAX_METHOD => {
                Some(Place::Method)
            }
            (Place::Target, b' ') => Some(Place::Version),
            (Place::Target, _) if byte.is_ascii_graphic() => Some(Place::Target),
            (Place::Version, b'\r') => Some(Place::LineEnd),
            (Place::Version, b'H' | b'T' | b'P' | b'/' | b'.' | b'0'..=b'9') => {
                Some(Place::Version)
            }
            (Place::StatusLine, _) if length < STATUS_LINE.len() => {
                (byte == STATUS_LINE[length]).then_some(Place::StatusLine)
            }
            (Place::StatusLine | Place::FieldValue, b'\r') => Some(Place::LineEnd),
            (Place::StatusLine | Place::FieldValue, b'\t' | b' '..=b'~' | 0x80..) => {
                Some(self.place)
            }
            (Place::LineEnd, b'\n') => Some(Place::LineStart),
            (Place::LineStart, b'\r') => Some(Place::HeadEnd),
            (Place::LineStart, _) if is_token_byte(byte) => Some(Place::FieldName),
            (Place::FieldName, b':') => Some(Place::FieldValue),
            (Place::FieldName, _) if is_token_byte(byte) => Some(Place::FieldName),
            (Place::HeadEnd, b'\n') => Some(Place::Behind),
            _ => None,
        }
    }

    /// The fault that `byte` is, which is not valid at this place.
    fn fault_of(&self, byte: u8) -> HeadFault {
        match self.place {
            Place::Method if is_token_byte(byte) => HeadFault::MethodTooLong,
            _ => self.fault(),
        }
    }

    /// The fault of a head that does not go on from this place.
    fn fault(&self) -> HeadFault {
        match self.place {
            Place::Start
            | Place::EmptyLine
            | Place::Method
            | Place::Target
            | Place::Version
            | Place::StatusLine => HeadFault::FirstLine,
            _ => HeadFault::Field,
        }
    }
}

/// The first line without its end, and the lines behind it.
pub(crate) fn split_first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = head.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&head[..end], &head[end + 2..]))
}

/// The minor version and the status code of a response in HTTP/1 (RFC 9112 section 4). The reason may be anything, or left
/// out with its space.
pub(crate) fn parse_status_line(line: &[u8]) -> Option<(u8, u16)> {
    let (minor, code) = match line.strip_prefix(b"HTTP/1.")? {
        [minor @ b'0'..=b'9', b' ', code @ ..] => (minor - b'0', code),
        _ => return None,
    };
    let code = match code {
        [a, b, c] | [a, b, c, b' ', ..] => [*a, *b, *c],
        _ => return None,
    };
    let digits = code.iter().all(u8::is_ascii_digit);
    let status = str::from_utf8(&code).ok()?.parse().ok()?;
    digits.then_some((minor, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nCookie: a=1\r\n\r\n";
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// Every byte that was looked at once is spoiled before the next call, so a second look would refuse the head.
    #[test]
    fn what_was_searched_is_not_searched_again() {
        for (start, text) in [(Place::Start, REQUEST), (Place::StatusLine, RESPONSE)] {
            for step in [1, 2, 3, 7, 100] {
                let mut head = HeadSearch::new(start);
                let mut length = step;
                while length < text.len() {
                    let mut input = text.as_bytes()[..length].to_vec();
                    input[..length - step].fill(0);
                    assert_eq!(head.find_head(&input, text.len()), Ok(None));
                    assert_eq!(head.searched as usize, length);
                    length += step;
                }
                let found = head.find_head(text.as_bytes(), text.len());
                assert_eq!(found, Ok(Some(0..text.len())), "in steps of {step}");
            }
        }
    }

    /// The result of a search in `input` that comes in two parts, cut at `cut`.
    fn find_cut(input: &[u8], cut: usize, limit: usize) -> Result<Option<Range<usize>>, HeadFault> {
        let mut search = HeadSearch::new(Place::Start);
        match search.find_head(&input[..cut], limit) {
            Ok(None) => search.find_head(input, limit),
            found => found,
        }
    }

    #[test]
    fn rfc_9112_section_2_2_empty_lines_before_a_request_are_skipped() {
        for lines in 0..=6 {
            let input = "\r\n".repeat(lines) + REQUEST;
            let expected = match lines <= usize::from(HeadSearch::MAX_EMPTY_LINES) {
                true => Ok(Some(2 * lines..input.len())),
                false => Err(HeadFault::FirstLine),
            };
            for cut in 0..=input.len() {
                let found = find_cut(input.as_bytes(), cut, input.len());
                assert_eq!(found, expected, "{lines} lines, cut at {cut}");
            }
            // They count as bytes of the head.
            if lines > 0 {
                let found = find_cut(input.as_bytes(), 0, input.len() - 1);
                assert!(found.is_err(), "{lines}");
            }
        }
    }

    #[test]
    fn an_empty_line_has_cr_and_lf() {
        for input in [
            "\nGET / HTTP/1.1\r\n\r\n",
            "\rGET / HTTP/1.1\r\n\r\n",
            "\r\r\nGET / HTTP/1.1\r\n\r\n",
            "\r\n\nGET / HTTP/1.1\r\n\r\n",
            "\r\n GET / HTTP/1.1\r\n\r\n",
            " \r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            for cut in 0..=input.len() {
                let found = find_cut(input.as_bytes(), cut, 1000);
                assert_eq!(found, Err(HeadFault::FirstLine), "{input:?} cut at {cut}");
            }
        }
        let mut response = HeadSearch::new(Place::StatusLine);
        let input = format!("\r\n{RESPONSE}");
        let found = response.find_head(input.as_bytes(), 1000);
        assert_eq!(found, Err(HeadFault::FirstLine), "only before requests");
    }

    #[test]
    fn a_method_has_at_most_16_letters_whatever_comes_before_it() {
        for start in ["", "\r\n", "\r\n\r\n\r\n"] {
            for (length, fault) in [(16, None), (17, Some(HeadFault::MethodTooLong))] {
                let input = format!("{start}{} / HTTP/1.1\r\n\r\n", "M".repeat(length));
                for cut in 0..=input.len() {
                    let found = find_cut(input.as_bytes(), cut, 1000);
                    assert_eq!(found.err(), fault, "{input:?} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn rfc_9112_section_4_status_lines() {
        for (line, expected) in [
            ("HTTP/1.1 200 OK", Some((1, 200))),
            ("HTTP/1.0 404 Not Found", Some((0, 404))),
            ("HTTP/1.9 101 ", Some((9, 101))),
            ("HTTP/1.1 101", Some((1, 101))),
            ("HTTP/1.1 999 caf\u{e9}", Some((1, 999))),
            ("HTTP/1.10 200 OK", None),
            ("HTTP/1. 200 OK", None),
            ("HTTP/2.0 200 OK", None),
            ("http/1.1 200 OK", None),
            ("HTTP/1.1  200 OK", None),
            ("HTTP/1.1 20 OK", None),
            ("HTTP/1.1 2000", None),
            ("HTTP/1.1 +20", None),
            ("HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(parse_status_line(line.as_bytes()), expected, "{line:?}");
        }
    }
}
