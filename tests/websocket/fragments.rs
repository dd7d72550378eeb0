//! Messages that the server sends in fragments, over real sockets.

use ringwheel::websocket::{CloseCode, Message, MessageBuf, WebSocket};
use ringwheel::{Limits, Overflow, Refusal, SendStatus, SourceStep};

use crate::probe::{Probe, Reports, WsConn};
use support::websocket::Frame;
use support::websocket::Peer;
use support::{TestServer, listen};

fn start(
    action: impl Fn(&mut WsConn<'_>, &str) + Send + Sync + 'static,
) -> (TestServer, Reports, Peer) {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(move |conn, message| {
        action(conn, message.as_text().expect("the test sends text"));
    });
    let limits = Limits::default()
        .output(64 * 1024)
        .low_water(16 * 1024)
        .high_water(32 * 1024)
        .overflow(Overflow::Refuse);
    let server = TestServer::start(listen(WebSocket::new()).limits(limits), probe);
    let peer = Peer::open(&server);
    (server, reports, peer)
}

fn is_misuse(status: SendStatus) -> bool {
    matches!(status, SendStatus::Refused(Refusal::Pack(_)))
}

/// A message far above the output limit, drawn from a source while the peer reads. Control frames come between its fragments;
/// other messages are refused until it is finished.
#[test]
fn a_message_above_the_output_limit_is_sent_from_a_source() {
    const PIECE: usize = 10_000;
    const PIECES: usize = 500;
    let (server, reports, mut peer) = start(|conn, step| match step {
        "begin" => {
            let mut sent = 0;
            conn.send_from(move |conn| {
                let piece = "x".repeat(PIECE);
                sent += 1;
                if sent == PIECES {
                    assert!(conn.send_last_fragment(Message::Text(&piece)).is_queued());
                    return SourceStep::Done;
                }
                assert!(conn.send_fragment(Message::Text(&piece)).is_queued());
                if sent == 1 {
                    SourceStep::Wait
                } else {
                    SourceStep::More
                }
            });
        }
        "go on" => {
            assert!(is_misuse(conn.send_text("between")));
            assert!(conn.ping_with(b"between").is_queued());
            conn.resume_sources();
            conn.close();
        }
        other => panic!("{other} is delivered behind the close"),
    });
    peer.send(Frame::text("begin"));
    peer.expect(Frame::text("x".repeat(PIECE)).fragment());
    peer.send(Frame::ping("from the client"));
    peer.expect(Frame::pong("from the client"));
    peer.send(Frame::text("go on"));
    peer.expect(Frame::ping("between"));
    for number in 1..PIECES {
        let piece = Frame::continuation("x".repeat(PIECE));
        peer.expect(if number + 1 < PIECES {
            piece.fragment()
        } else {
            piece
        });
    }
    peer.expect(Frame::close(1000, ""));
    peer.send(Frame::close(1000, ""));
    peer.expect_end();
    reports.finish(server);
}

#[test]
fn section_5_4_a_message_in_fragments_with_control_frames_between() {
    let (server, reports, mut peer) = start(|conn, step| match step {
        "begin" => {
            assert!(conn.send_fragment(Message::Text("he")).is_queued());
            assert!(conn.ping_with(b"between").is_queued());
        }
        "go on" => assert!(conn.send_fragment(Message::Text("")).is_queued()),
        _ => {
            assert!(conn.send_fragment(Message::Text("l")).is_queued());
            assert!(conn.send_last_fragment(Message::Text("lo")).is_queued());
            conn.send_text("after");
        }
    });
    peer.send(Frame::text("begin"));
    peer.expect(Frame::text("he").fragment());
    peer.expect(Frame::ping("between"));
    peer.send(Frame::text("go on"));
    peer.expect(Frame::continuation("").fragment());
    peer.send(Frame::ping("from the client"));
    peer.expect(Frame::pong("from the client"));
    peer.send(Frame::text("end"));
    peer.expect(Frame::continuation("l").fragment());
    peer.expect(Frame::continuation("lo"));
    peer.expect(Frame::text("after"));
    reports.finish(server);
}

#[test]
fn a_last_fragment_alone_is_a_whole_message() {
    let (server, reports, mut peer) = start(|conn, _| {
        conn.send_last_fragment(Message::Binary(b"whole"));
        conn.send_binary(b"after");
    });
    peer.send(Frame::text("go"));
    peer.expect(Frame::binary("whole"));
    peer.expect(Frame::binary("after"));
    reports.finish(server);
}

#[test]
fn until_the_last_fragment_nothing_else_is_sent() {
    let (server, reports, mut peer) = start(|conn, _| {
        conn.send_fragment(Message::Binary(b"a"));
        assert!(is_misuse(conn.send_text("between")));
        assert!(is_misuse(
            conn.send_uncompressed(Message::Binary(b"between"))
        ));
        assert!(is_misuse(conn.send_owned(&MessageBuf::text("between"))));
        assert!(is_misuse(conn.send_vectored(&[b"be", b"tween"])));
        assert!(is_misuse(
            conn.send_fragment(Message::Text("of another kind"))
        ));
        assert!(is_misuse(conn.send_last_fragment(Message::Text(""))));
        conn.send_last_fragment(Message::Binary(b"b"));
        conn.send_text("after");
    });
    peer.send(Frame::text("go"));
    peer.expect(Frame::binary("a").fragment());
    peer.expect(Frame::continuation("b"));
    peer.expect(Frame::text("after"));
    reports.finish(server);
}

#[test]
fn a_fragment_that_does_not_fit_changes_nothing() {
    let (server, reports, mut peer) = start(|conn, _| {
        let too_long = vec![7; 100 * 1024];
        let refused = SendStatus::Refused(Refusal::OutputLimit);
        assert_eq!(conn.send_fragment(Message::Binary(&too_long)), refused);
        conn.send_text("no message has begun");
        conn.send_fragment(Message::Binary(b"a"));
        assert_eq!(conn.send_last_fragment(Message::Binary(&too_long)), refused);
        assert!(is_misuse(conn.send_text("it is not finished")));
        conn.send_last_fragment(Message::Binary(b"b"));
        conn.send_text("after");
    });
    peer.send(Frame::text("go"));
    peer.expect(Frame::text("no message has begun"));
    peer.expect(Frame::binary("a").fragment());
    peer.expect(Frame::continuation("b"));
    peer.expect(Frame::text("after"));
    reports.finish(server);
}

#[test]
fn a_connection_may_close_within_a_message() {
    let (server, reports, mut peer) = start(|conn, _| {
        conn.send_fragment(Message::Text("never finished"));
        conn.close_with(CloseCode::GOING_AWAY, "");
    });
    peer.send(Frame::text("go"));
    peer.expect(Frame::text("never finished").fragment());
    peer.expect(Frame::close(1001, ""));
    peer.send(Frame::close(1001, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Local");
    reports.finish(server);
}
