//! The opening handshake from both sides, whole and in pieces.
//!
//! Input: the settings, the limits, the lengths of the pieces, and the head. In a server's answer `@` stands for the
//! accept value, which depends on the client's random key.

use ringwheel::websocket::{
    Accept, AcceptAll, Answer, Deflate, HandshakeError, Hosts, Origins, Request, Response,
    WebSocket, WebSocketClient, WebSocketError,
};

use crate::endpoint::{Calling, Endpoint, Event, Subject, assert_cut_alike};
use crate::input::{Input, cut};

/// An application that accepts the first subprotocol offered, and answers plain requests with a description of them.
struct Mirror;

impl Accept for Mirror {
    type State = String;

    fn upgrade(&self, request: &Request<'_>) -> Answer<String> {
        let seen = describe(request);
        match request.subprotocols().next() {
            _ if request.path() == "/no" => Answer::reject(Response::text(404, seen)),
            Some(name) => Answer::accept(seen)
                .subprotocol(name)
                .header("X-First", name),
            None => Answer::accept(seen),
        }
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        (request.path() != "/no").then(|| {
            // A value that must not be sent makes the answer a 500.
            Response::text(200, describe(request)).header("X-Host", request.host())
        })
    }
}

/// Reads every part of a request.
fn describe(request: &Request<'_>) -> String {
    let headers: usize = request
        .headers()
        .map(|(name, value)| {
            assert!(request.header_bytes(name).is_some());
            name.len() + value.len()
        })
        .sum();
    assert!(request.path().starts_with('/') || request.path() == "*");
    assert!(request.target().contains(request.query().unwrap_or("")));
    let (method, host) = (request.method(), request.host());
    format!("{method} {host} {headers} {:?}\n", request.origin())
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (settings, limits) = (input.byte(), input.byte());
    let lengths = input.lengths();
    let head = input.rest();
    if settings & 0x80 != 0 {
        return client(settings, head, &lengths);
    }
    let (head_bytes, headers) = (64 + 16 * usize::from(limits), usize::from(limits % 16));
    if settings & 1 != 0 {
        let protocol = WebSocket::<_>::accepting(Mirror);
        server(set(protocol, settings, head_bytes, headers), head, &lengths);
    } else {
        let protocol = WebSocket::<AcceptAll>::new();
        server(set(protocol, settings, head_bytes, headers), head, &lengths);
    }
}

fn set<A: Accept>(
    protocol: WebSocket<A>,
    settings: u8,
    head_bytes: usize,
    headers: usize,
) -> WebSocket<A> {
    let origins = match settings >> 1 & 3 {
        0 => Origins::any(),
        1 => Origins::same_host(),
        2 => Origins::list(["https://a.example", "null"]),
        _ => Origins::same_host().required(),
    };
    let protocol = protocol.origins(origins);
    let protocol = match settings & 64 {
        0 => protocol,
        _ => protocol.hosts(Hosts::list(["h", "a.b"])),
    };
    let protocol = match settings & 8 {
        0 => protocol,
        _ => protocol.max_head(head_bytes).max_headers(headers),
    };
    match settings & 16 {
        0 => protocol,
        _ => protocol.deflate(Deflate::new().server_context_takeover(settings & 32 != 0)),
    }
}

/// Receives the head. Bytes behind it are frames, which have their own targets.
fn server<A: Accept>(protocol: WebSocket<A>, head: &[u8], lengths: &[usize])
where
    WebSocket<A>: Subject,
    <WebSocket<A> as ringwheel::protocol::Protocol>::Decoder:
        ringwheel::protocol::Decode<Error = WebSocketError>,
{
    let start = empty_lines(head);
    let head = &head[..start + head_length(&head[start..])];
    let mut whole = Endpoint::new(&protocol, Calling::Always);
    if !head.is_empty() {
        whole.receive(head);
    }
    let answer = whole.take_said();
    check_answer(
        &whole.events,
        whole.failure,
        &answer,
        head[start..].starts_with(b"HEAD "),
    );
    let open = |calling| Endpoint::new(&protocol, calling);
    assert_cut_alike(open, head, lengths, |_, _| false);
}

/// Bytes of empty lines at the front, which a server skips.
fn empty_lines(bytes: &[u8]) -> usize {
    let lines = bytes.chunks(2).take_while(|line| line == b"\r\n");
    2 * lines.count()
}

/// Bytes of the head at the front; all if it has no end.
fn head_length(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(bytes.len(), |end| end + 4)
}

/// Checks that every outcome has one well-formed answer, with the body that its head announces.
fn check_answer<M: PartialEq + std::fmt::Debug>(
    events: &[Event<M>],
    failure: Option<WebSocketError>,
    answer: &[u8],
    to_head: bool,
) {
    let status = match (events, failure) {
        ([], None) => return assert!(answer.is_empty()),
        ([Event::Opened], None) => 101,
        // A request for the methods is answered without a body.
        ([Event::End], None) if answer.starts_with(b"HTTP/1.1 204 ") => 204,
        ([Event::End], None) => 200,
        ([], Some(WebSocketError::Handshake(error))) => error.status(),
        other => panic!("{other:?}"),
    };
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{line}");
    let (mut length, mut dates) = (None, 0);
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token), "{line}");
        assert!(!value.contains(['\r', '\n', '\0']), "{line}");
        dates += usize::from(name == "Date");
        if name.eq_ignore_ascii_case("Content-Length") {
            assert!(length.is_none());
            length = value.parse().ok();
        }
    }
    assert_eq!(dates, usize::from(status != 101), "{head}");
    let expected = if to_head { 0 } else { length.unwrap_or(0) };
    assert_eq!(answer.len() - head.len() - 4, expected, "{text}");
    assert_eq!(body.is_empty(), expected == 0);
    if failure == Some(WebSocketError::Handshake(HandshakeError::Method)) {
        assert!(head.contains("\r\nAllow: GET, HEAD, OPTIONS"));
    }
}

/// Tests a client: it must have the same outcome whole and in pieces, although the keys differ.
fn client(settings: u8, answer: &[u8], lengths: &[usize]) {
    let client = WebSocketClient::new("h:80", "/x?y").expect("host and target are valid");
    let client = match settings & 1 {
        0 => client,
        _ => client.subprotocol("chat").expect("the name is a token"),
    };
    let client = match settings & 2 {
        0 => client,
        _ => client.deflate(Deflate::new().client_context_takeover(settings & 4 != 0)),
    };
    let outcome = |calling, lengths: Option<&[usize]>| {
        let mut end = Endpoint::new(&client, calling);
        let answer = personal(answer, &end.greet());
        match lengths {
            Some(lengths) => cut(&answer, lengths).for_each(|piece| end.receive(piece)),
            None if answer.is_empty() => {}
            None => end.receive(&answer),
        }
        assert!(end.take_said().is_empty(), "a client does not answer");
        (end.events, end.failure)
    };
    let whole = outcome(Calling::Always, None);
    assert_eq!(whole, outcome(Calling::Always, Some(lengths)));
    assert_eq!(whole, outcome(Calling::WhenComplete, Some(lengths)));
}

/// Cuts the answer behind its head, before which there may be interim ones, and replaces the first `@` in it by the accept value
/// for the key of `request`.
fn personal(answer: &[u8], request: &[u8]) -> Vec<u8> {
    let is_interim = |head: &[u8]| {
        let status = head.get(9..12).unwrap_or_default();
        status.starts_with(b"1") && status != b"101"
    };
    let mut end = head_length(answer);
    let mut head = &answer[..end];
    while end < answer.len() && is_interim(head) {
        let length = head_length(&answer[end..]);
        head = &answer[end..end + length];
        end += length;
    }
    let answer = &answer[..end];
    let Some(at) = answer.iter().position(|&byte| byte == b'@') else {
        return answer.to_vec();
    };
    let mut server = Endpoint::new(&WebSocket::<AcceptAll>::new(), Calling::Always);
    server.receive(request);
    let true_answer = server.take_said();
    let name = b"Sec-WebSocket-Accept: ";
    let place = true_answer
        .windows(name.len())
        .position(|window| window == name);
    let from = place.expect("the server accepted the request") + name.len();
    [
        &answer[..at],
        &true_answer[from..from + 28],
        &answer[at + 1..],
    ]
    .concat()
}
