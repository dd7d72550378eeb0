//! Malformed opening requests, which must not open a connection.

use ringwheel::websocket::{Origins, WebSocket};
use support::scale::report;
use support::websocket::{Frame, KEY, Peer, REQUEST, from_client};
use support::{TestServer, listen};

use crate::tally::Counts;

/// The status of an answer; `None` if there is no answer.
#[track_caller]
fn status_of(answer: &[u8]) -> Option<u16> {
    if answer.is_empty() {
        return None;
    }
    let answer = String::from_utf8_lossy(answer);
    let status = answer.strip_prefix("HTTP/1.1 ").expect("an answer is HTTP");
    Some(status[..3].parse().expect("a status"))
}

/// Sends `request` and the end of the stream, and returns the status of the answer.
#[track_caller]
fn ask(server: &TestServer, request: &[u8]) -> Option<u16> {
    let mut client = server.connect();
    let _ = client.try_send(request);
    let _ = client.stream().shutdown(std::net::Shutdown::Write);
    status_of(&client.receive_rest())
}

/// [`REQUEST`] with these header lines added.
fn request_with(lines: &[u8]) -> Vec<u8> {
    let end = REQUEST.len() - 2;
    [&REQUEST[..end], lines, b"\r\n"].concat()
}

#[test]
fn only_listed_origins_are_accepted() {
    const VARIANTS: [&[u8]; 35] = [
        b"",
        b"null",
        b"*",
        b"https://",
        b"//example.com",
        b"example.com",
        b"http://example.com",
        b"wss://example.com",
        b"ftp://example.com",
        b"https:example.com",
        b"https:/example.com",
        b"https:\\\\example.com",
        b"https://example.com/",
        b"https://example.com:",
        b"https://example.com:80",
        b"https://example.com:8443",
        b"https://example.com:443443",
        b"https://example.com:-443",
        b"https://example.com.",
        b"https://.example.com",
        b"https://example.co",
        b"https://example.comm",
        b"https://example.com.evil.example",
        b"https://evil-example.com",
        b"https://evil.example/https://example.com",
        b"https://www.example.com",
        b"https://example.com@evil.example",
        b"https://evil.example#@example.com",
        b"https://evil.example?https://example.com",
        b"https://user@example.com",
        b"https://example.com, https://evil.example",
        b"https://evil.example https://example.com",
        b"https://ex\xc3\xa4mple.com",
        b"https://example.com%00.evil.example",
        b"https://server.example.com",
    ];
    let counts = Counts::default();
    let origins = Origins::list(["https://example.com", "http://localhost:8080"]);
    let protocol = WebSocket::new().origins(origins.required());
    let server = TestServer::start(listen(protocol), counts.echo());
    let origin = |value: &[u8]| [b"Origin: ", value, b"\r\n"].concat();
    for value in VARIANTS {
        let status = ask(&server, &request_with(&origin(value)));
        assert_eq!(status, Some(403), "{}", value.escape_ascii());
    }
    // No origin at all, two origins, and an origin under another header name.
    let listed = origin(b"https://example.com");
    let others = [
        Vec::new(),
        [&listed[..], &listed].concat(),
        [&listed[..], &origin(b"https://evil.example")].concat(),
        [&origin(b"https://evil.example")[..], &listed].concat(),
        [b"Sec-WebSocket-", &listed[..]].concat(),
        [b"Referer: https://example.com\r\nX-", &listed[..]].concat(),
    ];
    for lines in &others {
        let status = ask(&server, &request_with(lines));
        assert_eq!(status, Some(403), "{}", lines.escape_ascii());
    }
    assert_eq!(counts.opened(), 0);
    // Listed origins are accepted.
    for value in ["https://EXAMPLE.com", "http://localhost:8080"] {
        let mut client = server.connect();
        client.send(&request_with(&origin(value.as_bytes())));
        let mut peer = Peer::around(client);
        assert!(peer.head().starts_with("HTTP/1.1 101 "));
        peer.check_echo();
    }
    counts.finish(server);
    assert_eq!(counts.opened(), 2);
    report(
        "only_listed_origins_are_accepted",
        format_args!("{} variants, none accepted", VARIANTS.len() + others.len()),
    );
}

/// A change to [`REQUEST`]: the first string is replaced by the second.
type Change = (&'static str, &'static str);

const LINE: &str = "GET /chat HTTP/1.1\r\n";
const HOST: &str = "Host: server.example.com\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\n";
const CONNECTION: &str = "Connection: Upgrade\r\n";
const NONCE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n\r\n";

const MALFORMED: [Change; 88] = [
    // The request line.
    (LINE, ""),
    (LINE, "\r\n\r\n\r\n\r\n\r\nGET /chat HTTP/1.1\r\n"),
    (LINE, "GET /chat\r\n"),
    (LINE, "GET  /chat HTTP/1.1\r\n"),
    (LINE, "GET /chat  HTTP/1.1\r\n"),
    (LINE, "GET /chat HTTP/1.1 \r\n"),
    (LINE, " GET /chat HTTP/1.1\r\n"),
    (LINE, "GET /chat HTTP/1.1\n"),
    (LINE, "GET /chat HTTP/1.0\r\n"),
    (LINE, "GET /chat HTTP/0.9\r\n"),
    (LINE, "GET /chat HTTP/2.0\r\n"),
    (LINE, "GET /chat HTTP/1.10\r\n"),
    (LINE, "GET /chat http/1.1\r\n"),
    (LINE, "get /chat HTTP/1.1\r\n"),
    (LINE, "POST /chat HTTP/1.1\r\n"),
    (LINE, "CONNECT server.example.com:80 HTTP/1.1\r\n"),
    (LINE, "TRACE /chat HTTP/1.1\r\n"),
    (LINE, "HEAD /chat HTTP/1.1\r\n"),
    (LINE, "GET * HTTP/1.1\r\n"),
    (LINE, "GET chat HTTP/1.1\r\n"),
    (LINE, "GET /chat#top HTTP/1.1\r\n"),
    (LINE, "GET /ch\tat HTTP/1.1\r\n"),
    (LINE, "GET ftp://server.example.com/ HTTP/1.1\r\n"),
    (LINE, "GET http://user@server.example.com/ HTTP/1.1\r\n"),
    (LINE, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // Header fields in general.
    (HOST, "Host: server.example.com\n"),
    (HOST, "Host : server.example.com\r\n"),
    (HOST, "Host: server.example.com\r\n folded\r\n"),
    (HOST, "Host: server.example.com\r\n: nameless\r\n"),
    (HOST, "Host: server.example.com\r\nno colon\r\n"),
    (HOST, "Host: server.example.com\r\nX: a\0b\r\n"),
    (HOST, "Host: server.example.com\r\nX: a\rb\r\n"),
    (HOST, "Host: server.example.com\r\nX(Y): a\r\n"),
    // The host.
    (HOST, ""),
    (HOST, "Host:\r\n"),
    (
        HOST,
        "Host: server.example.com\r\nHost: server.example.com\r\n",
    ),
    (HOST, "Host: server.example.com\r\nhost: evil.example\r\n"),
    (HOST, "Host: server.example.com, evil.example\r\n"),
    (HOST, "Host: user@server.example.com\r\n"),
    (HOST, "Host: server.example.com:port\r\n"),
    (HOST, "Host: server.example.com/\r\n"),
    // Bodies, announced in one way or in two ways.
    (
        NONCE,
        "Content-Length: 5\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
    (
        HOST,
        "Host: server.example.com\r\nContent-Length: 0\r\nContent-Length: 5\r\n",
    ),
    (HOST, "Host: server.example.com\r\nContent-Length: 0, 5\r\n"),
    (HOST, "Host: server.example.com\r\nContent-Length: +0\r\n"),
    (HOST, "Host: server.example.com\r\nContent-Length:\r\n"),
    (HOST, "Host: server.example.com\r\nContent-Length: 0x0\r\n"),
    (
        HOST,
        "Host: server.example.com\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        HOST,
        "Host: server.example.com\r\nTransfer-Encoding: identity\r\n",
    ),
    (
        HOST,
        "Host: server.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ),
    (
        HOST,
        "Host: server.example.com\r\nContent-Length: 0\r\nTransfer-Encoding: xchunked\r\n",
    ),
    // The upgrade.
    (UPGRADE, ""),
    (UPGRADE, "Upgrade: h2c\r\n"),
    (UPGRADE, "Upgrade: websockets\r\n"),
    (CONNECTION, ""),
    (CONNECTION, "Connection: keep-alive\r\n"),
    (CONNECTION, "Connection: close\r\n"),
    (UPGRADE, "Upgrade: websocket, h2 c\r\n"),
    (UPGRADE, "Upgrade: websocket, /1\r\n"),
    (UPGRADE, "Upgrade: \"websocket\"\r\n"),
    (CONNECTION, "Connection: Upgrade close\r\n"),
    (CONNECTION, "Connection: Upgrade, a/b\r\n"),
    (CONNECTION, "Connection: \"Upgrade\"\r\n"),
    // Subprotocols and extensions.
    (HOST, "Host: a\r\nSec-WebSocket-Protocol: a b\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Protocol: a, b, a\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Protocol: \"a\"\r\n"),
    (
        HOST,
        "Host: a\r\nSec-WebSocket-Extensions: permessage-deflate;\r\n",
    ),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: a;;b\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: a; b=\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: a; =b\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: a; b=\"c\r\n"),
    (
        HOST,
        "Host: a\r\nSec-WebSocket-Extensions: a; b=\"c d\"\r\n",
    ),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: a; b=\"\"\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: \"a\"\r\n"),
    (HOST, "Host: a\r\nSec-WebSocket-Extensions: a b\r\n"),
    (
        HOST,
        "Host: a\r\nSec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b;\r\n",
    ),
    // Pages of other hosts, which the default refuses.
    (HOST, "Host: a\r\nOrigin: http://b\r\n"),
    (HOST, "Host: a\r\nOrigin: null\r\n"),
    (HOST, "Host: a:8080\r\nOrigin: http://a\r\n"),
    // The key and the version.
    (NONCE, ""),
    (NONCE, "Sec-WebSocket-Key:\r\n"),
    (NONCE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"),
    (NONCE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ====\r\n"),
    (
        NONCE,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSB0b28gbG9uZw==\r\n",
    ),
    (
        NONCE,
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
    (VERSION, "\r\n"),
    (VERSION, "Sec-WebSocket-Version: 8\r\n\r\n"),
    (
        VERSION,
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ),
];

/// Each request is also sent with a body, or bytes that look like one, behind it.
#[test]
fn no_malformed_upgrade_is_accepted() {
    let counts = Counts::default();
    let server = TestServer::start(listen(WebSocket::new()), counts.echo());
    let request = std::str::from_utf8(REQUEST).unwrap();
    let early_data = [
        Vec::new(),
        b"GET /admin HTTP/1.1\r\nHost: server.example.com\r\n\r\n".to_vec(),
        b"5\r\nhello\r\n0\r\n\r\n".to_vec(),
        from_client(&[Frame::text("early")]),
    ];
    let mut asked = 0;
    for (from, to) in MALFORMED {
        assert!(request.contains(from), "{from:?}");
        for behind in &early_data {
            let malformed = [request.replace(from, to).as_bytes(), behind].concat();
            let status = ask(&server, &malformed);
            let status = status.unwrap_or_else(|| panic!("no answer to {to:?}"));
            assert!((400..=505).contains(&status), "{status} to {to:?}");
            asked += 1;
        }
    }
    // A valid request, truncated at every byte.
    for end in 1..REQUEST.len() {
        let status = ask(&server, &REQUEST[..end]);
        assert!(status.is_none_or(|status| status >= 400), "cut at {end}");
        asked += 1;
    }
    assert_eq!(ask(&server, b""), None);
    counts.finish(server);
    assert_eq!(counts.opened(), 0);
    report(
        "no_malformed_upgrade_is_accepted",
        format_args!("{} kinds, {asked} requests, none accepted", MALFORMED.len()),
    );
}

/// Bytes that arrive together with a valid request are read as frames, never as another request.
#[test]
fn bytes_behind_an_upgrade_are_never_read_as_a_request() {
    let counts = Counts::default();
    let server = TestServer::start(listen(WebSocket::new()), counts.echo());
    let smuggled: [&[u8]; 3] = [
        b"GET /admin HTTP/1.1\r\nHost: server.example.com\r\n\r\n",
        b"POST /admin HTTP/1.1\r\nHost: server.example.com\r\nContent-Length: 0\r\n\r\n",
        REQUEST,
    ];
    for behind in smuggled {
        let mut client = server.connect();
        client.send(&[REQUEST, behind].concat());
        let mut peer = Peer::around(client);
        assert!(peer.head().starts_with("HTTP/1.1 101 "));
        let close = peer.next_frame().close_words().map(|(code, _)| code);
        assert_eq!(close, Some(1002));
        peer.expect_end();
    }
    let mut client = server.connect();
    client.send(&[REQUEST, &Frame::text("early").masked(KEY).bytes()].concat());
    let mut peer = Peer::around(client);
    peer.head();
    peer.expect(Frame::text("early"));
    drop(peer);
    counts.finish(server);
    assert_eq!((counts.opened(), counts.messages()), (4, 1));
    report(
        "bytes_behind_an_upgrade_are_never_read_as_a_request",
        format_args!(
            "{} requests behind an upgrade, each closed with 1002",
            smuggled.len()
        ),
    );
}
