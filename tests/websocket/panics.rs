//! Panics in callbacks: the peer gets a close frame with 1011.

use std::sync::mpsc::channel;

use support::websocket::{Frame, Peer};
use support::{DEADLINE, TestServer, deliberate_panic};

use crate::probe::{Probe, fill};

use crate::parting::{obedient, small_output, ws};

#[test]
fn a_panic_sends_1011() {
    let (server, reports, mut peer) = obedient(ws());
    let mut other = Peer::open(&server);
    peer.send(Frame::text("panic"));
    peer.expect(Frame::close(1011, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Panic");
    other.send(Frame::text("unharmed"));
    other.expect(Frame::text("unharmed"));
    reports.finish(server);
}

/// The handshake was answered, so the peer gets a close frame; the handler gets no close, because it has no session.
#[test]
fn a_panic_in_on_open_sends_1011() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_open(|_| deliberate_panic());
    let server = TestServer::start(ws(), probe);
    let mut peer = Peer::open(&server);
    peer.expect(Frame::close(1011, ""));
    peer.expect_end();
    drop(peer);
    server.handle().stop();
    server.join();
    assert_eq!(reports.so_far(), []);
}

/// After a panic in a completion, which runs after the turn, the peer got only the end of the stream.
#[test]
fn a_panic_in_a_completion_sends_1011() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, message| {
        conn.send_then(message, |_| deliberate_panic());
    });
    let server = TestServer::start(ws(), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("written"));
    peer.expect(Frame::text("written"));
    peer.expect(Frame::close(1011, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Panic");
    reports.finish(server);
}

/// The same for `on_drained`.
#[test]
fn a_panic_in_on_drained_sends_1011() {
    let (probe, reports) = Probe::new();
    let (filled, is_filled) = channel();
    let probe = probe
        .on_message(move |conn, _| filled.send(fill(conn)).unwrap())
        .on_drained(|_| deliberate_panic());
    let server = TestServer::start(ws().limits(small_output()), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("go"));
    let count = is_filled.recv_timeout(DEADLINE).unwrap();
    (0..count).for_each(|_| assert_eq!(peer.next_frame().opcode(), 0x2));
    peer.expect(Frame::close(1011, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Panic");
    reports.finish(server);
}
