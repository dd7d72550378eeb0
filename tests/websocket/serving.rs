//! The server over real sockets: opening, messages, and sends from other threads.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringwheel::websocket::{
    CloseCode, Kind, Message, MessageBuf, Origins, WebSocket, WebSocketError,
};
use ringwheel::{SendError, Server};
use support::websocket::{
    ANSWER, CodecPeer, Found, Frame, KEY, Peer, REQUEST, from_client, plain_client,
};
use support::{Client, DEADLINE, TestServer, listen};

use crate::opening::{Doors, request_with, status_of, without_date};
use crate::probe::{Event, Probe, Reports};

const SHORT: Duration = Duration::from_millis(150);

fn echo_server() -> (TestServer, Reports) {
    let (probe, reports) = Probe::echo();
    (TestServer::start(listen(WebSocket::new()), probe), reports)
}

#[test]
fn messages_are_echoed() {
    let (server, reports) = echo_server();
    let mut peer = Peer::open(&server);
    let long = "é中𝄞".repeat(30_000);
    for frame in [
        Frame::text(""),
        Frame::text("hello"),
        Frame::binary([0xFF; 126]),
        Frame::text(&long),
        Frame::binary(vec![7; 300_000]),
    ] {
        peer.send(frame.clone());
        peer.expect(frame);
    }
    peer.send(Frame::text("he").fragment());
    peer.send(Frame::ping("between"));
    peer.send(Frame::continuation("llo"));
    peer.expect(Frame::pong("between"));
    peer.expect(Frame::text("hello"));
    reports.finish(server);
}

#[test]
fn messages_of_the_crates_own_client_are_echoed() {
    let (probe, reports) = Probe::echo();
    let probe = probe.on_open(|conn| {
        assert!(!conn.is_compressed());
        conn.send_text("welcome");
    });
    let server = TestServer::start(listen(WebSocket::new()), probe);
    let mut peer = CodecPeer::open(&server, &plain_client());
    assert_eq!(peer.next_found(), Found::text("welcome"));
    let long = "é中𝄞".repeat(30_000);
    for message in [
        Message::Text(""),
        Message::Text("hello"),
        Message::Binary(&[1, 2, 3]),
        Message::Text(&long),
    ] {
        peer.send(message);
        assert_eq!(peer.next_found(), Found::from(message));
    }
    peer.close();
    assert_eq!(peer.next_found(), Found::End);
    peer.expect_end();
    drop(peer);
    let ending = reports.close();
    assert_eq!(ending.reason, "Peer");
    assert_eq!(ending.words(), Some((Some(1000), "")));
    reports.finish(server);
}

#[cfg(feature = "deflate")]
#[test]
fn compressed_messages_are_echoed() {
    use ringwheel::websocket::Deflate;

    for takeover in [false, true] {
        let (probe, reports) = Probe::echo();
        let probe = probe.on_open(|conn| assert!(conn.is_compressed()));
        let deflate = Deflate::new()
            .min_size(16)
            .server_context_takeover(takeover)
            .client_context_takeover(takeover);
        let protocol = WebSocket::new().deflate(deflate);
        let server = TestServer::start(listen(protocol), probe);
        let mut peer = CodecPeer::open(&server, &plain_client().deflate(deflate));
        for round in 0..20 {
            let text = format!("{round}: ").repeat(1 << (round / 2));
            peer.send(Message::Text(&text));
            assert_eq!(peer.next_found(), Found::text(text));
        }
        peer.close();
        assert_eq!(peer.next_found(), Found::End);
        peer.expect_end();
        drop(peer);
        assert_eq!(reports.close().reason, "Peer");
        reports.finish(server);
    }
}

/// The compressor's release was delayed until the next ping, because the timer was already set for that.
#[cfg(feature = "deflate")]
#[test]
fn an_idle_compressor_is_released_long_before_the_next_ping() {
    use std::cell::RefCell;

    use ringwheel::websocket::Deflate;

    use support::{Random, eventually};

    const RELEASE: Duration = Duration::from_millis(20);
    let (probe, reports) = Probe::echo();
    let deflate = Deflate::new()
        .min_size(0)
        .server_context_takeover(true)
        .idle_release(RELEASE);
    let protocol = WebSocket::new()
        .deflate(deflate)
        .ping_every(Duration::from_secs(600));
    let server = TestServer::start(listen(protocol), probe);
    let mut peer = Peer::around(server.connect());
    let version = "Sec-WebSocket-Version: 13";
    let offer = format!("{version}\r\nSec-WebSocket-Extensions: permessage-deflate");
    peer.client.send(&request_with(version, &offer));
    assert_eq!(status_of(peer.head().as_bytes()), 101);

    let mut random = Random::new(1);
    let text: String = (0..30)
        .map(|_| format!("{:016x}", random.next_number()))
        .collect();
    let peer = RefCell::new(peer);
    let echo = || {
        let mut peer = peer.borrow_mut();
        peer.send(Frame::text(&text));
        peer.next_frame()
    };
    let first = echo();
    eventually("earlier messages are referred to", || {
        echo().payload.len() < 50
    });
    eventually("the compressor is released", || {
        server.let_pass(4 * RELEASE);
        echo() == first
    });
    reports.finish(server);
}

#[test]
fn a_handshake_in_single_bytes_with_frames_behind_it() {
    let (server, reports) = echo_server();
    let mut peer = Peer::around(server.connect());
    let early = from_client(&[Frame::text("early")]);
    for byte in REQUEST.iter().chain(&early) {
        peer.client.send(&[*byte]);
    }
    peer.expect_bytes(ANSWER);
    peer.expect(Frame::text("early"));
    peer.check_echo();
    reports.finish(server);
}

#[test]
fn frames_that_come_with_the_request_are_delivered_after_the_open() {
    let (server, reports) = echo_server();
    let mut peer = Peer::around(server.connect());
    let early = from_client(&[Frame::text("one"), Frame::ping("p"), Frame::binary("two")]);
    peer.client.send(&[REQUEST, &early].concat());
    peer.expect_bytes(ANSWER);
    peer.expect(Frame::text("one"));
    peer.expect(Frame::pong("p"));
    peer.expect(Frame::binary("two"));
    assert_eq!(reports.next(), Event::Open);
    assert_eq!(reports.message(), Found::text("one"));
    assert_eq!(reports.message(), Found::binary("two"));
    reports.finish(server);
}

#[test]
fn a_connection_opens_when_its_handshake_is_complete_and_not_before() {
    let (probe, reports) = Probe::echo();
    let probe = probe.on_open(|conn| {
        conn.send_text("welcome");
    });
    let server = TestServer::start(listen(WebSocket::new()), probe);
    let mut slow = Peer::around(server.connect());
    let (front, back) = REQUEST.split_at(REQUEST.len() - 1);
    slow.client.send(front);
    // Meanwhile other connections open and close on the same loop.
    let mut other = Peer::open(&server);
    other.expect(Frame::text("welcome"));
    other.check_echo();
    let opens = |reports: &Reports| {
        let opens = reports.so_far().into_iter();
        opens.filter(|(_, event)| *event == Event::Open).count()
    };
    assert_eq!(opens(&reports), 1);
    slow.client.send(back);
    slow.expect_bytes(ANSWER);
    slow.expect(Frame::text("welcome"));
    slow.check_echo();
    assert_eq!(opens(&reports), 2);
    reports.finish(server);
}

#[test]
fn the_handlers_session_begins_with_the_state_of_the_handshake() {
    let (probe, reports) = Probe::<Doors>::new();
    let probe = probe.on_open(|conn| {
        let state = conn.take_state().expect("the state can be taken once");
        assert_eq!(conn.take_state(), None);
        let subprotocol = conn.subprotocol().map(String::from);
        conn.send_text(&format!("{state} {subprotocol:?}"));
    });
    let server = TestServer::start(listen(WebSocket::accepting(Doors)), probe);
    for (line, replacement, welcome) in [
        ("GET /chat", "GET /room?x=1", "/room None"),
        (
            "Host",
            "Sec-WebSocket-Protocol: v2\r\nHost",
            "/chat Some(\"v2\")",
        ),
    ] {
        let mut peer = Peer::around(server.connect());
        peer.client.send(&request_with(line, replacement));
        let head = peer.head();
        assert!(head.contains("\r\nX-Door: open\r\n"), "{head}");
        peer.expect(Frame::text(welcome));
    }
    reports.finish(server);
}

#[test]
fn refused_handshakes_are_answered_and_not_reported_to_the_handler() {
    let (probe, reports) = Probe::<Doors>::new();
    let protocol = WebSocket::accepting(Doors)
        .origins(Origins::same_host())
        .max_head(1000);
    let server = TestServer::start(listen(protocol), probe);
    let long = format!("X-Long: {}\r\nHost", "x".repeat(1000));
    let long_target = format!("GET /{}", "x".repeat(1000));
    for (line, replacement, status) in [
        ("GET /chat", "GET /closed", 404),
        ("GET /chat", "PUT /chat", 405),
        ("GET /chat", "BREW /chat", 501),
        ("GET /chat", &long_target, 414),
        ("Version: 13", "Version: 12", 426),
        ("Upgrade: websocket\r\n", "", 426),
        ("Host", &long, 431),
        ("Host", "Origin: http://evil.example\r\nHost", 403),
        ("GET /chat", "\0", 400),
    ] {
        let mut client = server.connect();
        let _ = client.try_send(&request_with(line, replacement));
        let answer = client.receive_rest();
        assert_eq!(status_of(&answer), status, "{replacement}");
    }
    // One client ends within its request, and one sends nothing.
    let mut client = server.connect();
    client.send(&REQUEST[..50]);
    client.finish();
    client.expect_eof();
    let mut client = server.connect();
    client.finish();
    client.expect_eof();
    server.handle().shutdown(DEADLINE);
    server.join();
    assert_eq!(reports.so_far(), []);
}

#[test]
fn plain_http_is_answered_on_the_same_port() {
    let (probe, reports) = Probe::<Doors>::new();
    let server = TestServer::start(listen(WebSocket::accepting(Doors)), probe);
    let ask = |request: &str| {
        let mut client = server.connect();
        client.send(request.as_bytes());
        String::from_utf8(client.receive_rest()).unwrap()
    };
    let page = ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(page.as_bytes()), 200);
    assert!(page.ends_with("\r\n\r\n<p>hello"), "{page}");
    let head = ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let page = without_date(&page);
    assert_eq!(without_date(&head), page.strip_suffix("<p>hello").unwrap());
    let none = ask("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(none.as_bytes()), 426);
    server.handle().stop();
    server.join();
    assert_eq!(reports.so_far(), []);
}

#[test]
fn a_handshake_that_takes_too_long_is_answered_with_408() {
    let (probe, reports) = Probe::echo();
    let protocol = WebSocket::new().handshake_timeout(SHORT);
    let server = TestServer::start(listen(protocol), probe);
    for begun in [b"" as &[u8], &REQUEST[..REQUEST.len() - 1]] {
        let start = Instant::now();
        let mut client = server.connect();
        client.send(begun);
        let answer = client.receive_rest();
        assert_eq!(status_of(&answer), 408);
        assert!(start.elapsed() >= SHORT);
    }
    server.handle().stop();
    server.join();
    assert_eq!(reports.so_far(), []);
}

/// The deadline of the handshake does not apply to the open connection.
#[test]
fn an_open_connection_outlives_the_deadline_of_its_handshake() {
    let (probe, reports) = Probe::echo();
    let protocol = WebSocket::new().handshake_timeout(SHORT);
    let (server, mut peer) = Peer::open_early(listen(protocol), probe, b"");
    // The deadline ends another connection, which begins later.
    let mut silent = server.connect();
    assert_eq!(status_of(&silent.receive_rest()), 408);
    peer.check_echo();
    reports.finish(server);
}

#[test]
fn other_threads_send_ping_and_close() {
    let (handles, lent) = channel();
    let (probe, reports) = Probe::new();
    let probe = probe.on_open(move |conn| handles.send(conn.handle()).unwrap());
    let server = TestServer::start(listen(WebSocket::new()), probe);
    let mut peer = Peer::open(&server);
    let handle = lent.recv_timeout(DEADLINE).unwrap();
    handle.send_text("text").unwrap();
    handle.send_binary(vec![1, 2, 3]).unwrap();
    handle.ping().unwrap();
    handle.send(MessageBuf::text("message")).unwrap();
    let code = CloseCode::new(4321).unwrap();
    handle.close_with(code, "that is all").unwrap();
    let _ = handle.send_text("late");
    peer.expect(Frame::text("text"));
    peer.expect(Frame::binary([1, 2, 3]));
    let ping = peer.next_frame();
    assert_eq!(ping.first, 0x89);
    peer.send(Frame::pong(ping.payload));
    peer.expect(Frame::text("message"));
    peer.expect(Frame::close(4321, "that is all"));
    peer.send(Frame::close(4321, ""));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Local");
    assert!(!handle.is_alive());
    assert_eq!(handle.ping(), Err(SendError::Closed(())));
    assert_eq!(
        handle.send_text("late"),
        Err(SendError::Closed(MessageBuf::text("late")))
    );
    reports.finish(server);
}

#[test]
fn a_broadcast_reaches_all_that_are_open() {
    let (probe, reports) = Probe::echo();
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(builder, listen(WebSocket::new()), probe);
    let mut peers: Vec<Peer> = (0..8).map(|_| Peer::open(&server)).collect();
    // A connection that is still opening gets none, and is not disturbed.
    let mut opening = Peer::around(server.connect());
    opening.client.send(&REQUEST[..20]);
    peers.iter_mut().for_each(Peer::check_echo);
    let connections = server.handle().connections_of::<Probe>().unwrap();
    let long = "news ".repeat(20_000);
    for message in ["", "short", &long] {
        connections.broadcast(message).unwrap();
        connections
            .broadcast(MessageBuf::binary(message.as_bytes().to_vec()))
            .unwrap();
        for peer in &mut peers {
            peer.expect(Frame::text(message));
            peer.expect(Frame::binary(message));
        }
    }
    opening.client.send(&REQUEST[20..]);
    opening.expect_bytes(ANSWER);
    opening.check_echo();
    let conns: HashSet<_> = reports.so_far().into_iter().map(|(conn, _)| conn).collect();
    assert_eq!(conns.len(), 9);
    reports.finish(server);
}

#[cfg(feature = "deflate")]
#[test]
fn a_broadcast_reaches_compressed_and_plain_clients_alike() {
    use ringwheel::websocket::Deflate;

    let (probe, reports) = Probe::echo();
    let deflate = Deflate::new().min_size(0);
    let takeover = deflate.server_context_takeover(true);
    let server = TestServer::start(listen(WebSocket::new().deflate(takeover)), probe);
    let clients = [
        plain_client(),
        plain_client().deflate(deflate),
        plain_client().deflate(takeover),
        plain_client().deflate(takeover.server_max_window_bits(9)),
    ];
    let mut peers = clients.map(|client| CodecPeer::open(&server, &client));
    for peer in &mut peers {
        peer.send(Message::Text("here"));
        assert_eq!(peer.next_found(), Found::text("here"));
    }
    let all = server.handle().connections_of::<Probe>().unwrap();
    for round in 0..5 {
        let news = format!("news of round {round}, ").repeat(100);
        all.broadcast(&*news).unwrap();
        for peer in &mut peers {
            assert_eq!(peer.next_found(), Found::text(&*news));
            // Echoes in between refer to earlier messages.
            peer.send(Message::Text("and an echo"));
            assert_eq!(peer.next_found(), Found::text("and an echo"));
        }
    }
    reports.finish(server);
}

#[test]
fn bad_text_is_refused_before_its_frame_is_whole() {
    let (server, reports) = echo_server();
    for length in [1000, 100_000] {
        let mut peer = Peer::open(&server);
        let text = [&[b'x'; 500][..], b"\xff", &vec![b'x'; length]].concat();
        let frame = Frame::text(&text).masked(KEY).bytes();
        peer.client.send(&frame[..frame.len() - length + 10]);
        let error = WebSocketError::InvalidUtf8;
        peer.expect(Frame::close(1007, error.to_string()));
        peer.expect_end();
        drop(peer);
        assert_eq!(reports.close().reason, "Protocol(InvalidUtf8)");
    }
    reports.finish(server);
}

#[test]
fn pieces_are_delivered_as_they_arrive() {
    use ringwheel::websocket::{AcceptAll, Piece, Pieces};
    use ringwheel::{Conn, Handler};

    type Protocol = WebSocket<AcceptAll, Pieces>;

    /// A handler that answers each piece with the length of the message so far.
    #[derive(Clone)]
    struct Counter;

    impl Handler for Counter {
        type Protocol = Protocol;
        type Session = usize;

        fn on_open(&mut self, _conn: &mut Conn<'_, Protocol>) -> usize {
            0
        }

        fn on_message(
            &mut self,
            conn: &mut Conn<'_, Protocol>,
            session: &mut usize,
            piece: Piece<'_>,
        ) {
            assert_eq!(piece.kind, Kind::Binary);
            assert_eq!(piece.is_first, *session == 0);
            *session += piece.bytes.len();
            conn.send_text(&format!("{} {}", session, piece.is_last));
        }
    }

    let server = TestServer::start(listen(WebSocket::accepting(AcceptAll)), Counter);
    let mut client: Client = server.connect();
    client.send(REQUEST);
    let mut peer = Peer::around(client);
    peer.expect_bytes(ANSWER);
    let frame = Frame::binary([1; 3000]).masked(KEY).bytes();
    let header = frame.len() - 3000;
    peer.client.send(&frame[..header + 1000]);
    peer.expect(Frame::text("1000 false"));
    peer.client.send(&frame[header + 1000..header + 2999]);
    peer.expect(Frame::text("2999 false"));
    peer.client.send(&frame[header + 2999..]);
    peer.expect(Frame::text("3000 true"));
}

/// A timeout that a handler set within a message did not hold for this message if the protocol had consumed its beginning: a
/// fragment, or the front of a long frame.
#[test]
fn a_message_timeout_that_is_set_within_a_message_holds_for_it() {
    let (probe, reports) = Probe::new();
    let (handles, lent) = channel();
    let probe = probe.on_open(move |conn| handles.send(conn.handle()).unwrap());
    // Without a time of the listener's, which the message would keep.
    let listen = listen(WebSocket::new()).message_timeout(None);
    let server = TestServer::start(listen, probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("begun").fragment());
    peer.send(Frame::ping("begun"));
    peer.expect(Frame::pong("begun"));
    let handle = lent.recv_timeout(DEADLINE).unwrap();
    handle
        .run(|conn| conn.set_message_timeout(Some(SHORT)))
        .unwrap();
    assert_eq!(reports.close().reason, "Timeout(Message)");
    peer.client.expect_ended();
    reports.finish(server);
}
