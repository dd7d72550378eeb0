//! Heads that are refused before they are whole: by their first wrong byte, or at a limit.

use super::super::fixtures::{
    PEER, RFC_REQUEST, at_once, byte_by_byte, error_of, rules, with_also,
};
use super::*;
use crate::websocket::accept::AcceptAll;

#[test]
fn what_cannot_be_a_request_is_refused_with_its_first_wrong_byte() {
    for (input, refused_after) in [
        // TLS: handshake record, version 3.1.
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 1),
        (b"\n", 1),
        (b"\r\r", 2),
        (b"\r\n\r\n\0", 5),
        (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1", 9),
        (b"\x80\x2e\x01\x03\x01", 1),
        (b"\0\0\0\x05hello", 1),
        (b"\xff\xff", 1),
        (b"\x81\x85abcd", 1),
        (b" GET / HTTP/1.1", 1),
        (b"{\"op\":\"hello\"}", 1),
        (b"*1\r\n$4\r\nPING\r\n", 3),
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
fn rfc_9112_section_3_a_method_that_is_too_long_is_not_implemented() {
    for input in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"AVERYLONGMETHODTOKEN",
        b"\r\nAVERYLONGMETHODTOKEN",
    ] {
        let (outcome, length) = byte_by_byte(input);
        assert_eq!(outcome.status(), 501, "{input:?}");
        assert_eq!(length, 17 + 2 * usize::from(input.starts_with(b"\r\n")));
        assert_eq!(at_once(input), outcome);
    }
}

#[test]
fn a_head_without_an_end_is_refused_at_the_limit() {
    const LIMIT: usize = HeadLimits::DEFAULT_BYTES;
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
    const LIMIT: usize = HeadLimits::DEFAULT_BYTES;
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
        let count = HeadLimits::DEFAULT_FIELDS - own + excess;
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
            limits: HeadLimits {
                bytes: head_bytes,
                fields: headers,
            },
            ..rules(&AcceptAll)
        };
        let input = RFC_REQUEST.as_bytes();
        match Handshake::new().read_request(input, &PEER, &rules, |_| None) {
            Progress::Upgraded { .. } => assert_eq!(status, 101),
            Progress::Refused { error, .. } => assert_eq!(error.status(), status),
            other => panic!("{other:?}"),
        }
    }
}
