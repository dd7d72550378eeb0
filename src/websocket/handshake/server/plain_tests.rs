//! Plain HTTP on the same port: old versions, other methods, hosts, and an application that panics.

use super::super::fixtures::{
    Doors, Outcome, PEER, RFC_REQUEST, at_once, cut_at, error_of, rules, with_also, with_line,
};
use super::*;
use crate::websocket::accept::Answer;

const PAGE: &str = "<p>hello";

/// The response to a plain request, which must be the same wherever the input is cut.
fn answer_to(request: &str) -> String {
    let outcome = at_once(request.as_bytes());
    for cut in 0..request.len() {
        assert_eq!(
            cut_at(cut, request.as_bytes()),
            outcome,
            "{cut} {request:?}"
        );
    }
    match outcome {
        Outcome::Answered { consumed, response } => {
            assert_eq!(consumed, request.len());
            response
        }
        other => panic!("not answered: {request:?}: {other:?}"),
    }
}

#[test]
fn rfc_9112_section_3_2_http_1_0_needs_no_host() {
    let page = answer_to("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.ends_with(PAGE));
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        "GET http://a/ HTTP/1.0\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\n\r\n",
        // RFC 9110 section 7.8: upgrades have no meaning in it.
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nUpgrade: websocket, @\r\n\r\n",
    ] {
        assert_eq!(answer_to(request), page, "{request:?}");
    }
    for (request, error) in [
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", HandshakeError::Host),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            HandshakeError::Host,
        ),
        ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", HandshakeError::Host),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            HandshakeError::Body,
        ),
        (
            "GET / HTTP/1.0\r\nContent-Length: 1\r\n\r\n",
            HandshakeError::Body,
        ),
        ("GET /other HTTP/1.0\r\n\r\n", HandshakeError::NoUpgrade),
        ("GET / HTTP/1.1\r\n\r\n", HandshakeError::Host),
        ("GET / HTTP/0.9\r\n\r\n", HandshakeError::HttpVersion),
    ] {
        assert_eq!(error_of(request.as_bytes()), Some(error), "{request:?}");
    }
}

#[test]
fn an_upgrade_in_http_1_0_is_never_made() {
    let request = RFC_REQUEST.replacen("HTTP/1.1", "HTTP/1.0", 1);
    let Outcome::Refused { response, error } = at_once(request.as_bytes()) else {
        panic!("there is no such upgrade");
    };
    assert_eq!(error, HandshakeError::NoUpgrade);
    assert!(response.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"));
}

#[test]
fn rfc_9110_section_9_3_2_head_is_answered_as_get_without_the_body() {
    for version in ["1.0", "1.1"] {
        for (path, _) in [("/", 200), ("/other", 426), ("/split", 500)] {
            let get = format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n");
            let head = get.replace("GET", "HEAD");
            let text = |request: &str| match at_once(request.as_bytes()) {
                Outcome::Answered { response, .. } | Outcome::Refused { response, .. } => response,
                other => panic!("{other:?}"),
            };
            let (to_get, to_head) = (text(&get), text(&head));
            let (fields, body) = to_get.split_once("\r\n\r\n").unwrap();
            assert_eq!(to_head, format!("{fields}\r\n\r\n"), "{head:?}");
            assert!(fields.contains(&format!("Content-Length: {}", body.len())));
            assert_eq!(text(&format!("\r\n{head}")), to_head);
        }
    }
    // A fault in the head does not bring the body back.
    let faulty = "\r\nHEAD / HTTP/1.1\r\nHost : a\r\n\r\n";
    let Outcome::Refused { response, .. } = at_once(faulty.as_bytes()) else {
        panic!("it is malformed");
    };
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn rfc_9110_section_9_3_7_options_names_the_methods() {
    for request in [
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS /other HTTP/1.0\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(
            answer_to(request),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Allow: GET, HEAD, OPTIONS\r\n\r\n"
        );
    }
}

#[test]
fn every_refusal_has_a_date_and_ends_the_connection() {
    for request in [
        "\0",
        "GET / HTTP/2.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let Outcome::Refused { response, .. } = at_once(request.as_bytes()) else {
            panic!("{request:?}");
        };
        let date = "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert_eq!(response.matches(date).count(), 1, "{response}");
        assert!(response.contains("close\r\n"), "{response}");
    }
}

#[test]
fn rfc_9110_section_7_4_requests_for_other_hosts_are_refused() {
    let hosts = Hosts::list(["server.example.com", "localhost"]);
    let rules = Rules {
        hosts: &hosts,
        ..rules(&Doors)
    };
    let status_of = |request: &str| {
        let mut handshake = Handshake::new();
        match handshake.read_request(request.as_bytes(), &PEER, &rules, |_| None) {
            Progress::Upgraded { .. } => 101,
            Progress::Answered { .. } => 200,
            Progress::Refused { error, .. } => error.status(),
            other => panic!("{other:?}"),
        }
    };
    let rebound = "Host: evil.example\r\nOrigin: http://evil.example";
    let without_origin = with_line("Origin", "");
    for (request, status) in [
        (RFC_REQUEST.to_owned(), 101),
        (with_line("Host", "Host: LOCALHOST:1833"), 101),
        (with_line("Host", "Host: 127.0.0.1:1833"), 101),
        (with_line("Host", rebound), 421),
        (
            without_origin.replace("server.example.com", "evil.example"),
            421,
        ),
        // The authority of the target counts, if there is one.
        (with_line("GET", "GET http://evil.example/ HTTP/1.1"), 421),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
            421,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
            421,
        ),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.7\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 200),
        (
            "GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n".to_owned(),
            421,
        ),
    ] {
        assert_eq!(status_of(&request), status, "{request}");
    }
}

/// An application that panics at one request and not at another.
struct Fragile;

impl Accept for Fragile {
    type State = ();

    fn upgrade(&self, request: &Request<'_>) -> Answer<()> {
        assert_ne!(request.path(), "/panic", "on purpose");
        Answer::accept(())
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        assert_ne!(request.path(), "/panic", "on purpose");
        None
    }
}

#[test]
fn a_panic_of_the_application_is_an_answer_and_goes_on() {
    let upgrade = with_line("GET", "GET /panic HTTP/1.1");
    let plain = "GET /panic HTTP/1.0\r\n\r\n".to_owned();
    let head = plain.replace("GET", "HEAD");
    for request in [&upgrade, &plain, &head] {
        let mut handshake = Handshake::new();
        let progress =
            handshake.read_request(request.as_bytes(), &PEER, &rules(&Fragile), |_| None);
        let Progress::Panicked { response, panic } = progress else {
            panic!("{progress:?}");
        };
        let response = String::from_utf8(response).unwrap();
        assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
        assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
        assert_eq!(request == &head, response.ends_with("\r\n\r\n"));
        assert!(!response.contains("purpose"), "it is nobody's business");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert!(text.contains("on purpose"));
    }
    let fine = with_also("X-Name: value");
    let progress =
        Handshake::new().read_request(fine.as_bytes(), &PEER, &rules(&Fragile), |_| None);
    assert!(matches!(progress, Progress::Upgraded { .. }));
}
