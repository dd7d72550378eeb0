use std::cell::Cell;

use proptest::prelude::*;

use super::super::ClientHandshakeError;
use super::super::fixtures::{
    Doors, Outcome, PEER, RFC_REQUEST, at_once, byte_by_byte, cut_at, damaged, error_of, read,
    rules, with_also, with_line,
};
use super::*;
use crate::websocket::accept::Answer;

#[test]
fn rfc_6455_section_1_3_example() {
    let Outcome::Upgraded {
        consumed,
        response,
        state,
        subprotocol,
    } = at_once(RFC_REQUEST.as_bytes())
    else {
        panic!("it is the example of the RFC");
    };
    assert_eq!(consumed, RFC_REQUEST.len());
    assert_eq!(
        response,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    assert_eq!(
        (state.as_str(), subprotocol.as_deref()),
        ("/chat", Some("chat"))
    );
}

#[test]
fn a_request_may_be_cut_anywhere_and_frames_may_follow() {
    let whole = at_once(RFC_REQUEST.as_bytes());
    let mut input = RFC_REQUEST.as_bytes().to_vec();
    input.extend_from_slice(b"\x81\x80\0\0\0\0\r\n\r\n");
    for first in 0..input.len() {
        for second in [first + 1, first + 2, first + 3, input.len()] {
            let second = second.min(input.len());
            let mut handshake = Handshake::new();
            let mut outcome = Outcome::NeedMore;
            for length in [first, second, input.len()] {
                if outcome == Outcome::NeedMore {
                    outcome = read(&mut handshake, &input[..length], &Origins::any());
                }
            }
            assert_eq!(outcome, whole, "cut at {first} and {second}");
        }
    }
    assert_eq!(
        byte_by_byte(&input),
        (whole, RFC_REQUEST.len()),
        "the head is all that is waited for"
    );
}

/// Every byte that was looked at once is spoiled before the next call, so a second look would refuse the request.
#[test]
fn no_byte_is_looked_at_twice_before_the_head_is_whole() {
    let cookie = format!("Cookie: {}", "c=\u{e9}; ".repeat(900));
    let request = with_also(&cookie);
    for step in [1, 2, 3, 7, 100, 4000] {
        let mut handshake = Handshake::new();
        let mut length = step;
        while length < request.len() {
            let mut input = request.as_bytes()[..length].to_vec();
            input[..length - step].fill(0);
            assert_eq!(
                read(&mut handshake, &input, &Origins::any()),
                Outcome::NeedMore
            );
            length += step;
        }
        let outcome = read(&mut handshake, request.as_bytes(), &Origins::any());
        assert_eq!(outcome.status(), 101);
    }
}

#[test]
fn rfc_6455_section_4_2_1_what_an_upgrade_may_look_like() {
    for request in [
        with_line("Upgrade", "UPGRADE: WebSocket"),
        with_line("Upgrade", "Upgrade: h2c, websocket"),
        with_line("Upgrade", "Upgrade: ,HTTP/2.0, foo/1.1_a , websocket,"),
        with_line("Upgrade", "Upgrade: h2c\r\nUpgrade:websocket"),
        with_line("Connection", "connection: keep-alive, Upgrade"),
        with_line(
            "Connection",
            "Connection: keep-alive\r\nConnection: uPGRADE",
        ),
        with_line("Connection", "Connection:\t,,upgrade , "),
        with_line("Host", "Host:server.example.com:8080 \t"),
        with_line("Host", "Host: [::1]:1833"),
        with_line("Origin", ""),
        with_line("Origin", "Origin: null"),
        with_line("Sec-WebSocket-Protocol", ""),
        with_line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: "),
        with_line(
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: chat",
        ),
        // The example of section 4.1, which has surplus bits in its last character.
        with_line(
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==",
        ),
        with_line("GET", "GET / HTTP/1.1"),
        with_line("GET", "GET /a/b%20c?d=e&f=%2F? HTTP/1.1"),
        with_line("GET", "GET http://server.example.com/chat HTTP/1.1"),
        with_line("GET", "GET https://server.example.com HTTP/1.1"),
        // RFC 9110 section 2.5: a later minor version is understood as the one that is known.
        with_line("GET", "GET /chat HTTP/1.2"),
        with_line("GET", "GET /chat HTTP/1.9"),
        with_also("Content-Length: 0"),
        with_also("X-Empty:"),
        with_also("X-Text: caf\u{e9}\tand more"),
        with_also("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        // What is not known is declined: it is in the grammar.
        with_also("Sec-WebSocket-Extensions: x-a; b; b=1;\tc = \"\\d\" ,, x-a"),
        with_also("Sec-WebSocket-Extensions: ,"),
        with_also("Sec-WebSocket-Extensions: permessage-deflate; unknown; unknown"),
        // RFC 9112 section 2.2.
        with_line("GET", "\r\nGET /chat HTTP/1.1"),
        with_line("GET", "\r\n\r\n\r\n\r\nGET /chat HTTP/1.1"),
    ] {
        assert_eq!(at_once(request.as_bytes()).status(), 101, "{request}");
        for cut in 0..request.len() {
            let outcome = cut_at(cut, request.as_bytes());
            assert_eq!(outcome, at_once(request.as_bytes()), "{cut} {request}");
        }
        assert_eq!(
            byte_by_byte(request.as_bytes()).0.status(),
            101,
            "{request}"
        );
    }
}

#[test]
fn malformed_upgrades_are_refused_alike_in_one_piece_and_byte_by_byte() {
    use HandshakeError as E;
    let key = |value: &str| with_line("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {value}"));
    let version = |value: &str| {
        with_line(
            "Sec-WebSocket-Version",
            &format!("Sec-WebSocket-Version: {value}"),
        )
    };
    let host = |value: &str| with_line("Host", &format!("Host: {value}"));
    let offer = |value: &str| {
        with_line(
            "Sec-WebSocket-Protocol",
            &format!("Sec-WebSocket-Protocol: {value}"),
        )
    };
    let extensions = |value: &str| with_also(&format!("Sec-WebSocket-Extensions: {value}"));
    let line = |line: &str| with_line("GET", line);
    let cases: &[(String, E)] = &[
        // RFC 9112 section 3: the request line.
        (line(" GET /chat HTTP/1.1"), E::RequestLine),
        (line("GET  /chat HTTP/1.1"), E::RequestLine),
        (line("GET /chat  HTTP/1.1"), E::RequestLine),
        (line("GET\t/chat HTTP/1.1"), E::RequestLine),
        (line("GET /chat HTTP/1.1 "), E::RequestLine),
        (line("GET /chat"), E::RequestLine),
        (line("GET /chat "), E::RequestLine),
        (line("GET /chat HTTP"), E::RequestLine),
        (line("GET /chat HTTP/1"), E::RequestLine),
        (line("GET /chat HTTP/11"), E::RequestLine),
        (line("GET /chat HTTP/1.10"), E::RequestLine),
        (line("GET /chat http/1.1"), E::RequestLine),
        (line("GET /chat HTTPS/1.1"), E::RequestLine),
        (line("GET /ch\u{e9}t HTTP/1.1"), E::RequestLine),
        (line("GET /ch\0t HTTP/1.1"), E::RequestLine),
        (line("GET /ch\rt HTTP/1.1"), E::RequestLine),
        (line("G(T /chat HTTP/1.1"), E::RequestLine),
        (line("AMETHODTHATISLONG /chat HTTP/1.1"), E::UnknownMethod),
        (
            line(&("\r\n".repeat(5) + "GET /chat HTTP/1.1")),
            E::RequestLine,
        ),
        (line("\nGET /chat HTTP/1.1"), E::RequestLine),
        (RFC_REQUEST.replacen("\r\n", "\n", 1), E::RequestLine),
        (RFC_REQUEST.replacen("\r\n", "\r", 1), E::Header),
        (line("GET /chat HTTP/1.0"), E::NoUpgrade),
        (line("GET /chat HTTP/0.9"), E::HttpVersion),
        (line("GET /chat HTTP/2.0"), E::HttpVersion),
        (line("GET /chat HTTP/3.1"), E::HttpVersion),
        (line("get /chat HTTP/1.1"), E::UnknownMethod),
        (line("PROPFIND /chat HTTP/1.1"), E::UnknownMethod),
        (line("POST /chat HTTP/1.1"), E::Method),
        (line("CONNECT server.example.com:80 HTTP/1.1"), E::Method),
        (line("TRACE /chat HTTP/1.1"), E::Method),
        (line("GET * HTTP/1.1"), E::Target),
        (line("OPTIONS ** HTTP/1.1"), E::Target),
        (line("GET chat HTTP/1.1"), E::Target),
        (line("GET /chat#top HTTP/1.1"), E::Target),
        (line("GET ws://server.example.com/ HTTP/1.1"), E::Target),
        (line("GET http://a@b/ HTTP/1.1"), E::Target),
        // RFC 9112 section 5: field lines.
        (with_also("X-Name : value"), E::Header),
        (with_also("X-Name\t: value"), E::Header),
        (with_also(" X-Name: value"), E::Header),
        (with_also("X-Name: one\r\n two"), E::Header),
        (with_also("X-Name: one\r\n\ttwo"), E::Header),
        (with_also("X-Name"), E::Header),
        (with_also(": value"), E::Header),
        (with_also("X Name: value"), E::Header),
        (with_also("X-N\u{e9}me: value"), E::Header),
        (with_also("X-Name: a\0b"), E::Header),
        (with_also("X-Name: a\x7fb"), E::Header),
        (with_also("X-Name: a\x1bb"), E::Header),
        (with_also("X-Name: a\rb"), E::Header),
        (with_also("X-Name: a\nX-Other: b"), E::Header),
        (with_also("X-Name: a\r\r"), E::Header),
        (with_also("a:\r\n".repeat(64).trim_end()), E::TooManyHeaders),
        // RFC 9112 section 3.2: Host.
        (with_line("Host", ""), E::Host),
        (host(""), E::Host),
        (host("a\r\nHost: a"), E::Host),
        (host("a\r\nhost: b"), E::Host),
        (host("a, b"), E::Host),
        (host("a b"), E::Host),
        (host("a/b"), E::Host),
        (host("user@a"), E::Host),
        (host("a:port"), E::Host),
        (host("a:70000"), E::Host),
        (host("[::1"), E::Host),
        (host("caf\u{e9}"), E::Host),
        (host("a%2"), E::Host),
        // RFC 9112 section 6: no body.
        (with_also("Content-Length: 5"), E::Body),
        (with_also("Content-Length: -0"), E::Body),
        (with_also("Content-Length: 0x0"), E::Body),
        (with_also("Content-Length: 0, 0"), E::Body),
        (with_also("Content-Length:"), E::Body),
        (with_also("Content-Length: 0\r\nContent-Length: 0"), E::Body),
        (with_also("Transfer-Encoding: chunked"), E::Body),
        (with_also("transfer-encoding: identity"), E::Body),
        (
            with_also("Content-Length: 0\r\nTransfer-Encoding: chunked"),
            E::Body,
        ),
        // RFC 6455 section 4.2.1.
        (with_line("Upgrade", ""), E::NoUpgrade),
        (with_line("Upgrade", "Upgrade: websocket/13"), E::NoUpgrade),
        (with_line("Upgrade", "Upgrade: web socket"), E::NoUpgrade),
        (line("HEAD /chat HTTP/1.1"), E::NoUpgrade),
        (with_line("Connection", ""), E::Connection),
        (
            with_line("Connection", "Connection: keep-alive"),
            E::Connection,
        ),
        (
            with_line("Connection", "Connection: close upgrade"),
            E::Connection,
        ),
        (
            with_line("Connection", "Connection: upgrade, keep alive"),
            E::Connection,
        ),
        (
            with_line("Connection", "Connection: upgrade, \"close\""),
            E::Connection,
        ),
        (with_line("Upgrade", "Upgrade: websocket, h2 c"), E::Upgrade),
        (with_line("Upgrade", "Upgrade: /1, websocket"), E::Upgrade),
        (with_line("Upgrade", "Upgrade: websocket, h2c/"), E::Upgrade),
        (
            with_line("Upgrade", "Upgrade: websocket, a/1/2"),
            E::Upgrade,
        ),
        (
            with_line("Upgrade", "Upgrade: websocket\r\nUpgrade: \"a\""),
            E::Upgrade,
        ),
        (with_line("Sec-WebSocket-Version", ""), E::WebSocketVersion),
        (version(""), E::WebSocketVersion),
        (version("12"), E::WebSocketVersion),
        (version("013"), E::WebSocketVersion),
        (version("+13"), E::WebSocketVersion),
        (version("13, 8"), E::WebSocketVersion),
        (
            version("13\r\nSec-WebSocket-Version: 13"),
            E::WebSocketVersion,
        ),
        (with_line("Sec-WebSocket-Key", ""), E::Key),
        (key(""), E::Key),
        (key("dGhlIHNhbXBsZSBub25jZQ"), E::Key),
        (key("dGhlIHNhbXBsZSBub25jZQ="), E::Key),
        (key("dGhlIHNhbXBsZSBub25jZTE="), E::Key),
        (key("dGhlIHNhbXBsZSBub25jZTEy"), E::Key),
        (key("dGhlIHNhbXBsZSBub25jZ==="), E::Key),
        (key("dGhlIHNhbXBsZSBub2_jZQ=="), E::Key),
        (key("dGhlIHNhbXBs ZSBub25jZQ="), E::Key),
        (key("dGhlIHNhbXBsZSBub25jZTEyMzQ1Njc4OTA="), E::Key),
        (key(&"A".repeat(4000)), E::Key),
        (
            key("dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
            E::Key,
        ),
        (offer("chat room"), E::Subprotocols),
        (offer("chat, ch@t"), E::Subprotocols),
        (offer("\"chat\""), E::Subprotocols),
        (offer("chat, superchat, chat"), E::Subprotocols),
        (
            offer("chat\r\nSec-WebSocket-Protocol: chat"),
            E::Subprotocols,
        ),
        // RFC 6455 section 9.1.
        (extensions(";"), E::Extensions),
        (extensions("permessage-deflate;"), E::Extensions),
        (extensions("permessage-deflate; ; a"), E::Extensions),
        (extensions("permessage-deflate; a="), E::Extensions),
        (extensions("permessage-deflate; a=\"b c\""), E::Extensions),
        (extensions("permessage-deflate; a=\"b"), E::Extensions),
        (extensions("permessage-deflate, x y"), E::Extensions),
        (extensions("\"permessage-deflate\""), E::Extensions),
        (extensions("x; a=(b)"), E::Extensions),
        (extensions("caf\u{e9}"), E::Extensions),
        (
            extensions("x\r\nSec-WebSocket-Extensions: y;"),
            E::Extensions,
        ),
        (
            offer("chat\r\nSec-WebSocket-Protocol: caf\u{e9}"),
            E::Subprotocols,
        ),
    ];
    assert!(cases.len() >= 60);
    for (request, error) in cases {
        let outcome = at_once(request.as_bytes());
        let Outcome::Refused { error: found, .. } = &outcome else {
            panic!("not refused: {request:?}");
        };
        assert_eq!(found, error, "{request:?}");
        assert_eq!(byte_by_byte(request.as_bytes()).0, outcome, "{request:?}");
        for cut in 0..request.len().min(1000) {
            assert_eq!(
                cut_at(cut, request.as_bytes()),
                outcome,
                "{cut} {request:?}"
            );
        }
    }
}

#[test]
fn rfc_6455_section_4_2_1_a_thousand_subprotocols_are_compared_at_once() {
    let offered: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    let offer = |names: &[String]| {
        let value = format!("Sec-WebSocket-Protocol: {}", names.join(","));
        with_line("Sec-WebSocket-Protocol", &value)
    };
    assert_eq!(at_once(offer(&offered).as_bytes()).status(), 101);
    let twice = [&offered[..], &offered[500..501]].concat();
    let error = error_of(offer(&twice).as_bytes());
    assert_eq!(error, Some(HandshakeError::Subprotocols));
}

#[test]
fn rfc_9113_section_3_4_the_preface_of_http_2_is_another_version() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(error_of(preface), Some(HandshakeError::HttpVersion));
}

#[test]
fn a_plain_request_gets_the_applications_answer() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let Outcome::Answered { consumed, response } = at_once(get.as_bytes()) else {
        panic!("there is a page");
    };
    assert_eq!(consumed, get.len());
    assert_eq!(
        response,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Length: 8\r\n\r\n<p>hello"
    );
    let head = get.replace("GET", "HEAD");
    let Outcome::Answered {
        response: to_head, ..
    } = at_once(head.as_bytes())
    else {
        panic!("there is a page");
    };
    assert_eq!(Some(to_head.as_str()), response.strip_suffix("<p>hello"));
}

#[test]
fn rfc_9110_section_7_8_another_upgrade_is_ignored() {
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(at_once(request.as_bytes()).status(), 200);
}

#[test]
fn rfc_9110_section_15_5_22_a_plain_request_without_an_answer() {
    let get = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
    let Outcome::Refused { response, error } = at_once(get.as_bytes()) else {
        panic!("there is no such page");
    };
    assert_eq!(error, HandshakeError::NoUpgrade);
    assert!(response.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"));
    let head = get.replace("GET", "HEAD");
    let Outcome::Refused { response, .. } = at_once(head.as_bytes()) else {
        panic!("there is no such page");
    };
    assert!(response.ends_with("\r\n\r\n"), "no body: {response}");
    assert!(!response.contains("Content-Length: 0\r\n"), "{response}");
}

#[test]
fn rfc_6455_section_4_2_2_item_4_the_version_that_is_spoken_is_named() {
    let request = with_line("Sec-WebSocket-Version", "Sec-WebSocket-Version: 14");
    let Outcome::Refused { response, .. } = at_once(request.as_bytes()) else {
        panic!("there is no such version");
    };
    assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn rfc_9110_section_15_5_6_the_methods_that_are_allowed_are_named() {
    let request = with_line("GET", "DELETE /chat HTTP/1.1");
    let Outcome::Refused { response, .. } = at_once(request.as_bytes()) else {
        panic!("there is no such method here");
    };
    assert!(
        response.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
        "{response}"
    );
}

#[test]
fn an_origin_that_is_not_allowed_is_forbidden() {
    let origins = Origins::list(["http://example.com"]);
    let evil = with_line("Origin", "Origin: http://evil.example");
    for (request, status) in [(RFC_REQUEST, 101), (&evil, 403)] {
        let outcome = read(&mut Handshake::new(), request.as_bytes(), &origins);
        assert_eq!(outcome.status(), status);
    }
    let same_host = Origins::same_host();
    let own = with_line("Origin", "Origin: https://Server.example.com");
    for (request, status) in [(RFC_REQUEST, 403), (&own, 101)] {
        let outcome = read(&mut Handshake::new(), request.as_bytes(), &same_host);
        assert_eq!(outcome.status(), status);
    }
}

#[test]
fn a_plain_request_needs_no_origin() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\n\r\n";
    let origins = Origins::same_host().required();
    let outcome = read(&mut Handshake::new(), request, &origins);
    assert_eq!(outcome.status(), 200);
}

#[test]
fn a_rejection_is_sent_as_the_application_has_it() {
    let request = with_line("GET", "GET /closed HTTP/1.1");
    let Outcome::Refused { response, error } = at_once(request.as_bytes()) else {
        panic!("it is closed");
    };
    assert_eq!(error, HandshakeError::Rejected { status: 403 });
    assert!(response.ends_with("\r\n\r\nclosed\n"), "{response}");
}

#[test]
fn headers_of_the_application_go_with_the_upgrade() {
    let request = with_line("GET", "GET /chat?header HTTP/1.1");
    let Outcome::Upgraded { response, .. } = at_once(request.as_bytes()) else {
        panic!("it is open");
    };
    assert!(
        response.ends_with("=\r\nSet-Cookie: a=1\r\nX-Room: hall\r\n\r\n"),
        "{response}"
    );
}

#[test]
fn an_answer_that_is_wrong_fails_with_500_and_nothing_of_it_is_sent() {
    for (line, error) in [
        (
            "GET /?unoffered HTTP/1.1",
            HandshakeError::SubprotocolNotOffered,
        ),
        (
            "GET /?other-case HTTP/1.1",
            HandshakeError::SubprotocolNotOffered,
        ),
        ("GET /?split HTTP/1.1", HandshakeError::Unsendable),
        ("GET /?reserved HTTP/1.1", HandshakeError::Unsendable),
        ("GET /split HTTP/1.1", HandshakeError::Unsendable),
    ] {
        let request = with_line("GET", line);
        let Outcome::Refused {
            response,
            error: found,
        } = at_once(request.as_bytes())
        else {
            panic!("{line}");
        };
        assert_eq!(found, error, "{line}");
        assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
        assert!(!response.contains("b: c"), "{response}");
    }
    let plain = b"GET /split HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(error_of(plain), Some(HandshakeError::Unsendable));
}

#[test]
fn extensions_are_negotiated_last_and_answered() {
    let request = with_also(
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         sec-websocket-extensions: x-other",
    );
    let rules = rules(&Doors);
    let negotiate = |request: &Request<'_>| {
        let offers: Vec<_> = request
            .extensions()
            .map(|offer| offer.unwrap().name)
            .collect();
        assert_eq!(offers, ["permessage-deflate", "x-other"]);
        Some("permessage-deflate".to_owned())
    };
    let progress = Handshake::new().read_request(request.as_bytes(), &PEER, &rules, negotiate);
    let Progress::Upgraded { response, .. } = progress else {
        panic!("{progress:?}");
    };
    let response = String::from_utf8(response).unwrap();
    assert!(response.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"));

    let is_asked = Cell::new(false);
    for line in ["GET /closed HTTP/1.1", "GET /?unoffered HTTP/1.1"] {
        let request = with_line("GET", line);
        let negotiate = |_: &Request<'_>| {
            is_asked.set(true);
            None
        };
        let progress = Handshake::new().read_request(request.as_bytes(), &PEER, &rules, negotiate);
        assert!(matches!(progress, Progress::Refused { .. }));
    }
    assert!(!is_asked.get(), "there is nothing to negotiate for");
}

#[test]
fn the_application_sees_who_asks_for_what() {
    let look = |request: &Request<'_>| {
        assert_eq!(request.method(), "GET");
        assert_eq!(request.target(), "/chat?room=hall");
        assert_eq!(
            (request.path(), request.query()),
            ("/chat", Some("room=hall"))
        );
        assert_eq!(request.host(), "server.example.com");
        assert_eq!(request.origin(), Some("http://example.com"));
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.peer(), &PEER);
        Answer::accept(request.headers().count())
    };
    let rules = rules(&look);
    let request = with_line("GET", "GET /chat?room=hall HTTP/1.1");
    match Handshake::new().read_request(request.as_bytes(), &PEER, &rules, |_| None) {
        Progress::Upgraded { state, .. } => assert_eq!(state, 7),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_connection_keeps_of_it_is_small() {
    assert_eq!(size_of::<Handshake>(), 8);
    assert!(size_of::<HandshakeError>() <= 16);
    assert!(size_of::<ClientHandshakeError>() <= 16);
}

proptest! {
    #[test]
    fn a_damaged_request_comes_to_the_same_however_it_arrives((bytes, cuts) in damaged(RFC_REQUEST)) {
        let mut handshake = Handshake::new();
        let mut outcome = Outcome::NeedMore;
        for length in cuts.into_iter().chain([bytes.len()]) {
            if outcome == Outcome::NeedMore {
                outcome = read(&mut handshake, &bytes[..length], &Origins::same_host());
            }
        }
        let whole = read(&mut Handshake::new(), &bytes, &Origins::same_host());
        prop_assert_eq!(outcome, whole);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for start in ["", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: "] {
            let mut input = start.as_bytes().to_vec();
            input.extend_from_slice(&bytes);
            let _ = at_once(&input);
        }
    }
}
