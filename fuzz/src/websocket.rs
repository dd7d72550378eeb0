//! Shared by the WebSocket targets: stored messages, and endpoints that are open.

use ringwheel::protocol::{MessageOf, Protocol};
use ringwheel::websocket::{
    Accept, Deflate, Kind, Message, Pieces, WebSocket, WebSocketClient, WebSocketError, Whole,
};

use crate::endpoint::{Calling, Endpoint, Event, Subject};

/// A stored message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) is_text: bool,
    pub(crate) bytes: Vec<u8>,
}

impl From<Message<'_>> for Kept {
    fn from(message: Message<'_>) -> Self {
        Kept {
            is_text: message.kind() == Kind::Text,
            bytes: message.as_bytes().to_vec(),
        }
    }
}

/// A stored piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeptPiece {
    pub(crate) content: Kept,
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
}

impl<A: Accept> Subject for WebSocket<A, Whole> {
    type Kept = Kept;
    fn keep(message: Message<'_>) -> Kept {
        message.into()
    }
}

impl Subject for WebSocketClient {
    type Kept = Kept;
    fn keep(message: Message<'_>) -> Kept {
        message.into()
    }
}

impl<A: Accept> Subject for WebSocket<A, Pieces> {
    type Kept = KeptPiece;
    fn keep(piece: MessageOf<'_, Self>) -> KeptPiece {
        KeptPiece {
            content: Kept {
                is_text: piece.kind == Kind::Text,
                bytes: piece.bytes.to_vec(),
            },
            is_first: piece.is_first,
            is_last: piece.is_last,
        }
    }
}

/// A server's end after a handshake with `offer` (a value of `Sec-WebSocket-Extensions`, or empty).
pub(crate) fn open_server<P>(protocol: &P, offer: &str, calling: Calling) -> Endpoint<P>
where
    P: Subject + Protocol,
{
    let mut server = Endpoint::new(protocol, calling);
    let mut request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        .to_owned();
    if !offer.is_empty() {
        request += &format!("Sec-WebSocket-Extensions: {offer}\r\n");
    }
    server.receive(format!("{request}\r\n").as_bytes());
    assert_eq!(server.events, [Event::Opened]);
    server.events.clear();
    let answer = server.take_said();
    let is_agreed = answer
        .windows(18)
        .any(|window| window == b"permessage-deflate");
    assert_eq!(is_agreed, !offer.is_empty());
    server
}

/// Compression settings from four bits and a window size, with limits that a fuzzer can reach.
pub(crate) fn deflate(bits: u8, window: u8) -> Deflate {
    let window = 9 + window % 7;
    Deflate::new()
        .server_context_takeover(bits & 1 != 0)
        .client_context_takeover(bits & 2 != 0)
        .server_max_window_bits(window)
        .client_max_window_bits(window)
        .min_size(if bits & 4 != 0 { 0 } else { 32 })
        .level(if bits & 8 != 0 { 6 } else { 1 })
}

/// True if one of two errors of a connection with compression may take the place of the other. A compressed message
/// with several faults is refused for the first one found, and that depends on how the bytes arrive.
pub(crate) fn are_alike(a: &WebSocketError, b: &WebSocketError) -> bool {
    let is_of_content = |error: &WebSocketError| {
        matches!(
            error,
            WebSocketError::InvalidUtf8
                | WebSocketError::InvalidCompression
                | WebSocketError::MessageTooBig
                | WebSocketError::CompressionRatio
        )
    };
    is_of_content(a) && is_of_content(b)
}
