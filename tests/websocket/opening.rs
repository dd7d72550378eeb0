//! The opening handshake through the codec, from both sides: section 4 of RFC 6455.

use std::str;
use std::time::Duration;

use ringwheel::websocket::{
    Accept, Answer, ClientHandshakeError, HandshakeError, Message, Origins, Request, Response,
    WebSocket, WebSocketClient, WebSocketError, Whole,
};
use support::websocket::{
    ANSWER, Endpoint, Found, Frame, REQUEST, connect, from_client, open_server, plain_client,
};

/// The request with one line replaced or removed, or with another one added.
pub(crate) fn request_with(line: &str, replacement: &str) -> Vec<u8> {
    let request = str::from_utf8(REQUEST).unwrap();
    assert!(request.contains(line), "{line}");
    request.replacen(line, replacement, 1).into_bytes()
}

/// The status of a complete HTTP answer.
#[track_caller]
pub(crate) fn status_of(answer: &[u8]) -> u16 {
    let text = str::from_utf8(answer).expect("an answer is text");
    assert!(text.contains("\r\n\r\n"), "{text}");
    let status = text.strip_prefix("HTTP/1.1 ").expect("an HTTP answer");
    status[..3].parse().expect("a status")
}

/// An answer without its date, which must be there once.
#[track_caller]
pub(crate) fn without_date(answer: &str) -> String {
    let (before, rest) = answer.split_once("\r\nDate: ").expect("a date");
    let (date, behind) = rest.split_once("\r\n").expect("a line has an end");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert!(!behind.contains("\r\nDate:"), "{answer}");
    format!("{before}\r\n{behind}")
}

#[test]
fn section_1_3_example() {
    let mut server = open_server(&WebSocket::new());
    assert!(server.send(Message::Text("hello")));
    assert_eq!(server.take_said(), Frame::text("hello").bytes());
}

#[test]
fn section_4_2_a_request_at_every_cut() {
    for cut in 1..REQUEST.len() {
        let mut server = Endpoint::new(&WebSocket::new());
        server.receive(&REQUEST[..cut]);
        assert_eq!(server.found, []);
        assert_eq!(server.take_said(), b"");
        assert!(
            cut + server.missing <= REQUEST.len(),
            "the decoder stalls at {cut}"
        );
        assert_eq!(server.input.len(), cut, "nothing is consumed");
        server.receive(&REQUEST[cut..]);
        assert_eq!(server.found, [Found::Opened]);
        assert_eq!(server.take_said(), ANSWER);
        assert_eq!(server.input, b"");
    }
    let mut server = Endpoint::new(&WebSocket::new());
    for byte in REQUEST {
        assert_eq!(server.found, []);
        server.receive(&[*byte]);
    }
    assert_eq!(server.found, [Found::Opened]);
    assert_eq!(server.take_said(), ANSWER);
}

#[test]
fn frames_may_follow_the_request_immediately() {
    let early = from_client(&[
        Frame::text("early"),
        Frame::ping("p"),
        Frame::binary("bird"),
    ]);
    let stream = [REQUEST, &early].concat();
    let expected = [Found::Opened, Found::text("early"), Found::binary("bird")];
    let said = [ANSWER, &Frame::pong("p").bytes()].concat();
    for cut in 0..stream.len() {
        let mut server = Endpoint::new(&WebSocket::new());
        server.receive(&stream[..cut]).receive(&stream[cut..]);
        assert_eq!(server.found, expected, "cut at {cut}");
        assert_eq!(server.take_said(), said);
    }
}

#[test]
fn section_4_2_1_invalid_requests_are_refused_with_a_status() {
    use HandshakeError as E;
    let target_line = "GET /chat HTTP/1.1";
    let long = format!("X-Long: {}\r\nHost", "x".repeat(8192));
    let many = "X-Header: x\r\n".repeat(60) + "Host";
    for (line, replacement, status, error) in [
        (target_line, "POST /chat HTTP/1.1", 405, E::Method),
        (target_line, "BREW /chat HTTP/1.1", 501, E::UnknownMethod),
        (target_line, "GET /chat HTTP/1.0", 426, E::NoUpgrade),
        (target_line, "GET /chat HTTP/2.0", 505, E::HttpVersion),
        (target_line, "GET chat HTTP/1.1", 400, E::Target),
        (target_line, "\x16\x03\x01", 400, E::RequestLine),
        ("Host: server.example.com\r\n", "", 400, E::Host),
        ("Host", "Content-Length: 3\r\nHost", 400, E::Body),
        ("Upgrade: websocket\r\n", "", 426, E::NoUpgrade),
        ("Upgrade: websocket", "Upgrade: h2c", 426, E::NoUpgrade),
        (
            "Upgrade: websocket",
            "Upgrade: websocket, @",
            400,
            E::Upgrade,
        ),
        (
            "Host",
            "Sec-WebSocket-Protocol: a, b, a\r\nHost",
            400,
            E::Subprotocols,
        ),
        (
            "Host",
            "Sec-WebSocket-Extensions: permessage-deflate; ;\r\nHost",
            400,
            E::Extensions,
        ),
        (
            "Connection: Upgrade",
            "Connection: close",
            400,
            E::Connection,
        ),
        ("Version: 13", "Version: 8", 426, E::WebSocketVersion),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400, E::Key),
        ("Host", "Host : x\r\nHost", 400, E::Header),
        ("Host", &long, 431, E::HeadTooLong),
        ("Host", &many, 431, E::TooManyHeaders),
    ] {
        check_refusal(&request_with(line, replacement), status, error);
    }
}

/// Checks the answer to a request that is refused with `error`.
#[track_caller]
fn check_refusal(request: &[u8], status: u16, error: HandshakeError) {
    let mut server = Endpoint::new(&WebSocket::new());
    server.receive(request);
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
    assert_eq!(server.found, []);
    let answer = String::from_utf8(server.take_said()).unwrap();
    assert_eq!(status_of(answer.as_bytes()), status, "{answer}");
    assert_eq!(
        status == 405,
        answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
        "section 15.5.6 of RFC 9110"
    );
    assert_eq!(
        status == 426,
        answer.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"),
        "section 15.5.22 of RFC 9110"
    );
    assert_eq!(
        error == HandshakeError::WebSocketVersion,
        answer.contains("\r\nSec-WebSocket-Version: 13\r\n"),
        "section 4.4"
    );
    // The same request in single bytes is refused alike.
    let mut server = Endpoint::new(&WebSocket::new());
    for byte in request {
        if server.failure.is_none() {
            server.receive(&[*byte]);
        }
    }
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
    let by_bytes = String::from_utf8(server.take_said()).unwrap();
    assert_eq!(without_date(&by_bytes), without_date(&answer));
    // A connection that is not open is not closed with a frame.
    assert!(!server.send(Message::Text("x")));
}

#[test]
fn a_request_line_without_end_is_refused_before_it_is_whole() {
    let server = WebSocket::new().max_head(1000);
    let mut server = Endpoint::new(&server);
    server.receive(b"GET /").receive(&[b'x'; 994]);
    assert_eq!(server.failure, None);
    server.receive(b"x");
    let error = HandshakeError::RequestLineTooLong;
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
    assert_eq!(status_of(&server.take_said()), 414);
}

#[test]
fn heads_and_headers_are_limited_as_set() {
    let server = WebSocket::new().max_head(REQUEST.len());
    open_server(&server);
    let mut server = Endpoint::new(&WebSocket::new().max_head(REQUEST.len() - 1));
    server.receive(REQUEST);
    let error = HandshakeError::HeadTooLong;
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));

    open_server(&WebSocket::new().max_headers(5));
    let mut server = Endpoint::new(&WebSocket::new().max_headers(4));
    server.receive(REQUEST);
    let error = HandshakeError::TooManyHeaders;
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
}

#[test]
fn section_10_2_origins_are_checked() {
    let protocol = || WebSocket::new().origins(Origins::list(["https://good.example"]));
    let mut server = Endpoint::new(&protocol());
    server.receive(&request_with(
        "Host",
        "Origin: https://good.example\r\nHost",
    ));
    assert_eq!(server.found, [Found::Opened]);
    let mut server = Endpoint::new(&protocol());
    server.receive(&request_with(
        "Host",
        "Origin: https://evil.example\r\nHost",
    ));
    let error = HandshakeError::Origin;
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
    assert_eq!(status_of(&server.take_said()), 403);
}

/// An application that accepts by the request's path, and serves a page.
pub(crate) struct Doors;

impl Accept for Doors {
    type State = String;

    fn upgrade(&self, request: &Request<'_>) -> Answer<String> {
        match request.path() {
            "/closed" => Answer::reject(Response::text(404, "no such door\n")),
            path => {
                let answer = Answer::accept(path.to_owned()).header("X-Door", "open");
                match request.subprotocols().find(|name| *name == "v2") {
                    Some(name) => answer.subprotocol(name),
                    None => answer,
                }
            }
        }
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        (request.path() == "/").then(|| Response::html("<p>hello"))
    }
}

fn doors() -> WebSocket<Doors, Whole> {
    WebSocket::accepting(Doors)
}

#[test]
fn the_application_decides() {
    let mut server = Endpoint::new(&doors());
    server.receive(&request_with("GET /chat", "GET /closed"));
    let error = HandshakeError::Rejected { status: 404 };
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
    let answer = server.take_said();
    assert_eq!(status_of(&answer), 404);
    assert!(answer.ends_with(b"\r\n\r\nno such door\n"));

    let mut server = Endpoint::new(&doors());
    server.receive(&request_with(
        "Host",
        "Sec-WebSocket-Protocol: v3, v2\r\nHost",
    ));
    assert_eq!(server.found, [Found::Opened]);
    let answer = String::from_utf8(server.take_said()).unwrap();
    assert!(
        answer.contains("\r\nSec-WebSocket-Protocol: v2\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nX-Door: open\r\n"), "{answer}");
}

#[test]
fn plain_requests_are_answered_and_end_the_conversation() {
    let page = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut server = Endpoint::new(&doors());
    server.receive(&[&page[..], b"what follows"].concat());
    assert_eq!(server.found, [Found::End]);
    assert_eq!(server.input, b"what follows", "only the head is consumed");
    let answer = server.take_said();
    assert_eq!(status_of(&answer), 200);
    assert!(answer.ends_with(b"\r\n\r\n<p>hello"));

    let mut server = Endpoint::new(&doors());
    server.receive(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(server.found, [Found::End]);
    let answer = String::from_utf8(server.take_said()).unwrap();
    assert!(answer.contains("\r\nContent-Length: 8\r\n") && answer.ends_with("\r\n\r\n"));

    let mut server = Endpoint::new(&doors());
    server.receive(b"GET /else HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = HandshakeError::NoUpgrade;
    assert_eq!(server.failure, Some(WebSocketError::Handshake(error)));
    assert_eq!(status_of(&server.take_said()), 426);
}

#[test]
fn the_handshake_has_a_deadline() {
    let timeout = Duration::from_secs(3);
    let mut server = Endpoint::new(&WebSocket::new().handshake_timeout(timeout));
    server.now = Duration::from_secs(100);
    let due = Some(server.now + timeout);
    assert_eq!(server.next_deadline(), due);
    server.now += Duration::from_secs(1);
    server.receive(&REQUEST[..REQUEST.len() - 1]);
    assert_eq!(
        server.next_deadline(),
        due,
        "input does not postpone the deadline"
    );
    server.now += Duration::from_secs(2);
    assert_eq!(
        server.meet_deadline(),
        Err(WebSocketError::HandshakeTimeout)
    );
    assert_eq!(status_of(&server.take_said()), 408);

    let protocol = WebSocket::new().handshake_timeout(timeout);
    let mut server = Endpoint::new(&protocol.ping_every(None));
    assert_eq!(server.next_deadline(), Some(timeout));
    server.receive(REQUEST);
    assert_eq!(
        server.next_deadline(),
        None,
        "an open connection without pings has none"
    );
}

#[test]
fn section_4_1_a_clients_request() {
    let client = WebSocketClient::new("example.com:8080", "/chat?room=1")
        .and_then(|client| client.subprotocol("v2"))
        .and_then(|client| client.subprotocol("v1"))
        .and_then(|client| client.header("Origin", "http://example.com"))
        .unwrap();
    let requests = [0, 1].map(|_| String::from_utf8(Endpoint::new(&client).greet()).unwrap());
    let key = |request: &str| {
        let (_, rest) = request.split_once("Sec-WebSocket-Key: ").unwrap();
        rest[..24].to_owned()
    };
    for request in &requests {
        for line in [
            "GET /chat?room=1 HTTP/1.1\r\n",
            "\r\nHost: example.com:8080\r\n",
            "\r\nUpgrade: websocket\r\n",
            "\r\nConnection: Upgrade\r\n",
            "\r\nSec-WebSocket-Version: 13\r\n",
            "\r\nSec-WebSocket-Protocol: v2, v1\r\n",
            "\r\nOrigin: http://example.com\r\n",
        ] {
            assert!(request.contains(line), "{line:?} in {request:?}");
        }
        assert!(key(request).ends_with("=="));
    }
    assert_ne!(key(&requests[0]), key(&requests[1]), "each has its own key");
    let mut client = Endpoint::new(&client);
    client.greet();
    assert_eq!(client.greet(), b"", "the client sends one request");
}

#[test]
fn section_4_1_a_client_checks_the_answer() {
    use ClientHandshakeError as E;
    let mut asked = Endpoint::new(&plain_client());
    let request = asked.greet();
    let mut server = Endpoint::new(&WebSocket::new());
    server.receive(&request);
    let answer = String::from_utf8(server.take_said()).unwrap();
    let accept = "Sec-WebSocket-Accept: ";
    for (line, replacement, error) in [
        ("101 Switching Protocols", "404 Not Found", E::Status(404)),
        ("101 Switching Protocols", "200 OK", E::Status(200)),
        ("HTTP/1.1 101", "SSH-2.0 101", E::Malformed),
        ("Upgrade: websocket", "Upgrade: h2c", E::Upgrade),
        ("Connection: Upgrade", "Connection: close", E::Connection),
        (accept, "Sec-WebSocket-Accept: A", E::Accept),
        (accept, "X-Accept: ", E::Accept),
        (
            accept,
            "Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Accept: ",
            E::Subprotocol,
        ),
        (
            accept,
            "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: ",
            E::Extensions,
        ),
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
        let wrong = answer.replacen(line, replacement, 1);
        // An endpoint sends one request, and each has its own key. A decoder that refuses the key reports no other
        // error, so each answer is made for a new request.
        let mut client = Endpoint::new(&plain_client());
        let mut server = Endpoint::new(&WebSocket::new());
        server.receive(&client.greet());
        let own = String::from_utf8(server.take_said()).unwrap();
        let own_key = |text: &str| {
            text.split_once(accept)
                .map(|(_, rest)| rest[..28].to_owned())
        };
        let wrong = match (own_key(&answer), own_key(&own)) {
            (Some(first), Some(second)) => wrong.replace(&first, &second),
            keys => panic!("an answer without a key: {keys:?}"),
        };
        client.receive(wrong.as_bytes());
        assert_eq!(
            client.failure,
            Some(WebSocketError::ClientHandshake(error)),
            "{replacement}"
        );
        assert_eq!(
            client.take_said(),
            b"",
            "the client sends nothing to a refused server"
        );
        assert!(!client.send(Message::Text("x")));
    }
    asked.receive(answer.as_bytes());
    assert_eq!(asked.found, [Found::Opened]);
}

/// The answer to another client's request is refused.
#[test]
fn section_4_1_a_client_refuses_the_answer_to_another_request() {
    let mut client = Endpoint::new(&plain_client());
    client.greet();
    client.receive(ANSWER);
    let error = ClientHandshakeError::Accept;
    assert_eq!(client.failure, Some(WebSocketError::ClientHandshake(error)));
}

#[test]
fn an_answer_at_every_cut_with_frames_behind_it() {
    let frames = [Frame::text("welcome"), Frame::ping("p")];
    let frames = frames.map(|frame| frame.bytes()).concat();
    let length = ANSWER.len() + frames.len();
    for cut in 1..length {
        let mut client = Endpoint::new(&plain_client());
        let mut server = Endpoint::new(&WebSocket::new());
        server.receive(&client.greet());
        let stream = [server.take_said(), frames.clone()].concat();
        assert_eq!(stream.len(), length);
        client.receive(&stream[..cut]).receive(&stream[cut..]);
        assert_eq!(client.found, [Found::Opened, Found::text("welcome")]);
        let pong = Frame::parse_all(&client.take_said()).remove(0);
        assert_eq!((pong.first, &*pong.payload), (0x8A, &b"p"[..]));
    }
}

#[test]
fn subprotocols_are_negotiated() {
    let offers = plain_client().subprotocol("v3").unwrap();
    let (mut client, mut server) = connect(&offers.subprotocol("v2").unwrap(), &doors());
    assert!(client.send(Message::Text("x")) && server.send(Message::Text("y")));
    server.receive(&client.take_said());
    assert_eq!(server.found, [Found::text("x")]);
}

#[test]
fn a_client_refuses_malformed_settings() {
    use ClientHandshakeError as E;
    let refused = |client: Result<WebSocketClient, E>| client.map(|_| ()).unwrap_err();
    let new = WebSocketClient::new;
    assert_eq!(refused(new("", "/")), E::InvalidHost);
    assert_eq!(refused(new("a\r\nb: c", "/")), E::InvalidHost);
    assert_eq!(refused(new("a", "chat")), E::InvalidTarget);
    assert_eq!(refused(new("a", "/ HTTP/1.1\r\n")), E::InvalidTarget);
    let client = plain_client;
    assert_eq!(refused(client().subprotocol("a b")), E::InvalidSubprotocol);
    let twice = client().subprotocol("a").unwrap().subprotocol("a");
    assert_eq!(refused(twice), E::InvalidSubprotocol);
    assert_eq!(refused(client().header("a", "b\r\nc: d")), E::InvalidHeader);
    assert_eq!(refused(client().header("Host", "b")), E::InvalidHeader);
}
