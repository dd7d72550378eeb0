//! The methods of a WebSocket connection besides those of every connection. They use public items of the core only, so a
//! protocol of another crate can have the like.

use std::time::Duration;

use bytes::Bytes;

use super::WebSocket;
use super::accept::Accept;
use super::close::{CloseCode, CloseFrame};
use super::delivery::Delivery;
use super::message::{Message, MessageBuf};
use crate::{Conn, ConnHandle, SendError, SendStatus};

impl<A: Accept, D: Delivery> Conn<'_, WebSocket<A, D>> {
    /// The state that [`Accept::upgrade`] left for the session. `Some` once: in
    /// [`Handler::on_open`](crate::Handler::on_open) if it is asked for there.
    pub fn take_state(&mut self) -> Option<A::State> {
        self.encoder_mut().session_mut().take_state()
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.encoder().session().subprotocol()
    }

    /// True if permessage-deflate was agreed on.
    pub fn is_compressed(&self) -> bool {
        self.encoder().session().inflates()
    }

    /// Compresses messages from now on, or no longer. It is on where compression was agreed on, and stays off elsewhere. The
    /// peer may compress in any case; [`Answer::without_compression`](super::Answer::without_compression) keeps it from that.
    ///
    /// ```
    /// # use ringwheel::{Conn, websocket::WebSocket};
    /// fn begin_media(conn: &mut Conn<'_, WebSocket>) {
    ///     // Pictures that follow are compressed already.
    ///     conn.set_compression(false);
    /// }
    /// ```
    pub fn set_compression(&mut self, is_on: bool) {
        self.encoder_mut().session_mut().set_compression(is_on);
    }

    /// Sends a text message.
    #[inline]
    pub fn send_text(&mut self, text: &str) -> SendStatus {
        self.send(Message::Text(text))
    }

    /// Sends a binary message.
    #[inline]
    pub fn send_binary(&mut self, bytes: &[u8]) -> SendStatus {
        self.send(Message::Binary(bytes))
    }

    /// Sends a message as it is, also where messages are compressed. [`MessageBuf::without_compression`] does the same for a
    /// message that is shared, published or sent from another thread.
    ///
    /// ```
    /// # use ringwheel::{Conn, websocket::{Message, WebSocket}};
    /// fn send_picture(conn: &mut Conn<'_, WebSocket>, png: &[u8]) {
    ///     conn.send_uncompressed(Message::Binary(png));
    /// }
    /// ```
    pub fn send_uncompressed(&mut self, message: Message<'_>) -> SendStatus {
        self.encode_with(|encoder, output| encoder.session_mut().put_uncompressed(message, output))
    }

    /// Sends a fragment of a message, the first one or a further one; [`send_last_fragment`](Self::send_last_fragment)
    /// finishes the message. For a message whose length is not known when it begins, or which is too long to be in memory at
    /// once. The fragments may be sent in different callbacks.
    ///
    /// Until the message is finished, nothing else can be sent but pings, pongs and the close frame: any other message, also one
    /// that is published or sent from another thread, is refused with [`Refusal::Pack`](crate::Refusal), and so is a fragment of
    /// the other kind. A fragment that is refused for the output limit changes nothing and can be sent again. A connection may
    /// close with a message unfinished; the peer discards it. Fragments are not compressed, and each counts in
    /// [`ConnStats::messages_out`](crate::ConnStats::messages_out).
    ///
    /// A message that is larger than [`Limits::output`](crate::Limits::output) is sent from a [source](Self::send_from), a fragment
    /// at a time.
    ///
    /// ```
    /// # use ringwheel::{Conn, websocket::{Message, WebSocket}};
    /// fn send_table(conn: &mut Conn<'_, WebSocket>, rows: &[String]) {
    ///     conn.send_fragment(Message::Text("["));
    ///     for row in rows {
    ///         conn.send_fragment(Message::Text(row));
    ///         conn.send_fragment(Message::Text(","));
    ///     }
    ///     conn.send_last_fragment(Message::Text("null]"));
    /// }
    /// ```
    pub fn send_fragment(&mut self, fragment: Message<'_>) -> SendStatus {
        self.encode_with(|encoder, output| {
            encoder.session_mut().put_fragment(fragment, false, output)
        })
    }

    /// Sends the last fragment of a message, which may be empty; see [`send_fragment`](Self::send_fragment). Without a fragment
    /// before it, it is a whole message.
    pub fn send_last_fragment(&mut self, fragment: Message<'_>) -> SendStatus {
        self.encode_with(|encoder, output| {
            encoder.session_mut().put_fragment(fragment, true, output)
        })
    }

    /// Sends a ping. The answer tells the [round-trip time](Self::round_trip_time).
    pub fn ping(&mut self) -> SendStatus {
        let now = self.now();
        self.encode_with(|encoder, output| encoder.session_mut().ping(now, output))
    }

    /// Sends a ping with a payload of at most 125 bytes; a longer one is refused with
    /// [`Refusal::Pack`](crate::Refusal). The handler sees the answer if it takes messages [`WithPongs`](super::WithPongs).
    ///
    /// ```
    /// # use ringwheel::{Conn, Refusal, SendStatus, websocket::WebSocket};
    /// fn probe(conn: &mut Conn<'_, WebSocket>, number: u32) {
    ///     conn.ping_with(&number.to_be_bytes());
    ///     let status = conn.ping_with(&[0; 126]);
    ///     assert!(matches!(status, SendStatus::Refused(Refusal::Pack(_))));
    /// }
    /// ```
    pub fn ping_with(&mut self, payload: &[u8]) -> SendStatus {
        self.encode_with(|encoder, output| encoder.session_mut().ping_with(payload, output))
    }

    /// The time between the last answered ping and its answer: from the iteration of the loop in which the ping was sent to the
    /// one in which the pong was read. Pings of [`ping`](Self::ping) and [`WebSocket::ping_every`] count.
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.encoder().session().round_trip_time()
    }

    /// Closes as [`close`](Self::close) does, with a code and a reason; a reason longer than 123 bytes is cut.
    ///
    /// Everything that was sent before arrives first. The connection is over for the handler at once, with
    /// [`CloseReason::Local`](crate::CloseReason::Local); messages that still come are discarded. The server awaits the peer's
    /// answer without the handler, and cuts off a peer that does not answer within
    /// [`Listen::close_timeout`](crate::Listen::close_timeout).
    pub fn close_with(&mut self, code: CloseCode, reason: &str) {
        self.encoder_mut()
            .session_mut()
            .set_closing_words(code, reason);
        self.close();
    }

    /// The close frame with which the peer has begun to close; `None` if it has sent none, which includes a stream that ended
    /// without one (1006 in the RFC). The answer to a close frame of ours comes after
    /// [`Handler::on_close`](crate::Handler::on_close).
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.encoder().session().peer_close()
    }
}

impl<A: Accept, D: Delivery> ConnHandle<WebSocket<A, D>> {
    /// Sends a text message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: impl Into<String>) -> Result<(), SendError<MessageBuf>> {
        self.send(MessageBuf::text(text))
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_binary(&self, bytes: impl Into<Bytes>) -> Result<(), SendError<MessageBuf>> {
        self.send(MessageBuf::binary(bytes))
    }

    /// Sends a ping.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&self) -> Result<(), SendError<()>> {
        self.run(|conn| {
            conn.ping();
        })
    }

    /// Sends a ping with a payload of at most 125 bytes, as [`Conn::ping_with`]; a longer one is not sent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping_with(&self, payload: impl Into<Bytes>) -> Result<(), SendError<()>> {
        let payload = payload.into();
        self.run(move |conn| {
            conn.ping_with(&payload);
        })
    }

    /// Closes with a code and a reason, after everything that was sent before: as [`Conn::close_with`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn close_with(
        &self,
        code: CloseCode,
        reason: impl Into<String>,
    ) -> Result<(), SendError<()>> {
        let reason = reason.into();
        self.run(move |conn| conn.close_with(code, &reason))
    }
}
