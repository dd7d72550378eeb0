//! Messages that are delivered in pieces as they arrive.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ringwheel::websocket::{AcceptAll, Kind, Piece, Pieces, Violation, WebSocket, WebSocketError};
use ringwheel::{CloseReason, Conn, Handler, Listen};
use support::websocket::{Endpoint, Found, Frame, Peer, from_client, open_server};
use support::{DEADLINE, listen};

type Protocol = WebSocket<AcceptAll, Pieces>;

fn protocol() -> Protocol {
    WebSocket::accepting(AcceptAll)
}

/// Joins pieces into messages, each with its kind and if it is finished; only the last may be unfinished.
fn assemble(found: &[Found]) -> Vec<(Kind, Vec<u8>, bool)> {
    let mut messages: Vec<(Kind, Vec<u8>, bool)> = Vec::new();
    for found in found {
        match found {
            Found::Piece {
                kind,
                bytes,
                is_first,
                is_last,
            } => {
                let is_open = messages.last().is_some_and(|(.., is_whole)| !is_whole);
                assert_ne!(*is_first, is_open, "a message begins where none is open");
                if *is_first {
                    messages.push((*kind, Vec::new(), false));
                }
                let (open_kind, collected, is_whole) = messages.last_mut().unwrap();
                assert_eq!(open_kind, kind, "a message is of one kind");
                collected.extend_from_slice(bytes);
                *is_whole = *is_last;
            }
            Found::End => {}
            other => panic!("{other:?} is no piece"),
        }
    }
    messages
}

#[test]
fn a_message_that_has_arrived_whole_is_one_piece() {
    for length in [0, 5, 125, 126, 20_000] {
        let payload = "x".repeat(length);
        let mut server = open_server(&protocol());
        server.receive(&from_client(&[Frame::text(&payload)]));
        let piece = Found::Piece {
            kind: Kind::Text,
            bytes: payload.into_bytes(),
            is_first: true,
            is_last: true,
        };
        assert_eq!(server.found, [piece]);
    }
}

#[test]
fn bytes_are_handed_out_as_they_arrive() {
    let mut server = open_server(&protocol());
    let stream = from_client(&[Frame::binary([7; 1000])]);
    let header = stream.len() - 1000;
    server.receive(&stream[..header]);
    assert_eq!(server.take_found(), []);
    for (index, byte) in stream[header..].iter().enumerate() {
        server.receive(&[*byte]);
        let piece = Found::Piece {
            kind: Kind::Binary,
            bytes: vec![7],
            is_first: index == 0,
            is_last: index == 999,
        };
        assert_eq!(server.take_found(), [piece]);
        assert_eq!(server.input, b"");
    }
}

#[test]
fn every_cut_gives_the_same_messages() {
    let frames = [
        Frame::text("whole"),
        Frame::text("hé").fragment(),
        Frame::ping("p"),
        Frame::continuation("").fragment(),
        Frame::continuation("llo 中"),
        Frame::binary(""),
        Frame::binary("").fragment(),
        Frame::continuation(""),
        Frame::binary([9; 300]),
        Frame::text("").fragment(),
        Frame::continuation("end"),
        Frame::close(1000, "bye"),
    ];
    let expected = [
        (Kind::Text, b"whole".to_vec(), true),
        (Kind::Text, "héllo 中".into(), true),
        (Kind::Binary, vec![], true),
        (Kind::Binary, vec![], true),
        (Kind::Binary, vec![9; 300], true),
        (Kind::Text, b"end".to_vec(), true),
    ];
    let stream = from_client(&frames);
    let assert_read = |server: &mut Endpoint<Protocol>| {
        assert_eq!(server.failure, None);
        assert_eq!(assemble(&server.found), expected);
        assert_eq!(server.found.last(), Some(&Found::End));
        let said = Frame::parse_all(&server.take_said());
        assert_eq!(said, [Frame::pong("p"), Frame::close(1000, "")]);
    };
    for first in 0..stream.len() {
        let mut server = open_server(&protocol());
        server.receive(&stream[..first]).receive(&stream[first..]);
        assert_read(&mut server);
    }
    let mut server = open_server(&protocol());
    for byte in &stream {
        server.receive(&[*byte]);
    }
    assert_read(&mut server);
}

/// A long message takes no memory, whatever its length.
#[test]
fn a_message_of_any_length_takes_no_memory() {
    const PIECE: usize = 64 * 1024;
    const LENGTH: u64 = 1 << 40;
    let mut server = open_server(&protocol().max_message(LENGTH as usize));
    let header = Frame::binary("")
        .masked([0; 4])
        .bytes_with_length(LENGTH, 8);
    server.receive(&header);
    for index in 0..64 {
        server.receive(&[1; PIECE]);
        let found = server.take_found();
        assert!(matches!(
            &*found,
            [Found::Piece { bytes, is_first, is_last: false, .. }]
                if bytes.len() == PIECE && *is_first == (index == 0)
        ));
    }
    let header = Frame::binary("")
        .masked([0; 4])
        .bytes_with_length(LENGTH + 1, 8);
    let mut server = open_server(&protocol().max_message(LENGTH as usize));
    server.receive(&header);
    assert_eq!(server.failure, Some(WebSocketError::MessageTooBig));
}

#[test]
fn text_is_checked_across_pieces() {
    let text = "é".repeat(10);
    let stream = from_client(&[Frame::text(&text)]);
    for cut in 1..stream.len() {
        let mut server = open_server(&protocol());
        server.receive(&stream[..cut]).receive(&stream[cut..]);
        let messages = assemble(&server.found);
        assert_eq!(messages, [(Kind::Text, text.clone().into_bytes(), true)]);
    }
    // A bad byte is refused when it arrives, and is not delivered.
    let bad = [text.as_bytes(), b"\xc3(", text.as_bytes()].concat();
    let stream = from_client(&[Frame::text(&bad)]);
    let bad_at = stream.len() - bad.len() + text.len() + 1;
    let mut server = open_server(&protocol());
    for byte in &stream[..bad_at] {
        server.receive(&[*byte]);
    }
    assert_eq!(server.failure, None);
    server.receive(&stream[bad_at..=bad_at]);
    assert_eq!(server.failure, Some(WebSocketError::InvalidUtf8));
    // A message that ends within a character is refused too.
    let mut server = open_server(&protocol());
    let cut = Frame::text("é".as_bytes().split_at(1).0).fragment();
    server.receive(&from_client(&[cut, Frame::continuation("")]));
    assert_eq!(server.failure, Some(WebSocketError::InvalidUtf8));
}

#[test]
fn pieces_keep_the_order_of_frames() {
    let mut server = open_server(&protocol());
    server.receive(&from_client(&[Frame::text("a").fragment()]));
    server.receive(&from_client(&[Frame::text("b")]));
    assert_eq!(server.failure, Some(Violation::UnfinishedMessage.into()));
    assert_eq!(
        assemble(&server.found),
        [(Kind::Text, b"a".to_vec(), false)]
    );
    let mut server = open_server(&protocol());
    server.receive(&from_client(&[Frame::text("a"), Frame::continuation("b")]));
    assert_eq!(server.failure, Some(Violation::StrayContinuation.into()));
}

#[cfg(feature = "deflate")]
#[test]
fn compressed_messages_come_in_pieces_too() {
    use ringwheel::websocket::{Deflate, Message};
    use support::websocket::connect;
    use support::websocket::plain_client;

    let deflate = Deflate::new().min_size(0);
    let text = "a compressible text, é, ".repeat(5_000);
    let (mut client, mut server) = connect(
        &plain_client().deflate(deflate),
        &protocol().deflate(deflate),
    );
    for length in [0, 1, 100, text.len()] {
        assert!(client.send(Message::Binary(&text.as_bytes()[..length])));
        assert!(client.send(Message::Text(&text)));
        let stream = client.take_said();
        for part in stream.chunks(7) {
            server.receive(part);
        }
        assert_eq!(server.failure, None);
        let expected = [
            (Kind::Binary, text.as_bytes()[..length].to_vec(), true),
            (Kind::Text, text.clone().into_bytes(), true),
        ];
        let found = server.take_found();
        assert!(assemble(&found) == expected);
        assert!(
            found.len() > 20,
            "the pieces come before the message is whole"
        );
    }
}

/// A handler that reports the number of pieces before the end, and the reason of the end.
#[derive(Clone)]
struct Counter(Sender<(usize, String)>);

impl Handler for Counter {
    type Protocol = Protocol;
    type Session = usize;

    fn on_open(&mut self, _: &mut Conn<'_, Protocol>) -> usize {
        0
    }

    fn on_message(&mut self, _: &mut Conn<'_, Protocol>, pieces: &mut usize, _: Piece<'_>) {
        *pieces += 1;
    }

    fn on_close(
        &mut self,
        _: &Conn<'_, Protocol>,
        pieces: usize,
        reason: CloseReason<WebSocketError>,
    ) {
        self.0.send((pieces, format!("{reason:?}"))).unwrap();
    }
}

/// Sends one endless message byte by byte, until the server ends the connection.
#[track_caller]
fn assert_drip_is_ended(
    limit: impl FnOnce(Listen<Protocol>, Duration) -> Listen<Protocol>,
    reason: &str,
) {
    const TIMEOUT: Duration = Duration::from_millis(150);
    let (ended, is_ended) = channel();
    let listen = limit(listen(protocol().max_message(1 << 40)), TIMEOUT);
    let header = Frame::binary("").masked([0; 4]);
    let mut begun = header.bytes_with_length(1 << 40, 8);
    begun.push(b'x');
    let (server, mut peer) = Peer::open_early(listen, Counter(ended), &begun);
    let start = Instant::now();
    let (pieces, ending) = loop {
        assert!(start.elapsed() < DEADLINE, "the connection has not ended");
        // The server may have ended the connection meanwhile.
        let _ = peer.client.try_send(b"x");
        match is_ended.recv_timeout(TIMEOUT / 20) {
            Err(RecvTimeoutError::Timeout) => {}
            told => break told.expect("the handler reports the end"),
        }
    };
    assert_eq!(ending, reason);
    assert!(pieces > 0);
    server.handle().stop();
    server.join();
}

/// Each piece counted as a message, so the timeout of a message never fired.
#[test]
fn a_slow_message_is_ended_by_the_message_timeout() {
    assert_drip_is_ended(Listen::message_timeout, "Timeout(Message)");
}

/// The same for the first message: its first piece counted as the whole.
#[test]
fn a_slow_first_message_is_ended_by_the_first_message_timeout() {
    assert_drip_is_ended(Listen::first_message_timeout, "Timeout(FirstMessage)");
}
