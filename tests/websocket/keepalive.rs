//! Automatic pings and their timeouts, without a real clock.

use std::time::Duration;

use ringwheel::websocket::{WebSocket, WebSocketError};
use support::websocket::{Endpoint, Frame, KEY, REQUEST, from_client, open_server};

const EVERY: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(45);

/// A server's end that opened at 7 s.
fn open() -> Endpoint<WebSocket> {
    let protocol = WebSocket::new().ping_every(EVERY).pong_timeout(TIMEOUT);
    let mut server = Endpoint::new(&protocol);
    server.now = Duration::from_secs(7);
    server.receive(REQUEST);
    server.take_found();
    server.take_said();
    server
}

/// Moves the time to the next deadline, calls the decoder, and returns the ping that was due.
#[track_caller]
fn next_ping(server: &mut Endpoint<WebSocket>) -> Frame {
    server.now = server.next_deadline().expect("a ping is due");
    server.meet_deadline().expect("nothing is overdue");
    let mut said = Frame::parse_all(&server.take_said());
    assert_eq!(said.len(), 1);
    let ping = said.remove(0);
    assert_eq!(ping.first, 0x89);
    ping
}

#[test]
fn pings_are_sent_in_their_period() {
    let mut server = open();
    for round in 1..=5 {
        let ping = next_ping(&mut server);
        assert_eq!(server.now, Duration::from_secs(7) + EVERY * round);
        server.receive(&from_client(&[Frame::pong(ping.payload)]));
    }
    assert_eq!(server.failure, None);
}

#[test]
fn a_deadline_that_is_met_early_does_nothing() {
    let mut server = open();
    let due = server.next_deadline();
    server.now += EVERY - Duration::from_millis(1);
    assert_eq!(server.meet_deadline(), Ok(()));
    assert_eq!(server.take_said(), b"");
    assert_eq!(server.next_deadline(), due);
}

#[test]
fn a_ping_without_a_pong_in_time_ends_the_connection() {
    let mut server = open();
    next_ping(&mut server);
    let pinged = server.now;
    // A message is a sign of life when it comes, but does not replace the pong.
    server.receive(&from_client(&[Frame::text("x")]));
    // The second ping does not postpone the timeout of the first.
    next_ping(&mut server);
    assert_eq!(server.next_deadline(), Some(pinged + TIMEOUT));
    server.now = pinged + TIMEOUT;
    assert_eq!(server.meet_deadline(), Err(WebSocketError::PongTimeout));
    let said = Frame::parse_all(&server.take_said());
    let reason = WebSocketError::PongTimeout.to_string();
    assert_eq!(said, [Frame::close(1008, reason)]);
    assert_eq!(server.next_deadline(), None);
}

/// Section 5.5.3: a pong may be unsolicited; it proves in any case that the peer is alive.
#[test]
fn any_pong_is_a_sign_of_life() {
    let mut server = open();
    for _ in 0..5 {
        next_ping(&mut server);
        server.receive(&from_client(&[Frame::pong("of another kind")]));
    }
    assert_eq!(server.failure, None);
}

#[test]
fn by_default_a_peer_is_pinged_after_30_seconds_and_has_20_to_answer() {
    let mut server = open_server(&WebSocket::new());
    next_ping(&mut server);
    assert_eq!(server.now, Duration::from_secs(30));
    server.now += Duration::from_secs(20);
    assert_eq!(server.meet_deadline(), Err(WebSocketError::PongTimeout));
}

/// It was closed in the middle of its frame, into which it cannot put a pong.
#[test]
fn a_peer_within_a_long_frame_is_alive_while_its_bytes_come() {
    let mut server = open();
    let frame = Frame::binary(vec![7; 50_000]).masked(KEY).bytes();
    for part in frame[..40_000].chunks(4_000) {
        server.now = server.next_deadline().expect("pings go on");
        assert_eq!(server.meet_deadline(), Ok(()));
        server.now += TIMEOUT - Duration::from_millis(1);
        server.receive(part);
        assert_eq!(server.meet_deadline(), Ok(()));
    }
    let last = server.now;
    server.now = last + TIMEOUT - Duration::from_nanos(1);
    assert_eq!(server.meet_deadline(), Ok(()));
    server.now = last + TIMEOUT;
    assert_eq!(server.meet_deadline(), Err(WebSocketError::PongTimeout));
}

/// Pings cannot be sent any more, and a peer that was gone kept its connection for ever.
#[test]
fn after_our_end_of_stream_the_peer_may_not_be_silent_for_longer_than_the_timeout() {
    for protocol in [
        WebSocket::new().ping_every(EVERY),
        WebSocket::new().ping_every(None),
    ] {
        let mut server = open_server(&protocol.pong_timeout(TIMEOUT));
        server.now += Duration::from_secs(3);
        server.end_stream();
        assert_eq!(server.next_deadline(), Some(server.now));
        assert_eq!(server.meet_deadline(), Ok(()));
        assert_eq!(server.next_deadline(), Some(server.now + TIMEOUT));
        // Neither a message nor a pong ends the deadline, but each puts it off.
        for frame in [Frame::text("x"), Frame::pong("x"), Frame::text("y")] {
            server.now += TIMEOUT - Duration::from_millis(1);
            server.receive(&from_client(&[frame]));
            server.now += Duration::from_millis(1);
            assert_eq!(server.meet_deadline(), Ok(()));
        }
        assert_eq!(server.take_said(), b"", "nothing is sent");
        server.now = server.next_deadline().expect("it has a deadline");
        assert_eq!(server.now, server.heard_at + TIMEOUT);
        assert_eq!(server.meet_deadline(), Err(WebSocketError::PongTimeout));
    }
}

/// A pong that arrived in time counts, even if it is read only when the deadline is checked.
#[test]
fn a_pong_cancels_the_deadline() {
    let mut server = open();
    let ping = next_ping(&mut server);
    server.now += TIMEOUT;
    server.receive(&from_client(&[Frame::pong(ping.payload)]));
    assert_eq!(server.meet_deadline(), Ok(()));
}

/// A peer whose input is not read cannot be late. It gets the whole timeout again after the last such check.
#[test]
fn a_peer_whose_input_is_not_read_is_not_overdue() {
    let mut server = open();
    next_ping(&mut server);
    server.peer_is_held_back = true;
    for _ in 0..5 {
        server.now += TIMEOUT;
        assert_eq!(server.meet_deadline(), Ok(()));
    }
    // The test does not say since when the input is read again; the timeout counts from now.
    server.peer_is_held_back = false;
    server.now += TIMEOUT;
    assert_eq!(server.meet_deadline(), Ok(()));
    let last_look = server.now;
    server.now += TIMEOUT - Duration::from_nanos(1);
    assert_eq!(server.meet_deadline(), Ok(()));
    server.now = last_look + TIMEOUT;
    assert_eq!(server.meet_deadline(), Err(WebSocketError::PongTimeout));
}

/// The timeout of a ping that waits behind other output starts only when that output has been sent.
#[test]
fn a_ping_behind_pending_output_gets_its_whole_timeout_afterwards() {
    let mut server = open();
    server.peer_is_held_back = true;
    next_ping(&mut server);
    server.peer_is_held_back = false;
    server.now += TIMEOUT;
    assert_eq!(server.meet_deadline(), Ok(()));
    server.now += TIMEOUT;
    assert_eq!(server.meet_deadline(), Err(WebSocketError::PongTimeout));
}

#[test]
fn a_connection_that_closes_is_not_pinged() {
    let mut server = open();
    server.receive(&from_client(&[Frame::close(1000, "")]));
    server.take_said();
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_connection_without_pings_has_no_deadline() {
    let mut server = Endpoint::new(&WebSocket::new().ping_every(None));
    server.receive(REQUEST);
    assert_eq!(server.next_deadline(), None);
    server.receive(&from_client(&[Frame::pong(""), Frame::text("x")]));
    assert_eq!(server.next_deadline(), None);
}
