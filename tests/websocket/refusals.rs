//! The event for refused opening handshakes, over real sockets.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ringwheel::Address;
use ringwheel::websocket::{
    Accept, Answer, HandshakeError, Request, Response, WebSocket, WebSocketError,
};

use crate::opening::{request_with, status_of};
use crate::probe::{Probe, Reports};
use support::websocket::Peer;
use support::websocket::REQUEST;
use support::{DEADLINE, TestServer, listen};

/// An application that rejects one path, answers plain requests for `/health`, and reports refusals.
struct Watched(Mutex<Sender<(Address, WebSocketError)>>);

impl Accept for Watched {
    type State = ();

    fn upgrade(&self, request: &Request<'_>) -> Answer<()> {
        match request.path() {
            "/closed" => Answer::reject(Response::new(403)),
            _ => Answer::accept(()),
        }
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        (request.path() == "/health").then(|| Response::text(200, "well\n"))
    }

    fn refused(&self, peer: &Address, error: &WebSocketError) {
        let told = self.0.lock().expect("no test panics with it");
        told.send((peer.clone(), *error)).expect("the test listens");
    }
}

type Refusals = Receiver<(Address, WebSocketError)>;

fn start(handshake_timeout: Duration) -> (TestServer, Reports, Refusals) {
    let (told, refusals) = channel();
    let protocol =
        WebSocket::accepting(Watched(Mutex::new(told))).handshake_timeout(handshake_timeout);
    let (probe, reports) = Probe::echo();
    (
        TestServer::start(listen(protocol), probe),
        reports,
        refusals,
    )
}

#[test]
fn each_refused_handshake_is_reported_once_with_its_peer() {
    let (server, reports, refusals) = start(DEADLINE);
    for (request, status, error) in [
        (b"\x16\x03\x01".to_vec(), 400, HandshakeError::RequestLine),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            426,
            HandshakeError::NoUpgrade,
        ),
        (
            request_with("GET /chat", "GET /closed"),
            403,
            HandshakeError::Rejected { status: 403 },
        ),
    ] {
        let mut client = server.connect();
        client.send(&request);
        assert_eq!(status_of(&client.receive_rest()), status);
        let expected = (client.addr().into(), WebSocketError::Handshake(error));
        assert_eq!(refusals.recv_timeout(DEADLINE), Ok(expected));
    }
    reports.finish(server);
    assert!(refusals.recv().is_err(), "each refusal was reported once");
}

#[test]
fn a_handshake_timeout_is_reported() {
    let (server, reports, refusals) = start(Duration::from_millis(20));
    let mut client = server.connect();
    client.send(b"GET / HT");
    assert_eq!(status_of(&client.receive_rest()), 408);
    let expected = (client.addr().into(), WebSocketError::HandshakeTimeout);
    assert_eq!(refusals.recv_timeout(DEADLINE), Ok(expected));
    reports.finish(server);
    assert!(refusals.recv().is_err(), "the refusal was reported once");
}

#[test]
fn other_ends_are_not_reported_as_refusals() {
    let (server, reports, refusals) = start(DEADLINE);
    let mut peer = Peer::open(&server);
    peer.check_echo();
    let mut plain = server.connect();
    plain.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(&plain.receive_rest()), 200);
    let mut leaving = server.connect();
    leaving.send(&REQUEST[..20]);
    drop(leaving);
    // A violation after the handshake is reported to the handler instead.
    peer.client.send(b"\xff\xff");
    assert_eq!(
        peer.next_frame().close_words().map(|(code, _)| code),
        Some(1002)
    );
    drop(peer);
    assert!(reports.close().reason.contains("Violation"));
    reports.finish(server);
    assert!(refusals.recv().is_err(), "nothing was refused");
}
