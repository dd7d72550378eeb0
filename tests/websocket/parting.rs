//! The closing handshake over real sockets, and all other ends of a connection.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringwheel::websocket::{
    AcceptAll, CloseCode, HandshakeError, Message, WebSocket, WebSocketError,
};
use ringwheel::{Limits, Listen, Overflow, SendOutcome};
use support::websocket::{Found, Frame, KEY, Peer, REQUEST, from_client};
use support::{Client, DEADLINE, TestServer, deliberate_panic, eventually, listen, take};

use crate::probe::{Event, Probe, Reports, fill};

const SHORT: Duration = Duration::from_millis(150);
const FAR: Duration = Duration::from_secs(3600);

type Protocol = WebSocket<AcceptAll>;

fn ws() -> Listen<Protocol> {
    listen(WebSocket::new())
}

/// Limits with an output that is soon full, and that drops messages that do not fit.
fn small_output() -> Limits {
    Limits::default()
        .output(64 * 1024)
        .low_water(16 * 1024)
        .high_water(32 * 1024)
        .overflow(Overflow::DropMessage)
}

/// A server that obeys messages as commands, and one open connection.
fn obedient(listen: Listen<Protocol>) -> (TestServer, Reports, Peer) {
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
