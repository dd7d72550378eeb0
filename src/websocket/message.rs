//! Messages as the handler sees and sends them: borrowed, owned and shared, or in pieces.

use std::sync::Arc;

use bytes::Bytes;

use super::frame::{FrameHeader, Opcode};

/// A message, borrowed from the receive buffer or from the sender.
///
/// ```
/// use ringwheel::websocket::Message;
///
/// let message = Message::Text("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message.as_bytes(), b"hello");
/// assert_eq!(Message::from(&b"\x01"[..]), Message::Binary(&[1]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message<'a> {
    /// Text, which is always valid UTF-8.
    Text(&'a str),
    /// Bytes of any meaning.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The kind of the message.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self {
            Message::Text(_) => Kind::Text,
            Message::Binary(_) => Kind::Binary,
        }
    }

    #[inline]
    pub(crate) fn opcode(&self) -> Opcode {
        match self {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        }
    }

    /// The payload.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The payload of a text message; `None` for a binary one.
    #[inline]
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The length of the payload in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// True if the payload is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

/// A message that owns its payload, to be sent to many connections or from another thread.
///
/// Clones share the payload, and with it the frame that the message was encoded to, plain or compressed: it is encoded once for
/// all connections.
///
/// ```
/// use ringwheel::websocket::{MessageBuf, WebSocket};
/// use ringwheel::{Connections, Handler, SendError};
///
/// fn announce<H: Handler<Protocol = WebSocket>>(clients: &Connections<H>) -> Result<(), SendError<()>> {
///     let news = MessageBuf::text("the server restarts at noon");
///     clients.publish("lobby", news.clone())?;
///     clients.publish("attic", news) // Encoded once for both.
/// }
/// ```
#[derive(Clone, Debug)]
pub struct MessageBuf(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    payload: Payload,
    /// The header of the frame that a server sends.
    header: FrameHeader,
    may_be_compressed: bool,
    #[cfg(feature = "deflate")]
    compressed: super::compressed_frames::CompressedFrames,
}

#[derive(Clone, Debug)]
enum Payload {
    Text(Box<str>),
    Binary(Bytes),
}

impl Payload {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        match self {
            Payload::Text(text) => Message::Text(text),
            Payload::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl MessageBuf {
    fn new(payload: Payload, may_be_compressed: bool) -> Self {
        let header = FrameHeader::of_message(payload.as_message());
        MessageBuf(Arc::new(Shared {
            payload,
            header,
            may_be_compressed,
            #[cfg(feature = "deflate")]
            compressed: super::compressed_frames::CompressedFrames::default(),
        }))
    }

    /// A text message.
    pub fn text(text: impl Into<String>) -> Self {
        MessageBuf::new(Payload::Text(text.into().into_boxed_str()), true)
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        MessageBuf::new(Payload::Binary(bytes.into()), true)
    }

    /// The same message, which no connection compresses. For payloads that are compressed already, such as images, or that mix
    /// a secret with text of an attacker's choice, whose length would tell the secret.
    ///
    /// ```
    /// use ringwheel::websocket::{MessageBuf, WebSocket};
    /// use ringwheel::Conn;
    ///
    /// fn send_picture(conn: &mut Conn<'_, WebSocket>, png: Vec<u8>) {
    ///     conn.send_owned(&MessageBuf::binary(png).without_compression());
    /// }
    /// ```
    #[must_use]
    pub fn without_compression(mut self) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(shared) => {
                shared.may_be_compressed = false;
                self
            }
            None => MessageBuf::new(self.0.payload.clone(), false),
        }
    }

    pub(crate) fn may_be_compressed(&self) -> bool {
        self.0.may_be_compressed
    }

    /// The message, borrowed.
    #[inline]
    pub fn as_message(&self) -> Message<'_> {
        self.0.payload.as_message()
    }

    /// The header of the frame that a server sends.
    #[inline]
    pub(crate) fn header(&self) -> &[u8] {
        self.0.header.as_slice()
    }

    /// The compressed frame for a window with this base-2 logarithm of its size, 9 to 15. It is made by `make` at
    /// the first call.
    #[cfg(feature = "deflate")]
    pub(crate) fn compressed_frame(
        &self,
        window_bits: u8,
        make: impl FnOnce(Message<'_>) -> Option<Bytes>,
    ) -> Option<&Bytes> {
        let frame = self.0.compressed.of_window(window_bits);
        frame.get_or_init(|| make(self.as_message())).as_ref()
    }
}

impl PartialEq for MessageBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_message() == other.as_message()
    }
}

impl Eq for MessageBuf {}

impl From<String> for MessageBuf {
    fn from(text: String) -> Self {
        MessageBuf::text(text)
    }
}

impl From<&str> for MessageBuf {
    fn from(text: &str) -> Self {
        MessageBuf::text(text)
    }
}

impl From<Bytes> for MessageBuf {
    fn from(bytes: Bytes) -> Self {
        MessageBuf::binary(bytes)
    }
}

impl From<Vec<u8>> for MessageBuf {
    fn from(bytes: Vec<u8>) -> Self {
        MessageBuf::binary(bytes)
    }
}

impl From<Message<'_>> for MessageBuf {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => MessageBuf::text(text),
            Message::Binary(bytes) => MessageBuf::binary(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, in UTF-8.
    Text,
    /// Bytes of any meaning.
    Binary,
}

/// A piece of a message, for a handler that takes messages as they arrive: its protocol is
/// [`WebSocket<A, Pieces>`](super::Pieces).
///
/// A message may come in any number of pieces, cut anywhere, independently of the peer's frames. Text is valid UTF-8 as far as
/// it has come, but a piece may begin or end within a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Piece<'a> {
    /// The kind of the message.
    pub kind: Kind,
    /// The next bytes of the message; may be empty.
    pub bytes: &'a [u8],
    /// True if the message begins with this piece.
    pub is_first: bool,
    /// True if the message ends with this piece.
    pub is_last: bool,
}
