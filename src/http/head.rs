//! The search for the end of a head, within its limits; and the status line of a response.

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
    place: Place,
}

/// The part of a head that a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
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
    Field,
    TooLong,
}

impl HeadSearch {
    /// The longest method that is accepted. Those of RFC 9110 have at most 7 letters, those of WebDAV up to 16.
    const MAX_METHOD: usize = 16;

    /// A search in a head that begins at `place`: [`Place::Method`] or [`Place::StatusLine`].
    pub(crate) fn new(place: Place) -> Self {
        HeadSearch { searched: 0, place }
    }

    /// The length of the head, once it is whole. No byte before `searched` is looked at again.
    ///
    /// This is stricter than a tolerant receiver may be: a line ends in CR and LF, there is no line before the first and none is
    /// folded. Requests are smuggled by bytes that mean different things to different receivers.
    pub(crate) fn find_end(
        &mut self,
        input: &[u8],
        limit: usize,
    ) -> Result<Option<usize>, HeadFault> {
        let limit = limit.min(u32::MAX as usize);
        let within = &input[..input.len().min(limit)];
        debug_assert!(
            within.len() >= self.searched as usize,
            "input was taken away"
        );
        for (position, &byte) in within.iter().enumerate().skip(self.searched as usize) {
            self.place = self.after(byte, position).ok_or(self.fault())?;
            if self.place == Place::Behind {
                return Ok(Some(position + 1));
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

    /// The place of the byte after `byte`; `None` if `byte` is not valid at its own place.
    fn after(&self, byte: u8, position: usize) -> Option<Place> {
        const STATUS_LINE: &[u8] = b"HTTP/1.";
        match (self.place, byte) {
            (Place::Method, b' ') if position > 0 => Some(Place::Target),
            (Place::Method, _) if is_token_byte(byte) && position < Self::MAX_METHOD => {
                Some(Place::Method)
            }
            (Place::Target, b' ') => Some(Place::Version),
            (Place::Target, _) if byte.is_ascii_graphic() => Some(Place::Target),
            (Place::Version, b'\r') => Some(Place::LineEnd),
            (Place::Version, b'H' | b'T' | b'P' | b'/' | b'.' | b'0'..=b'9') => {
                Some(Place::Version)
            }
            (Place::StatusLine, _) if position < STATUS_LINE.len() => {
                (byte == STATUS_LINE[position]).then_some(Place::StatusLine)
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

    /// The fault that an invalid byte at this place is.
    fn fault(&self) -> HeadFault {
        match self.place {
            Place::Method | Place::Target | Place::Version | Place::StatusLine => {
                HeadFault::FirstLine
            }
            _ => HeadFault::Field,
        }
    }
}

/// The first line without its end, and the lines behind it.
pub(crate) fn split_first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = head.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&head[..end], &head[end + 2..]))
}

/// The minor version and the status code of an HTTP/1.0 or 1.1 response (RFC 9112 section 4). The reason may be anything,
/// or left out with its space.
pub(crate) fn parse_status_line(line: &[u8]) -> Option<(u8, u16)> {
    let (minor, code) = match line.strip_prefix(b"HTTP/1.")? {
        [minor @ (b'0' | b'1'), b' ', code @ ..] => (minor - b'0', code),
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
        for (start, text) in [(Place::Method, REQUEST), (Place::StatusLine, RESPONSE)] {
            for step in [1, 2, 3, 7, 100] {
                let mut head = HeadSearch::new(start);
                let mut length = step;
                while length < text.len() {
                    let mut input = text.as_bytes()[..length].to_vec();
                    input[..length - step].fill(0);
                    assert_eq!(head.find_end(&input, text.len()), Ok(None));
                    assert_eq!(head.searched as usize, length);
                    length += step;
                }
                let end = head.find_end(text.as_bytes(), text.len());
                assert_eq!(end, Ok(Some(text.len())), "in steps of {step}");
            }
        }
    }
}
