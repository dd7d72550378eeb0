//! Connections that the handler refuses once their opening handshake is over, and its decision on silent ones.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ringwheel::protocol::ErrorOf;
use ringwheel::websocket::{CloseCode, Message, WebSocket};
use ringwheel::{CloseReason, Conn, Handler, Timeout, TimeoutDecision};
use support::websocket::{Frame, Peer};
use support::{DEADLINE, TestServer, deliberate_panic, eventually, listen, take};

const SHORT: Duration = Duration::from_millis(100);

type WsConn<'a> = Conn<'a, WebSocket>;

/// Tells of every callback but `admit`, and does in that and in `on_timeout` what the test has scripted.
#[derive(Clone)]
struct Gatekeeper {
    told: Sender<String>,
    admit: fn(&mut WsConn<'_>) -> bool,
    timeout: fn(&mut WsConn<'_>) -> TimeoutDecision,
}

impl Gatekeeper {
    fn tell(&self, what: impl Into<String>) {
        self.told.send(what.into()).expect("the test listens");
    }
}

impl Handler for Gatekeeper {
    type Protocol = WebSocket;
    type Session = ();

    fn admit(&mut self, conn: &mut WsConn<'_>) -> bool {
        (self.admit)(conn)
    }

    fn on_open(&mut self, _conn: &mut WsConn<'_>) {
        self.tell("open");
    }

    fn on_message(&mut self, _conn: &mut WsConn<'_>, _session: &mut (), message: Message<'_>) {
        self.tell(format!("{message:?}"));
    }

    fn on_timeout(
        &mut self,
        conn: &mut WsConn<'_>,
        _session: &mut (),
        timeout: Timeout,
    ) -> TimeoutDecision {
        self.tell(format!("{timeout:?}"));
        (self.timeout)(conn)
    }

    fn on_close(
        &mut self,
        _conn: &WsConn<'_>,
        _session: (),
        reason: CloseReason<ErrorOf<WebSocket>>,
    ) {
        self.tell(format!("close {reason:?}"));
    }
}

fn gatekeeper(
    admit: fn(&mut WsConn<'_>) -> bool,
    timeout: fn(&mut WsConn<'_>) -> TimeoutDecision,
) -> (Gatekeeper, Receiver<String>) {
    let (told, reports) = channel();
    let gatekeeper = Gatekeeper {
        told,
        admit,
        timeout,
    };
    (gatekeeper, reports)
}

fn refusing(admit: fn(&mut WsConn<'_>) -> bool) -> (TestServer, Receiver<String>) {
    let (gatekeeper, reports) = gatekeeper(admit, |_| TimeoutDecision::Evict);
    let server = TestServer::start(listen(WebSocket::new()), gatekeeper);
    (server, reports)
}

/// Ends the server, whose handler has nothing more to tell.
#[track_caller]
fn finish(server: TestServer, reports: &Receiver<String>) {
    eventually("all are counted out", || {
        server.handle().stats().connections == 0
    });
    server.handle().stop();
    server.join();
    assert_eq!(reports.try_iter().collect::<Vec<_>>(), Vec::<String>::new());
}

/// A close frame with this code, as a client sends it.
fn close(code: u16) -> Frame {
    Frame::close(code, "")
}

#[test]
fn a_refused_client_gets_what_was_sent_and_a_close_frame_after_the_handshake() {
    let (server, reports) = refusing(|conn| {
        assert!(conn.send(Message::Text("banned")).is_queued());
        false
    });
    let mut peer = Peer::open(&server);
    peer.expect(Frame::text("banned"));
    assert_eq!(
        peer.next_frame().close_words().map(|(code, _)| code),
        Some(1000)
    );
    peer.send(close(1000));
    peer.expect_end();
    drop(peer);
    finish(server, &reports);
}

#[test]
fn what_a_refused_client_says_before_its_close_frame_is_passed_over() {
    let (server, reports) = refusing(|_| false);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("not heard"));
    peer.send(Frame::ping(b"not answered"));
    assert_eq!(
        peer.next_frame().close_words().map(|(code, _)| code),
        Some(1000)
    );
    peer.send(close(1000));
    peer.expect_end();
    drop(peer);
    finish(server, &reports);
}

#[test]
fn a_refusal_may_have_a_code_and_a_reason() {
    let (server, reports) = refusing(|conn| {
        conn.close_with(CloseCode::POLICY, "banned");
        false
    });
    let mut peer = Peer::open(&server);
    assert_eq!(peer.next_frame().close_words(), Some((1008, "banned")));
    peer.send(close(1008));
    peer.expect_end();
    drop(peer);
    finish(server, &reports);
}

#[test]
fn a_refused_client_that_leaves_or_resets_is_counted_out() {
    let (server, reports) = refusing(|_| false);
    drop(Peer::open(&server));
    let mut ends = Peer::open(&server);
    ends.client.finish();
    ends.client.drain().unwrap();
    Peer::open(&server).client.reset();
    finish(server, &reports);
}

#[test]
fn a_panic_in_it_is_an_internal_error_to_the_peer() {
    let (server, reports) = refusing(|_| deliberate_panic());
    let mut peer = Peer::open(&server);
    assert_eq!(
        peer.next_frame().close_words().map(|(code, _)| code),
        Some(1011)
    );
    peer.client.expect_ended();
    drop(peer);
    finish(server, &reports);
}

#[test]
fn a_handshake_that_never_comes_asks_nobody() {
    let (gatekeeper, reports) =
        gatekeeper(|_| unreachable!("no handshake"), |_| TimeoutDecision::Stay);
    let listen = listen(WebSocket::new())
        .idle_timeout(SHORT)
        .first_message_timeout(SHORT);
    let server = TestServer::start(listen, gatekeeper);
    let mut client = server.connect();
    client.expect_ended();
    finish(server, &reports);
}

#[test]
fn a_silent_client_gets_last_words_and_a_close_frame() {
    let (gatekeeper, reports) = gatekeeper(
        |_| true,
        |conn| {
            conn.send(Message::Text("too late"));
            TimeoutDecision::Close
        },
    );
    let listen = listen(WebSocket::new()).idle_timeout(SHORT);
    let (server, mut peer) = Peer::open_early(listen, gatekeeper, b"");
    peer.expect(Frame::text("too late"));
    let code = peer.next_frame().close_words().map(|(code, _)| code);
    assert!(code.is_some(), "a farewell");
    peer.expect_end();
    drop(peer);
    for expected in ["open", "Idle", "close Timeout(Idle)"] {
        assert_eq!(take(&reports), expected);
    }
    finish(server, &reports);
}

#[test]
fn a_handler_that_closes_on_a_deadline_awaits_the_answer_to_its_close_frame() {
    let (gatekeeper, reports) = gatekeeper(
        |_| true,
        |conn| {
            conn.close_with(CloseCode::GOING_AWAY, "idle");
            TimeoutDecision::Evict
        },
    );
    let listen = listen(WebSocket::new())
        .idle_timeout(SHORT)
        .close_timeout(DEADLINE);
    let (server, mut peer) = Peer::open_early(listen, gatekeeper, b"");
    assert_eq!(peer.next_frame().close_words(), Some((1001, "idle")));
    // The idle time passes again, and ends nobody who is parting.
    server.let_pass(3 * SHORT);
    peer.send(close(1001));
    peer.expect_end();
    drop(peer);
    for expected in ["open", "Idle", "close Local"] {
        assert_eq!(take(&reports), expected);
    }
    finish(server, &reports);
}
