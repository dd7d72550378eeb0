//! The end of a server: its WebSocket connections are told with a close frame.

use ringwheel::websocket::{AcceptAll, CloseCode};
use support::websocket::{Found, Frame, KEY, Peer, REQUEST, from_client};
use support::{DEADLINE, TestServer, eventually};

use crate::probe::{Event, Probe};

use crate::parting::{SHORT, obedient, ws};

#[test]
fn a_shutdown_sends_1001() {
    let (server, reports, mut peer) = obedient(ws());
    let mut second = Peer::open(&server);
    peer.send(Frame::text("a question"));
    peer.expect(Frame::text("a question"));
    reports.message();
    server.handle().shutdown(DEADLINE);
    for peer in [&mut peer, &mut second] {
        peer.expect(Frame::close(1001, ""));
        peer.send(Frame::close(1001, ""));
        peer.expect_end();
    }
    drop((peer, second));
    server.join();
    reports.assert_lifecycles();
    for _ in 0..2 {
        let ending = reports.so_far().pop();
        let Some((_, Event::Close(ending))) = ending else {
            panic!("{ending:?}");
        };
        assert_eq!(ending.reason, "Shutdown");
    }
}

#[test]
fn a_shutdown_does_not_wait_for_a_handshake() {
    let (probe, reports) = Probe::<AcceptAll>::new();
    let server = TestServer::start(ws(), probe);
    let mut client = server.connect();
    client.send(&REQUEST[..REQUEST.len() - 1]);
    eventually("the connection is on its worker", || {
        server.handle().connections_per_worker() == [1]
    });
    server.handle().shutdown(DEADLINE);
    client.expect_eof();
    drop(client);
    server.join();
    assert_eq!(reports.so_far(), []);
}

#[test]
fn a_handler_may_choose_the_close_frame_of_a_shutdown() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_shutdown(|conn| conn.close_with(CloseCode::RESTART, "back soon"));
    let server = TestServer::start(ws(), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("here"));
    reports.message();
    server.handle().shutdown(DEADLINE);
    peer.expect(Frame::close(1012, "back soon"));
    peer.send(Frame::close(1012, ""));
    peer.expect_end();
    drop(peer);
    server.join();
    assert_eq!(reports.close().reason, "Shutdown");
    reports.assert_lifecycles();
}

#[test]
fn a_peer_that_does_not_answer_a_shutdown_is_closed_at_the_deadline() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("here"));
    peer.expect(Frame::text("here"));
    server.handle().shutdown(SHORT);
    peer.expect(Frame::close(1001, ""));
    server.join();
    peer.client.expect_ended();
    assert_eq!(reports.close().reason, "Shutdown");
    reports.assert_lifecycles();
}

/// A message of which half has arrived when the server begins to drain does not delay the drain, and is not delivered
/// if the rest comes after the close frame.
#[test]
fn a_shutdown_while_half_of_a_message_has_arrived() {
    for frame in [
        Frame::text("a message that lies in the input"),
        Frame::binary(vec![5; 200_000]),
    ] {
        let (server, reports, mut peer) = obedient(ws());
        let bytes = frame.masked(KEY).bytes();
        let (front, back) = bytes.split_at(bytes.len() / 2);
        peer.send(Frame::text("first"));
        peer.client.send(front);
        peer.expect(Frame::text("first"));
        server.handle().shutdown(DEADLINE);
        peer.expect(Frame::close(1001, ""));
        peer.client.send(back);
        peer.send(Frame::close(1001, ""));
        peer.expect_end();
        drop(peer);
        server.join();
        assert_eq!(reports.close().reason, "Shutdown");
        assert_eq!(reports.messages(), [Found::text("first")]);
        reports.assert_lifecycles();
    }
}

#[test]
fn a_shutdown_answers_arrived_messages() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("first"));
    peer.expect(Frame::text("first"));
    let questions: Vec<Frame> = (0..200)
        .map(|number| Frame::text(format!("question {number}")))
        .collect();
    peer.client.send(&from_client(&questions));
    server.handle().shutdown(DEADLINE);
    for question in questions {
        peer.expect(question);
    }
    peer.expect(Frame::close(1001, ""));
    peer.send(Frame::close(1001, ""));
    peer.expect_end();
    drop(peer);
    server.join();
    reports.assert_lifecycles();
}
