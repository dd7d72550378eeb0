//! The closing handshake over real sockets.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringwheel::websocket::{AcceptAll, CloseCode, Message, WebSocket};
use ringwheel::{Limits, Listen, Overflow, SendOutcome};
use support::websocket::{Found, Frame, Peer, from_client};
use support::{Client, DEADLINE, TestServer, deliberate_panic, eventually, listen, take};

use crate::probe::{Event, Probe, Reports, fill};

pub(crate) const SHORT: Duration = Duration::from_millis(150);

pub(crate) const FAR: Duration = Duration::from_secs(3600);

pub(crate) type Protocol = WebSocket<AcceptAll>;

pub(crate) fn ws() -> Listen<Protocol> {
    listen(WebSocket::new())
}

/// Limits with an output that is soon full, and that drops messages that do not fit.
pub(crate) fn small_output() -> Limits {
    Limits::default()
        .output(64 * 1024)
        .low_water(16 * 1024)
        .high_water(32 * 1024)
        .overflow(Overflow::DropMessage)
}

/// A server that obeys messages as commands, and one open connection.
pub(crate) fn obedient(listen: Listen<Protocol>) -> (TestServer, Reports, Peer) {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, message| match message.as_text() {
        Some("close") => {
            conn.send_text("last words");
            conn.close();
            assert!(!conn.is_open());
            conn.send_text("too late");
        }
        Some("close with") => {
            conn.close_with(CloseCode::new(4001).unwrap(), "enough");
            // Only the first close counts.
            conn.close_with(CloseCode::NORMAL, "never mind");
        }
        Some("close long") => conn.close_with(CloseCode::NORMAL, &"é".repeat(100)),
        Some("abort") => conn.abort(),
        Some("panic") => deliberate_panic(),
        _ => {
            conn.send(message);
        }
    });
    let server = TestServer::start(listen, probe);
    let peer = Peer::open(&server);
    (server, reports, peer)
}

#[test]
fn the_peer_closes_and_the_server_ends_the_stream_first() {
    for (frame, answer, words) in [
        (
            Frame::close(1000, "bye"),
            Frame::close(1000, ""),
            (Some(1000), "bye"),
        ),
        (
            Frame::close(4999, ""),
            Frame::close(4999, ""),
            (Some(4999), ""),
        ),
        (
            Frame::close_without_code(),
            Frame::close_without_code(),
            (None, ""),
        ),
    ] {
        let (server, reports, mut peer) = obedient(ws());
        peer.send(Frame::text("before"));
        peer.send(frame);
        peer.expect(Frame::text("before"));
        peer.expect(answer);
        // The peer has not ended its own stream yet.
        peer.expect_end();
        drop(peer);
        let ending = reports.close();
        assert_eq!(ending.reason, "Peer");
        assert_eq!(ending.words(), Some(words));
        reports.finish(server);
    }
}

/// The peer's end of stream may arrive together with its close frame.
#[test]
fn a_peer_may_close_and_end_its_stream_at_once() {
    let (server, reports, mut peer) = obedient(ws());
    peer.client.send(&from_client(&[
        Frame::text("before"),
        Frame::close(1001, "gone"),
    ]));
    peer.client.finish();
    peer.expect(Frame::text("before"));
    peer.expect(Frame::close(1001, ""));
    peer.expect_end();
    let ending = reports.close();
    assert_eq!(ending.reason, "Peer");
    assert_eq!(ending.words(), Some((Some(1001), "gone")));
    reports.finish(server);
}

#[test]
fn close_sends_1000_behind_earlier_messages_and_awaits_the_answer() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("close"));
    peer.expect(Frame::text("last words"));
    peer.expect(Frame::close(1000, ""));
    // Messages on their way are discarded, and the connection remains until the answer arrives.
    peer.send(Frame::text("crossing"));
    peer.send(Frame::ping("crossing"));
    peer.assert_not_ended();
    peer.send(Frame::close(1001, "I go too"));
    peer.expect_end();
    drop(peer);
    let ending = reports.close();
    assert_eq!(ending.reason, "Local");
    // The handler has not waited for the answer.
    assert_eq!(ending.words(), None);
    assert_eq!(reports.messages(), [Found::text("close")]);
    reports.finish(server);
}

#[test]
fn close_with_sends_a_code_and_a_reason_once() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("close with"));
    peer.expect(Frame::close(4001, "enough"));
    peer.send(Frame::close(4001, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Local");
    reports.finish(server);
}

#[test]
fn a_reason_that_is_too_long_is_cut_between_characters() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("close long"));
    peer.expect(Frame::close(1000, "é".repeat(61)));
    reports.finish(server);
}

#[test]
fn a_connection_may_be_closed_as_soon_as_it_is_open() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_open(|conn| conn.close_with(CloseCode::TRY_AGAIN, "full"));
    let server = TestServer::start(ws(), probe);
    let mut peer = Peer::open(&server);
    peer.expect(Frame::close(1013, "full"));
    peer.send(Frame::close(1013, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.next(), Event::Open);
    assert_eq!(reports.close().reason, "Local");
    reports.finish(server);
}

/// Reading is resumed for the answer.
#[test]
fn a_connection_that_does_not_read_closes_too() {
    let (handles, lent) = channel();
    let (probe, reports) = Probe::new();
    let probe = probe.on_open(move |conn| {
        conn.pause_reading();
        handles.send(conn.handle()).unwrap();
    });
    let server = TestServer::start(ws(), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("not read"));
    let handle = lent.recv_timeout(DEADLINE).unwrap();
    handle.close().unwrap();
    peer.expect(Frame::close(1000, ""));
    peer.send(Frame::close(1000, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Local");
    assert_eq!(reports.messages(), []);
    reports.finish(server);
}

#[test]
fn a_peer_that_does_not_answer_the_close_frame_is_cut_off() {
    let (server, reports, mut peer) = obedient(ws().close_timeout(SHORT));
    let start = Instant::now();
    peer.send(Frame::text("close"));
    peer.expect(Frame::text("last words"));
    peer.expect(Frame::close(1000, ""));
    // The peer goes on sending messages, none of which is an answer.
    peer.send(Frame::text("what?"));
    peer.client.expect_ended();
    assert!(start.elapsed() >= SHORT);
    let ending = reports.close();
    assert_eq!(ending.reason, "Local");
    assert_eq!(ending.words(), None);
    reports.finish(server);
}

#[test]
fn a_peer_that_ends_its_stream_instead_of_answering_is_done() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("close"));
    peer.expect(Frame::text("last words"));
    peer.expect(Frame::close(1000, ""));
    peer.client.finish();
    peer.expect_end();
    let ending = reports.close();
    assert_eq!(ending.reason, "Local");
    assert_eq!(ending.words(), None);
    reports.finish(server);
}

#[test]
fn a_violation_in_place_of_the_answer_ends_the_close() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("close"));
    peer.expect(Frame::text("last words"));
    peer.expect(Frame::close(1000, ""));
    peer.send(Frame::continuation("x"));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().words(), None);
    reports.finish(server);
}

#[test]
fn a_reset_is_an_error_of_the_socket() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("echo"));
    peer.expect(Frame::text("echo"));
    peer.client.reset();
    let reason = reports.close().reason;
    assert!(reason.starts_with("Io("), "{reason}");
    reports.finish(server);
}

#[test]
fn an_aborted_connection_sends_no_close_frame() {
    let (server, reports, mut peer) = obedient(ws());
    peer.send(Frame::text("abort"));
    peer.client.expect_reset();
    assert_eq!(reports.close().reason, "Aborted");
    reports.finish(server);
}

/// A close frame that did not fit was omitted, and the connection ended without the closing handshake.
#[test]
fn a_close_frame_has_room_behind_a_full_output() {
    let (probe, reports) = Probe::new();
    let (filled, is_filled) = channel();
    let probe = probe.on_message(move |conn, _| {
        filled.send(fill(conn)).unwrap();
        conn.close();
    });
    let server = TestServer::start(ws().limits(small_output()), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("go"));
    let count = is_filled.recv_timeout(DEADLINE).unwrap();
    (0..count).for_each(|_| assert_eq!(peer.next_frame().opcode(), 0x2));
    peer.expect(Frame::close(1000, ""));
    peer.send(Frame::close(1000, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Local");
    reports.finish(server);
}

/// Everything that a handler sends in the turn in which it closes is sent before the close frame, however much it is.
#[test]
fn all_messages_are_sent_before_the_close_frame() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, _| {
        for number in 0..100 {
            conn.send(Message::Binary(&[number; 20_000]));
        }
        conn.close();
    });
    let listen = ws().limits(Limits::default().output(4 << 20));
    let server = TestServer::start(listen.send_buffer_size(32 * 1024), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("go"));
    for number in 0..100 {
        peer.expect(Frame::binary([number; 20_000]));
    }
    peer.expect(Frame::close(1000, ""));
    peer.send(Frame::close(1000, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Local");
    reports.finish(server);
}

/// A user that was sent away stayed in the handler's tables for the close timeout if it did not answer the close frame.
#[test]
fn the_handler_is_told_of_its_own_close_although_the_peer_is_silent() {
    let (server, reports, mut peer) = obedient(ws().close_timeout(FAR));
    peer.send(Frame::text("close with"));
    assert_eq!(reports.close().reason, "Local");
    // The answer is awaited without the handler.
    assert_eq!(server.handle().stats().connections, 1);
    peer.expect(Frame::close(4001, "enough"));
    peer.send(Frame::close(4001, ""));
    peer.expect_end();
    drop(peer);
    eventually("the connection is gone", || {
        server.handle().stats().connections == 0
    });
    reports.finish(server);
}

/// When no answer to the close frame had come in time the socket was closed, so that the next ping of a peer that was still
/// reading was answered with a reset, and the rest was lost.
#[test]
fn a_peer_that_pings_while_it_reads_gets_all_behind_the_close() {
    const BODY: usize = 48 * 1024;
    let (told, outcome) = channel();
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(Message::Binary(&[7; BODY]), move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(ws().close_timeout(SHORT), probe);
    let mut peer = Peer::open_over(Client::connect_narrow(server.addr()));
    peer.send(Frame::text("go"));
    assert_eq!(take(&outcome), SendOutcome::Written);
    for _ in 0..4 {
        server.let_pass(SHORT);
        peer.send(Frame::ping("heartbeat"));
    }
    peer.expect(Frame::binary([7; BODY]));
    peer.expect(Frame::close(1000, ""));
    peer.expect_end();
    drop(peer);
    eventually("the connection is gone", || {
        server.handle().stats().connections == 0
    });
    assert_eq!(server.handle().stats().output_lost, 0);
    assert_eq!(reports.close().reason, "Local");
    reports.finish(server);
}
