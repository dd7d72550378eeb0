//! Messages and connections that are not compressed although the peers agreed on compression, over real sockets.

#![cfg(feature = "deflate")]

use std::sync::mpsc::channel;

use ringwheel::websocket::{Accept, Answer, Deflate, Message, MessageBuf, Request, WebSocket};
use ringwheel::{Listen, SendStatus};

use crate::opening::{request_with, status_of};
use crate::probe::Probe;
use support::websocket::Peer;
use support::websocket::{Frame, RSV1};
use support::{TestServer, listen, take};

const TEXT: &str = "a text with a text with a text in it";

fn compressing<A: Accept>(protocol: WebSocket<A>) -> Listen<WebSocket<A>> {
    let deflate = Deflate::new().min_size(0).server_context_takeover(true);
    listen(protocol.deflate(deflate))
}

/// Opens a connection with an offer of compression; returns the head of the answer, too.
fn open(server: &TestServer, path: &str) -> (Peer, String) {
    let mut peer = Peer::around(server.connect());
    let request = request_with(
        "GET /chat HTTP/1.1\r\n",
        &format!("GET {path} HTTP/1.1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
    );
    peer.client.send(&request);
    let head = peer.head();
    assert_eq!(status_of(head.as_bytes()), 101);
    (peer, head)
}

fn is_compressed(frame: &Frame) -> bool {
    frame.first & RSV1 != 0
}

#[test]
fn one_message_is_not_compressed() {
    let (probe, reports) = Probe::new();
    let shared = MessageBuf::text(TEXT);
    // The message exists in both forms at the same time.
    let uncompressed = shared.clone().without_compression();
    assert_eq!(shared, uncompressed);
    let probe = probe.on_message(move |conn, message| {
        assert!(conn.is_compressed());
        conn.send(message);
        conn.send_uncompressed(message);
        conn.send_owned(&uncompressed);
        conn.send_owned(&MessageBuf::text(TEXT).without_compression());
        conn.send_owned(&shared);
        conn.send_last_fragment(message);
        conn.send(message);
    });
    let server = TestServer::start(compressing(WebSocket::new()), probe);
    let (mut peer, head) = open(&server, "/");
    assert!(head.contains("permessage-deflate"), "{head}");
    peer.send(Frame::text(TEXT));
    for expected in [true, false, false, false, true, false, true] {
        let frame = peer.next_frame();
        assert_eq!(is_compressed(&frame), expected, "{frame:?}");
        if !expected {
            assert_eq!(frame, Frame::text(TEXT));
        }
    }
    reports.finish(server);
}

/// What a peer has sent cost 1.4 s of processor time when it was echoed at level 9.
#[test]
fn a_message_above_the_largest_size_is_not_compressed() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, message| {
        conn.send(message);
        // The form that the subscribers of a publication share.
        conn.send_owned(&MessageBuf::from(message));
    });
    let largest = TEXT.len() as u32;
    let deflate = Deflate::new().min_size(0).max_size(largest);
    let server = TestServer::start(listen(WebSocket::new().deflate(deflate)), probe);
    let (mut peer, _) = open(&server, "/");
    let longer = format!("{TEXT}!");
    for (text, expected) in [(TEXT, true), (&longer, false), (TEXT, true)] {
        peer.send(Frame::text(text));
        for _ in 0..2 {
            let frame = peer.next_frame();
            assert_eq!(is_compressed(&frame), expected, "{frame:?}");
            assert!(expected || frame == Frame::text(text), "{frame:?}");
        }
    }
    reports.finish(server);
}

/// Little leaves of messages that compress well, so code that sends until it is told to wait compressed for ever.
#[test]
fn a_peer_that_reads_fast_is_pressure_too() {
    let (counts, sent) = channel();
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(move |conn, _| {
        let text = "a".repeat(16_000);
        let statuses = std::iter::repeat_with(|| conn.send_text(&text)).take(1_000);
        let queued = statuses.take_while(|status| *status == SendStatus::Queued);
        counts.send(queued.count() + 1).unwrap();
    });
    let server = TestServer::start(compressing(WebSocket::new()), probe);
    let (mut peer, _) = open(&server, "/");
    peer.send(Frame::text("go"));
    let count = take(&sent);
    assert!(
        count <= 10,
        "{count} messages are compressed in one callback"
    );
    (0..count).for_each(|_| assert!(is_compressed(&peer.next_frame())));
    reports.finish(server);
}

#[test]
fn compression_is_turned_off_and_on_again() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, message| match message {
        Message::Text("off") => conn.set_compression(false),
        Message::Text("on") => conn.set_compression(true),
        _ => {
            conn.send(message);
            conn.send_owned(&MessageBuf::from(message));
        }
    });
    let server = TestServer::start(compressing(WebSocket::new()), probe);
    let (mut peer, _) = open(&server, "/");
    for (step, expected) in [("-", true), ("off", false), ("on", true)] {
        peer.send(Frame::text(step));
        peer.send(Frame::text(TEXT));
        if step == "-" {
            let _ = (peer.next_frame(), peer.next_frame());
        }
        for _ in 0..2 {
            assert_eq!(is_compressed(&peer.next_frame()), expected, "after {step}");
        }
    }
    // Compression stays off if it was not agreed on.
    let mut plain = Peer::open(&server);
    plain.send(Frame::text("on"));
    plain.send(Frame::text(TEXT));
    plain.expect(Frame::text(TEXT));
    plain.expect(Frame::text(TEXT));
    reports.finish(server);
}

#[test]
fn the_server_declines_compression_on_a_connection() {
    fn admit(request: &Request<'_>) -> Answer<()> {
        match request.path() {
            "/video" => Answer::accept(()).without_compression(),
            _ => Answer::accept(()),
        }
    }
    type Admit = fn(&Request<'_>) -> Answer<()>;
    let (probe, reports) = Probe::<Admit>::echo();
    let server = TestServer::start(compressing(WebSocket::accepting(admit as Admit)), probe);
    for (path, expected) in [("/video", false), ("/chat", true)] {
        let (mut peer, head) = open(&server, path);
        assert_eq!(
            head.contains("Sec-WebSocket-Extensions"),
            expected,
            "{head}"
        );
        peer.send(Frame::text(TEXT));
        assert_eq!(is_compressed(&peer.next_frame()), expected, "{path}");
    }
    reports.finish(server);
}
