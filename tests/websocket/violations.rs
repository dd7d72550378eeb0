//! Violations of the protocol by a peer, and the close frames that they get.

use ringwheel::Limits;
use ringwheel::websocket::{HandshakeError, WebSocket, WebSocketError};
use support::websocket::{Found, Frame, KEY, Peer};
use support::{TestServer, listen};

use crate::probe::Probe;

use crate::parting::{FAR, Protocol, SHORT, obedient, ws};

/// Asserts that the frame is refused: the peer gets the error's close frame and the end of the stream, the handler the
/// error.
#[track_caller]
fn assert_refused(protocol: Protocol, frame: &[u8], error: WebSocketError) {
    let (server, reports, mut peer) = obedient(listen(protocol));
    peer.send(Frame::text("before"));
    peer.client.send(frame);
    // The server ignores the bytes that follow.
    let _ = peer.client.try_send(&[0x81; 1000]);
    peer.expect(Frame::text("before"));
    let code = error.close_code().expect("the connection is open").get();
    peer.expect(Frame::close(code, error.to_string()));
    peer.expect_end();
    drop(peer);
    let ending = reports.close();
    assert_eq!(ending.reason, format!("Protocol({error:?})"));
    assert_eq!(reports.messages(), [Found::text("before")]);
    reports.finish(server);
}

#[test]
fn a_message_that_is_too_big_is_refused_with_1009() {
    let limited = || WebSocket::new().max_message(1000);
    let error = WebSocketError::MessageTooBig;
    let short = Frame::text("x".repeat(1001)).masked(KEY);
    assert_refused(limited(), &short.bytes(), error);
    // The header alone is refused, without any payload.
    let header = Frame::binary("").masked(KEY).bytes_with_length(1 << 50, 8);
    assert_refused(limited(), &header, error);
    let fragments = [
        Frame::text("x".repeat(600)).fragment(),
        Frame::continuation("x".repeat(401)),
    ];
    let fragments = fragments.map(|frame| frame.masked(KEY).bytes()).concat();
    assert_refused(limited(), &fragments, error);
}

#[test]
fn violations_are_refused_with_1002() {
    use ringwheel::websocket::Violation;
    for (frame, violation) in [
        (Frame::text("unmasked").bytes(), Violation::Unmasked),
        (
            Frame::text("x").reserved(0x40).masked(KEY).bytes(),
            Violation::ReservedBit,
        ),
        (
            Frame::close(1005, "").masked(KEY).bytes(),
            Violation::CloseCode,
        ),
    ] {
        assert_refused(WebSocket::new(), &frame, violation.into());
    }
}

#[test]
fn a_message_beyond_the_input_limit_is_refused_with_1009() {
    let limited = ws().limits(Limits::default().input(1000));
    let (server, reports, mut peer) = obedient(limited);
    peer.client
        .send(&Frame::binary([1; 2000]).masked(KEY).bytes()[..100]);
    let close = peer.next_frame();
    assert_eq!(close.close_words().map(|(code, _)| code), Some(1009));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "InputLimit");
    reports.finish(server);
}

/// The errors that handlers get have messages and sources.
#[test]
fn errors_have_messages_and_sources() {
    use std::error::Error;
    let error = WebSocketError::Handshake(HandshakeError::Origin);
    assert_eq!(error.close_code(), None);
    assert!(error.source().is_some());
    assert!(
        error
            .to_string()
            .contains(&HandshakeError::Origin.to_string())
    );
    assert!(WebSocketError::PongTimeout.source().is_none());
}

/// The same for a peer that answers no pings, or breaks the protocol.
#[test]
fn the_handler_is_told_of_a_refused_peer_that_is_silent() {
    let (probe, reports) = Probe::new();
    let protocol = WebSocket::new().ping_every(SHORT).pong_timeout(SHORT);
    let server = TestServer::start(listen(protocol).close_timeout(FAR), probe);
    let _silent = Peer::open(&server);
    assert_eq!(reports.close().reason, "Protocol(PongTimeout)");
    let mut wrong = Peer::open(&server);
    wrong.client.send(&Frame::text("unmasked").bytes());
    let reason = reports.close().reason;
    assert!(reason.starts_with("Protocol("), "{reason}");
    reports.finish(server);
}
