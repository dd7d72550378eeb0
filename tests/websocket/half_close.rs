//! Streams that end in one direction, between messages or within one.

use std::time::Duration;

use ringwheel::websocket::WebSocket;
use support::websocket::{Found, Frame, KEY, Peer};
use support::{DEADLINE, TestServer, listen};

use crate::probe::{Event, Probe};

use crate::parting::{SHORT, obedient, ws};

#[test]
fn a_peer_that_ends_its_stream_gets_its_answers() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("a question"));
    peer.client.finish();
    peer.expect(Frame::text("a question"));
    // There is no close frame: nobody would answer it.
    peer.expect_end();
    assert_eq!(reports.next(), Event::Open);
    assert_eq!(reports.message(), Found::text("a question"));
    assert_eq!(reports.next(), Event::HalfClose);
    let ending = reports.close();
    assert_eq!(ending.reason, "Peer");
    assert_eq!(ending.words(), None);
    reports.finish(server);
}

#[test]
fn a_handler_may_go_on_sending_to_a_half_closed_peer() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_half_close(|conn| {
        conn.send_text("one more thing");
        conn.close();
    });
    let server = TestServer::start(ws(), probe);
    let mut peer = Peer::open(&server);
    peer.client.finish();
    peer.expect(Frame::text("one more thing"));
    peer.expect_end();
    assert_eq!(reports.close().reason, "Peer");
    reports.finish(server);
}

/// Pings that were never sent were due for answers: the peer was evicted while it was still sending.
#[test]
fn a_peer_may_go_on_sending_after_shutdown_write() {
    const EVERY: Duration = Duration::from_millis(20);
    let (probe, reports) = Probe::new();
    let probe = probe.on_open(|conn| {
        conn.send_text("bye");
        conn.shutdown_write();
    });
    let protocol = WebSocket::new().ping_every(EVERY).pong_timeout(DEADLINE);
    let server = TestServer::start(listen(protocol).close_timeout(EVERY), probe);
    let mut peer = Peer::open(&server);
    peer.expect(Frame::text("bye"));
    peer.expect_end();
    for count in 0..5 {
        let text = count.to_string();
        peer.send(Frame::text(&text));
        assert_eq!(reports.message(), Found::text(text));
        server.let_pass(4 * EVERY);
    }
    peer.client.finish();
    assert_eq!(reports.close().reason, "Peer");
    reports.finish(server);
}

/// A peer that had gone kept its connection for ever: no ping could be sent, and no close had begun.
#[test]
fn a_silent_peer_is_cut_off_after_shutdown_write() {
    for every in [None, Some(SHORT)] {
        let (probe, reports) = Probe::new();
        let probe = probe.on_open(|conn| conn.shutdown_write());
        let protocol = WebSocket::new().ping_every(every).pong_timeout(SHORT);
        let server = TestServer::start(listen(protocol).close_timeout(SHORT), probe);
        let mut peer = Peer::open(&server);
        peer.expect_end();
        assert_eq!(reports.close().reason, "Protocol(PongTimeout)");
        drop(peer);
        reports.finish(server);
    }
}

/// Asserts that a stream that ends with this beginning of a message is truncated.
fn assert_truncated(beginning: &[u8]) {
    let (server, reports, mut peer) = obedient(ws());
    peer.client.send(beginning);
    peer.client.finish();
    peer.expect_end();
    assert_eq!(reports.close().reason, "Truncated");
    assert_eq!(reports.messages(), []);
    reports.finish(server);
}

#[test]
fn a_stream_that_ends_within_a_short_frame_is_truncated() {
    let frame = Frame::text("hello").masked(KEY).bytes();
    for cut in [1, 2, 6, frame.len() - 1] {
        assert_truncated(&frame[..cut]);
    }
}

#[test]
fn a_stream_that_ends_within_a_long_frame_is_truncated() {
    let frame = Frame::binary([1; 50_000]).masked(KEY).bytes();
    assert_truncated(&frame[..40_000]);
}

#[test]
fn a_stream_that_ends_between_the_fragments_of_a_message_is_truncated() {
    assert_truncated(&Frame::text("he").fragment().masked(KEY).bytes());
}
