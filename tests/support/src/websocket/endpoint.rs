//! One end of a connection without sockets: a codec that is fed as the loop feeds it.

use std::time::Duration;

use ringwheel::protocol::{
    Decode, Encode, EncodeParts, Farewell, MessageOf, Output, Parting, Protocol, TurnBudget,
    UnpackContext, Unpacked,
};
use ringwheel::websocket::{
    Accept, Kind, Message, MessageBuf, Pieces, WebSocket, WebSocketClient, WebSocketError, Whole,
};

/// The request of RFC 6455, section 1.3, reduced to the required headers.
pub const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The answer to [`REQUEST`].
pub const ANSWER: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A result of a decoder, in a form that can be stored and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Opened,
    Text(String),
    Binary(Vec<u8>),
    Piece {
        kind: Kind,
        bytes: Vec<u8>,
        is_first: bool,
        is_last: bool,
    },
    End,
}

impl Found {
    pub fn text(text: impl Into<String>) -> Self {
        Found::Text(text.into())
    }

    pub fn binary(bytes: impl Into<Vec<u8>>) -> Self {
        Found::Binary(bytes.into())
    }

    pub fn as_message(&self) -> Message<'_> {
        match self {
            Found::Text(text) => Message::Text(text),
            Found::Binary(bytes) => Message::Binary(bytes),
            other => panic!("{other:?} is no message"),
        }
    }
}

impl From<Message<'_>> for Found {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Found::Text(text.to_owned()),
            Message::Binary(bytes) => Found::Binary(bytes.to_vec()),
        }
    }
}

/// A protocol whose messages can be stored.
pub trait Subject:
    Protocol<
        Decoder: Decode<Error = WebSocketError>,
        Encoder: for<'a> Encode<Item<'a> = Message<'a>, Owned = MessageBuf>,
    >
{
    fn keep(message: MessageOf<'_, Self>) -> Found;
}

impl<A: Accept> Subject for WebSocket<A, Whole> {
    fn keep(message: Message<'_>) -> Found {
        message.into()
    }
}

impl<A: Accept> Subject for WebSocket<A, Pieces> {
    fn keep(piece: MessageOf<'_, Self>) -> Found {
        Found::Piece {
            kind: piece.kind,
            bytes: piece.bytes.to_vec(),
            is_first: piece.is_first,
            is_last: piece.is_last,
        }
    }
}

impl Subject for WebSocketClient {
    fn keep(message: Message<'_>) -> Found {
        message.into()
    }
}

/// One end of a connection.
pub struct Endpoint<P: Subject> {
    decoder: P::Decoder,
    encoder: P::Encoder,
    output: Output,
    /// Input that is not consumed yet.
    pub input: Vec<u8>,
    /// Bytes that must arrive before the decoder is called again.
    pub missing: usize,
    pub found: Vec<Found>,
    pub failure: Option<WebSocketError>,
    pub now: Duration,
    /// The time at which bytes last arrived.
    pub heard_at: Duration,
    /// True to simulate that the peer is held back: it may have sent bytes that the decoder was not given.
    pub peer_is_held_back: bool,
    /// The budget of each turn; without limit at first.
    pub budget: TurnBudget,
}

impl<P: Subject> Endpoint<P> {
    /// An endpoint before its opening handshake.
    pub fn new(protocol: &P) -> Self {
        let (decoder, encoder) = protocol.open();
        Endpoint {
            decoder,
            encoder,
            output: Output::detached(),
            input: Vec::new(),
            missing: 0,
            found: Vec::new(),
            failure: None,
            now: Duration::ZERO,
            heard_at: Duration::ZERO,
            peer_is_held_back: false,
            budget: TurnBudget::new(usize::MAX),
        }
    }

    /// True after an error, and after the end.
    pub fn is_over(&self) -> bool {
        self.failure.is_some() || self.found.last() == Some(&Found::End)
    }

    /// Takes the bytes that arrive in one turn of the loop, and unpacks all that they complete, as far as the budget lasts.
    /// The decoder is called only when the bytes have arrived that it declared missing.
    pub fn receive(&mut self, bytes: &[u8]) -> &mut Self {
        if !bytes.is_empty() {
            self.heard_at = self.now;
        }
        self.budget.begin();
        self.input.extend_from_slice(bytes);
        self.missing = self.missing.saturating_sub(bytes.len());
        let mut taken = 0;
        while taken < self.input.len()
            && self.missing == 0
            && !self.is_over()
            && !self.budget.is_spent()
        {
            taken += self.unpack_one(taken);
        }
        self.input.drain(..taken);
        self.decoder.end_turn();
        self
    }

    /// Calls the decoder once, and returns the number of bytes consumed.
    fn unpack_one(&mut self, taken: usize) -> usize {
        let rest = &mut self.input[taken..];
        let available = rest.len();
        let mut context = UnpackContext::detached(&mut self.output, &mut self.encoder)
            .at(self.now)
            .within(&mut self.budget);
        let (found, consumed) = match self.decoder.unpack(rest, &mut context) {
            Ok(Unpacked::NeedMore { at_least }) => {
                self.missing = at_least.max(1);
                return 0;
            }
            Ok(Unpacked::Skip { consumed }) => (None, consumed),
            Ok(Unpacked::Opened { consumed }) => (Some(Found::Opened), consumed),
            Ok(Unpacked::End { consumed }) => (Some(Found::End), consumed),
            Ok(Unpacked::Message { message, consumed }) => (Some(P::keep(message)), consumed),
            Err(error) => {
                self.failure = Some(error);
                return 0;
            }
        };
        assert!(
            (1..=available).contains(&consumed),
            "{consumed} consumed of {available}"
        );
        self.found.extend(found);
        consumed
    }

    /// Takes the results since the last call.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }

    /// Takes the output since the last call.
    pub fn take_said(&mut self) -> Vec<u8> {
        self.output.take()
    }

    /// Sends one message; false if it is refused.
    pub fn send(&mut self, message: Message<'_>) -> bool {
        self.encoder.pack(message, &mut self.output).is_ok()
    }

    pub fn greet(&mut self) -> Vec<u8> {
        self.encoder.greet(&mut self.output);
        self.take_said()
    }

    pub fn farewell(&mut self, why: Farewell) -> Parting {
        self.encoder.farewell(why, &mut self.output)
    }

    /// Takes the work that sending has caused.
    pub fn take_work(&mut self) -> usize {
        self.encoder.take_work()
    }

    /// Tells the encoder that our side of the stream ends.
    pub fn end_stream(&mut self) {
        self.encoder.end_stream(self.now);
    }

    pub fn next_deadline(&mut self) -> Option<Duration> {
        self.decoder.next_deadline(&mut self.encoder, self.now)
    }

    /// Tells the decoder that its deadline has come.
    pub fn meet_deadline(&mut self) -> Result<(), WebSocketError> {
        let mut context = UnpackContext::detached(&mut self.output, &mut self.encoder).at(self.now);
        context.heard_at = self.heard_at;
        context.peer_is_held_back = self.peer_is_held_back;
        self.decoder.on_deadline(&mut context)
    }

    /// Sends one message that owns its payload; false if it is refused.
    pub fn send_owned(&mut self, message: &MessageBuf) -> bool {
        self.encoder.pack_owned(message, &mut self.output).is_ok()
    }

    /// Sends one binary message in parts; false if it is refused.
    pub fn send_parts(&mut self, parts: &[&[u8]]) -> bool
    where
        P::Encoder: EncodeParts,
    {
        self.encoder.pack_parts(parts, &mut self.output).is_ok()
    }
}

/// A server's end whose handshake is complete.
pub fn open_server<P: Subject>(protocol: &P) -> Endpoint<P> {
    let mut server = Endpoint::new(protocol);
    server.receive(REQUEST);
    assert_eq!(server.take_found(), [Found::Opened]);
    assert_eq!(server.take_said(), ANSWER);
    server
}

/// Both ends of an open connection.
pub fn connect<P: Subject>(
    client: &WebSocketClient,
    server: &P,
) -> (Endpoint<WebSocketClient>, Endpoint<P>) {
    let (mut client, mut server) = (Endpoint::new(client), Endpoint::new(server));
    server.receive(&client.greet());
    assert_eq!(server.take_found(), [Found::Opened]);
    client.receive(&server.take_said());
    assert_eq!(client.take_found(), [Found::Opened]);
    (client, server)
}

/// A client without extensions or subprotocols.
pub fn plain_client() -> WebSocketClient {
    WebSocketClient::new("server.example.com", "/chat").expect("host and target are right")
}
