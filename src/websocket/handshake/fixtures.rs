//! Fixtures of the tests: the example of RFC 6455, whole and damaged, and an application to try requests on.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::{Handshake, HandshakeError, Progress, Rules};
use crate::Address;
use crate::http::head::HeadLimits;
use crate::http::{Request, Response};
use crate::websocket::accept::{Accept, Answer};
use crate::websocket::hosts::Hosts;
use crate::websocket::origin::Origins;

/// The client's request of RFC 6455 section 1.2, with the Sec-WebSocket-Protocol that it has there.
pub(super) const RFC_REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The server's response to it, with the subprotocol that it chooses there.
pub(super) const RFC_RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

pub(super) static PEER: Address = Address::Ip(SocketAddr::V4(SocketAddrV4::new(
    Ipv4Addr::LOCALHOST,
    40_000,
)));

/// Accepts requests for any path but `/closed`, speaks `chat`, and has a page and a wrong one.
pub(super) struct Doors;

impl Accept for Doors {
    type State = String;

    fn upgrade(&self, request: &Request<'_>) -> Answer<String> {
        let answer = match request.path() {
            "/closed" => Answer::reject(Response::text(403, "closed\n")),
            "/split" => Answer::reject(Response::new(403).header("X-Name", "a\r\nb: c")),
            path => Answer::accept(path.to_owned()),
        };
        let answer = match request.query() {
            Some("unoffered") => answer.subprotocol("mqtt"),
            Some("other-case") => answer.subprotocol("CHAT"),
            Some("header") => answer.header("Set-Cookie", "a=1").header("X-Room", "hall"),
            Some("split") => answer.header("X-Name", "a\r\nb: c"),
            Some("reserved") => answer.header("Sec-WebSocket-Accept", "x"),
            _ => answer,
        };
        match request.subprotocols().find(|offered| *offered == "chat") {
            Some(chosen) if request.query().is_none() => answer.subprotocol(chosen),
            _ => answer,
        }
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        match request.path() {
            "/" => Some(Response::html("<p>hello")),
            "/split" => Some(Response::new(200).header("X-Name", "a\r\nb: c")),
            _ => None,
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    NeedMore,
    Upgraded {
        consumed: usize,
        response: String,
        state: String,
        subprotocol: Option<String>,
    },
    Answered {
        consumed: usize,
        response: String,
    },
    Refused {
        response: String,
        error: HandshakeError,
    },
}

impl Outcome {
    pub(super) fn status(&self) -> u16 {
        match self {
            Outcome::NeedMore => 0,
            Outcome::Upgraded { response, .. }
            | Outcome::Answered { response, .. }
            | Outcome::Refused { response, .. } => response[9..12].parse().unwrap(),
        }
    }
}

/// The time of all tests: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// Rules that let pages of any origin and requests for any host in.
pub(super) fn rules<A>(accept: &A) -> Rules<'_, A> {
    Rules {
        limits: HeadLimits::default(),
        hosts: const { &Hosts::ANY },
        origins: const { &Origins::ANY },
        accept,
        clock,
    }
}

pub(super) fn read(handshake: &mut Handshake, input: &[u8], origins: &Origins) -> Outcome {
    let rules = Rules {
        origins,
        ..rules(&Doors)
    };
    let text = |response| String::from_utf8(response).unwrap();
    match handshake.read_request(input, &PEER, &rules, |_| None) {
        Progress::NeedMore => Outcome::NeedMore,
        Progress::Upgraded {
            consumed,
            response,
            state,
            subprotocol,
        } => Outcome::Upgraded {
            consumed,
            response: text(response),
            state,
            subprotocol: subprotocol.map(String::from),
        },
        Progress::Answered { consumed, response } => Outcome::Answered {
            consumed,
            response: text(response),
        },
        Progress::Refused { response, error } => {
            let response = text(response);
            let outcome = Outcome::Refused { response, error };
            assert_eq!(outcome.status(), error.status());
            outcome
        }
        Progress::Panicked { .. } => unreachable!("the doors do not panic"),
    }
}

pub(super) fn at_once(input: &[u8]) -> Outcome {
    read(&mut Handshake::new(), input, &Origins::any())
}

/// The outcome when the input comes byte by byte, and the number of bytes that it took.
pub(super) fn byte_by_byte(input: &[u8]) -> (Outcome, usize) {
    let mut handshake = Handshake::new();
    for length in 1..=input.len() {
        let outcome = read(&mut handshake, &input[..length], &Origins::any());
        if outcome != Outcome::NeedMore {
            return (outcome, length);
        }
    }
    (Outcome::NeedMore, input.len())
}

/// The outcome when the input comes in two parts.
pub(super) fn cut_at(cut: usize, input: &[u8]) -> Outcome {
    let mut handshake = Handshake::new();
    match read(&mut handshake, &input[..cut], &Origins::any()) {
        Outcome::NeedMore => read(&mut handshake, input, &Origins::any()),
        outcome => outcome,
    }
}

pub(super) fn error_of(input: &[u8]) -> Option<HandshakeError> {
    match at_once(input) {
        Outcome::Refused { error, .. } => Some(error),
        _ => None,
    }
}

/// The request of the RFC with one line replaced, or taken out where the new one is empty.
pub(super) fn with_line(name: &str, line: &str) -> String {
    let old = RFC_REQUEST
        .split_inclusive("\r\n")
        .find(|line| line.starts_with(name))
        .expect(name);
    let new = if line.is_empty() {
        String::new()
    } else {
        format!("{line}\r\n")
    };
    RFC_REQUEST.replacen(old, &new, 1)
}

/// The request of the RFC with a line more.
pub(super) fn with_also(line: &str) -> String {
    with_line("Host", &format!("Host: server.example.com\r\n{line}"))
}

/// The RFC's message with some bytes changed, taken out or put in, cut at will.
pub(super) fn damaged(message: &'static str) -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&b"\r\n\t :,/\0\x7f\xff"[..]),
    ];
    let length = message.len();
    let edits = prop::collection::vec((0..length, 0..3u8, byte), 0..6);
    let cuts = prop::collection::vec(0..length, 0..6);
    (edits, cuts).prop_map(move |(edits, mut cuts)| {
        let mut bytes = message.as_bytes().to_vec();
        for (at, kind, byte) in edits {
            let at = at.min(bytes.len() - 1);
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        cuts.retain(|cut| *cut < bytes.len());
        cuts.sort_unstable();
        (bytes, cuts)
    })
}
