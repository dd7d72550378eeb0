//! Starts every WebSocket peer on a free loopback port and checks its contract, with a minimal client.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use support::{Peer, bytes, read_exactly, read_to_end};

/// The key in the example of RFC 6455, section 1.3, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Connects, and completes the handshake.
fn open(peer: &Peer) -> TcpStream {
    let mut socket = peer.connect();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket
        .write_all(request.as_bytes())
        .expect("the peer reads");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.append(&mut read_exactly(&mut socket, 1));
    }
    let response = String::from_utf8(response).expect("text");
    assert!(response.starts_with("HTTP/1.1 101 "), "{peer}: {response}");
    assert!(response.contains(ACCEPT), "{peer}: {response}");
    socket
}

/// A client's frame, masked as RFC 6455, section 5.3, requires.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0xa5, 0x00, 0xff];
    let mut frame = vec![first_byte];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message in one frame.
fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | kind, payload)
}

/// The kind and payload of the peer's next frame, which must be final and unmasked.
fn receive(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let head = read_exactly(socket, 2);
    assert_eq!(head[0] & 0xf0, 0x80, "a final frame without reserved bits");
    let length = match head[1] {
        126 => u64::from(u16::from_be_bytes(
            read_exactly(socket, 2).try_into().expect("2 bytes"),
        )),
        127 => u64::from_be_bytes(read_exactly(socket, 8).try_into().expect("8 bytes")),
        length => u64::from(length),
    };
    (head[0] & 0x0f, read_exactly(socket, length as usize))
}

/// Writes while `read` reads the answers, so that neither side waits for the other for ever.
fn send_beside(socket: &TcpStream, sent: Vec<u8>, read: impl FnOnce()) {
    let mut writer = socket.try_clone().expect("another handle");
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&sent).expect("the peer reads"));
        read();
    });
}

fn check_echo(binary: &str, arguments: &[&str]) {
    let peer = Peer::start(binary, arguments).expect("none of these peers needs io_uring");
    let mut socket = open(&peer);
    for length in [
        0,
        5,
        125,
        126,
        127,
        1024,
        1025,
        65_535,
        65_536,
        1 << 20,
        16 << 20,
    ] {
        let payload = bytes(length as u64, length);
        let sent = message(BINARY, &payload);
        send_beside(&socket.try_clone().expect("another handle"), sent, || {
            let answer = receive(&mut socket);
            assert!(answer == (BINARY, payload), "{peer}: {length} bytes");
        });
    }
    socket
        .write_all(&message(TEXT, "grüße".as_bytes()))
        .expect("the peer reads");
    assert_eq!(receive(&mut socket), (TEXT, "grüße".into()), "{peer}");

    // A ping between two fragments of a message. The message is echoed in one frame.
    let parts = [
        frame(BINARY, b"in "),
        message(PING, b"there?"),
        frame(0x80, b"parts"),
    ];
    socket.write_all(&parts.concat()).expect("the peer reads");
    assert_eq!(receive(&mut socket), (PONG, b"there?".into()), "{peer}");
    assert_eq!(receive(&mut socket), (BINARY, b"in parts".into()), "{peer}");

    // Many messages at once, cut anywhere.
    let payloads: Vec<_> = (0..200).map(|seed| bytes(seed, 300)).collect();
    let sent: Vec<u8> = payloads
        .iter()
        .flat_map(|payload| message(BINARY, payload))
        .collect();
    let mut writer = socket.try_clone().expect("another handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in sent.chunks(7) {
                writer.write_all(piece).expect("the peer reads");
            }
        });
        for payload in payloads {
            assert!(receive(&mut socket) == (BINARY, payload), "{peer}");
        }
    });

    // One client closes within a frame, the other closes in order.
    let mut gone = open(&peer);
    gone.write_all(&message(BINARY, &[0; 100])[..50])
        .expect("the peer reads");
    drop(gone);
    close(&peer, socket);
}

/// The closing handshake of RFC 6455, section 7.1.2.
fn close(peer: &Peer, mut socket: TcpStream) {
    socket
        .write_all(&message(CLOSE, &1000_u16.to_be_bytes()))
        .expect("the peer reads");
    let (kind, payload) = receive(&mut socket);
    assert_eq!(kind, CLOSE, "{peer}");
    assert_eq!(payload[..2], 1000_u16.to_be_bytes(), "{peer}");
    socket.shutdown(Shutdown::Write).expect("an end of stream");
    assert_eq!(read_to_end(&mut socket), b"", "{peer}");
}

fn check_broadcast(binary: &str, arguments: &[&str]) {
    let arguments = [&["--broadcast"][..], arguments].concat();
    let peer = Peer::start(binary, &arguments).expect("none of these peers needs io_uring");
    let mut first = open(&peer);
    // The echo of its own message shows that the client has joined.
    first
        .write_all(&message(BINARY, b"one"))
        .expect("the peer reads");
    assert_eq!(receive(&mut first), (BINARY, b"one".into()), "{peer}");
    let mut second = open(&peer);
    let mut sent = message(TEXT, b"two");
    sent.extend(message(PING, b"still there?"));
    sent.extend(message(BINARY, &bytes(3, 70_000)));
    second.write_all(&sent).expect("the peer reads");
    assert_eq!(receive(&mut first), (TEXT, b"two".into()), "{peer}");
    assert!(receive(&mut first) == (BINARY, bytes(3, 70_000)), "{peer}");
    // The position of the pong among the messages is up to the library.
    let (pongs, messages): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| receive(&mut second))
        .partition(|(kind, _)| *kind == PONG);
    assert_eq!(pongs, [(PONG, b"still there?".to_vec())], "{peer}");
    assert!(
        messages == [(TEXT, b"two".to_vec()), (BINARY, bytes(3, 70_000))],
        "{peer}"
    );
    drop(second);
    first
        .write_all(&message(BINARY, b"alone"))
        .expect("the peer reads");
    assert_eq!(receive(&mut first), (BINARY, b"alone".into()), "{peer}");
    close(&peer, first);
}

macro_rules! web_socket_peers {
    ($($name:ident: $binary:literal;)*) => {
        $(mod $name {
            const BINARY: &str = env!(concat!("CARGO_BIN_EXE_", $binary));

            #[test]
            fn echoes() {
                super::check_echo(BINARY, &[]);
            }

            #[test]
            fn echoes_on_several_threads() {
                super::check_echo(BINARY, &["--workers", "2"]);
            }

            #[test]
            fn broadcasts() {
                super::check_broadcast(BINARY, &[]);
            }

            #[test]
            fn broadcasts_on_several_threads() {
                super::check_broadcast(BINARY, &["--workers", "2"]);
            }
        })*
    };
}

web_socket_peers! {
    tokio_tungstenite: "peer-tokio-tungstenite";
    fastwebsockets: "peer-fastwebsockets";
}
