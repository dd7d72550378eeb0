//! The head of a request or a response: where it ends, and how large it may be.

use httparse::Header;

use crate::websocket::request::is_token_byte;

/// How large the head of a request or a response may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeLimits {
    /// Bytes of the head with the empty line that ends it; no more than `u32::MAX` count.
    pub(crate) head_bytes: usize,
    /// Header fields.
    pub(crate) headers: usize,
}

impl HandshakeLimits {
    /// 8 KiB, as common servers have it: room for cookies and a token.
    pub(crate) const DEFAULT_HEAD_BYTES: usize = 8 * 1024;
    /// Browsers send about fifteen, and each proxy adds a few.
    pub(crate) const DEFAULT_HEADERS: usize = 64;

    /// Room for the fields of a head of so many bytes, of which a field needs at least four. Not on the stack, for the limit
    /// may be any; a connection needs it once.
    pub(super) fn storage<'a>(&self, head_bytes: usize) -> Vec<Header<'a>> {
        vec![httparse::EMPTY_HEADER; self.headers.min(head_bytes / 4)]
    }
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        HandshakeLimits {
            head_bytes: Self::DEFAULT_HEAD_BYTES,
            headers: Self::DEFAULT_HEADERS,
        }
    }
}

/// The search for the end of a head, which goes on where it stopped.
///
/// Invariant: `searched` bytes were looked at, all of them may stand where they do, and the next one is at `place`.
#[derive(Debug)]
pub(super) struct Head {
    searched: u32,
    place: Place,
}

/// Where in a head a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
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

/// Why a head is refused before it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    FirstLine,
    FirstLineTooLong,
    Field,
    TooLong,
}

impl Head {
    /// The longest method that is waited for. Those of RFC 9110 have at most 7 letters, those of WebDAV up to 16.
    const MAX_METHOD: usize = 16;

    pub(super) fn new(place: Place) -> Self {
        Head { searched: 0, place }
    }

    /// The length of the head, once it is whole. No byte before `searched` is looked at again.
    ///
    /// Stricter than a tolerant receiver may be: a line ends in CR and LF, there is no line before the first and none is
    /// folded. What means different things to different receivers is how requests are smuggled.
    pub(super) fn find_end(
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

    /// Where the byte after `byte` stands, or `None` if `byte` cannot stand where it does.
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

    /// What is wrong if something is wrong here.
    fn fault(&self) -> HeadFault {
        match self.place {
            Place::Method | Place::Target | Place::Version | Place::StatusLine => {
                HeadFault::FirstLine
            }
            _ => HeadFault::Field,
        }
    }
}

/// The first line without its end, and what follows.
pub(super) fn split_first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = head.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&head[..end], &head[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        PEER, RFC_REQUEST, RFC_RESPONSE, at_once, byte_by_byte, error_of, with_also,
    };
    use super::super::{Handshake, HandshakeError, Progress, Rules};
    use super::*;
    use crate::websocket::accept::AcceptAll;
    use crate::websocket::origin::Origins;

    /// Every byte that was looked at once is spoiled before the next call, so a second look would refuse the head.
    #[test]
    fn what_was_searched_is_not_searched_again() {
        for (start, text) in [
            (Place::Method, RFC_REQUEST),
            (Place::StatusLine, RFC_RESPONSE),
        ] {
            for step in [1, 2, 3, 7, 100] {
                let mut head = Head::new(start);
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

    #[test]
    fn what_cannot_be_a_request_is_refused_with_its_first_wrong_byte() {
        for (input, refused_after) in [
            // TLS: handshake record, version 3.1.
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 1),
            (b"\x80\x2e\x01\x03\x01", 1),
            (b"\0\0\0\x05hello", 1),
            (b"\xff\xff", 1),
            (b"\x81\x85abcd", 1),
            (b"\r\n\r\nGET / HTTP/1.1", 1),
            (b" GET / HTTP/1.1", 1),
            (b"{\"op\":\"hello\"}", 1),
            (b"*1\r\n$4\r\nPING\r\n", 3),
            (b"SSH-2.0-OpenSSH_9.9\r\n", 17),
            (b"AVERYLONGMETHODTOKEN", 17),
            (b"EHLO mail.example\r\n", 18),
            (b"GET /\r\n", 6),
            (b"GET / FTP/1.1\r\n", 7),
            (b"GET / HTTP/1.1\nHost: a", 15),
            (b"GET / HTTP/1.1\r\nHost a", 21),
            (b"GET / HTTP/1.1\r\n Host: a", 17),
            (b"GET / HTTP/1.1\r\nHost: a\x7fb", 24),
            (b"GET / HTTP/1.1\r\nHost: a\nb", 24),
            (b"GET / HTTP/1.1\r\nHost: a\rb", 25),
        ] {
            let (outcome, length) = byte_by_byte(input);
            assert_eq!(outcome.status(), 400, "{input:?}");
            assert_eq!(length, refused_after, "{input:?}");
            assert_eq!(at_once(input), outcome);
        }
    }

    #[test]
    fn a_head_without_an_end_is_refused_at_the_limit() {
        const LIMIT: usize = HandshakeLimits::DEFAULT_HEAD_BYTES;
        const SIZE: usize = 20 * 1024 * 1024;
        let mut endless_line = b"GET /".to_vec();
        endless_line.resize(SIZE, b'a');
        let mut endless_value = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
        endless_value.resize(SIZE, b'a');
        let fields = b"GET / HTTP/1.1\r\n".iter();
        let endless_fields = fields.chain(b"a: b\r\n".iter().cycle());
        let endless_fields: Vec<u8> = endless_fields.take(SIZE).copied().collect();
        for (input, error) in [
            (endless_line, HandshakeError::RequestLineTooLong),
            (endless_value, HandshakeError::HeadTooLong),
            (endless_fields, HandshakeError::HeadTooLong),
        ] {
            assert_eq!(error_of(&input), Some(error), "in one piece");
            let (outcome, length) = byte_by_byte(&input);
            assert_eq!(length, LIMIT, "byte by byte");
            assert_eq!(outcome, at_once(&input));
        }
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
        const LIMIT: usize = HandshakeLimits::DEFAULT_HEAD_BYTES;
        let padding = LIMIT - with_also("X-Padding: ").len();
        for (excess, status) in [(0, 101), (1, 431)] {
            let request = with_also(&format!("X-Padding: {}", "x".repeat(padding + excess)));
            assert_eq!(request.len(), LIMIT + excess);
            assert_eq!(at_once(request.as_bytes()).status(), status);
            assert_eq!(byte_by_byte(request.as_bytes()).0.status(), status);
        }
    }

    #[test]
    fn there_may_be_as_many_headers_as_the_limit_and_none_more() {
        let own = RFC_REQUEST.matches("\r\n").count() - 2;
        for (excess, status) in [(0, 101), (1, 431)] {
            let count = HandshakeLimits::DEFAULT_HEADERS - own + excess;
            let request = with_also("a:\r\n".repeat(count).trim_end());
            assert_eq!(at_once(request.as_bytes()).status(), status);
        }
    }

    #[test]
    fn limits_may_be_any_number() {
        for (head_bytes, headers, status) in [
            (usize::MAX, usize::MAX, 101),
            (usize::MAX, 0, 431),
            (0, 64, 414),
            (1, 64, 414),
        ] {
            let rules = Rules {
                limits: HandshakeLimits {
                    head_bytes,
                    headers,
                },
                origins: &Origins::any(),
                accept: &AcceptAll,
            };
            let input = RFC_REQUEST.as_bytes();
            match Handshake::new().read_request(input, &PEER, &rules, |_| None) {
                Progress::Upgraded { .. } => assert_eq!(status, 101),
                Progress::Refused { error, .. } => assert_eq!(error.status(), status),
                other => panic!("{other:?}"),
            }
        }
    }
}
