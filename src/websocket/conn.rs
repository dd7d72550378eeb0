//! What a WebSocket connection can do besides any other.

use std::time::Duration;

use super::WebSocket;
use super::accept::Accept;
use super::close::{CloseCode, CloseFrame};
use super::delivery::Delivery;
use super::message::{Message, MessageBuf};
use crate::{Conn, ConnHandle, SendError, SendStatus};

impl<A: Accept, D: Delivery> Conn<'_, WebSocket<A, D>> {
    /// What [`Accept::upgrade`] left for the session; `Some` once, in [`Handler::on_open`](crate::Handler::on_open) if it
    /// is asked there.
    pub fn take_state(&mut self) -> Option<A::State> {
        self.encoder_mut().take_state()
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.encoder().session().subprotocol()
    }

    /// Whether permessage-deflate was agreed on.
    pub fn is_compressed(&self) -> bool {
        self.encoder().session().inflates()
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

    /// Sends a ping. The answer tells the [round-trip time](Self::round_trip_time).
    pub fn ping(&mut self) -> SendStatus {
        let now = self.now();
        self.encode_with(|encoder, output| encoder.session_mut().ping(now, output))
    }

    /// How long the answer to the last answered ping took, between the iterations of the loop in which the ping was sent
    /// and the pong was read. Pings are sent by [`ping`](Self::ping) and by [`WebSocket::ping_every`].
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.encoder().session().round_trip_time()
    }

    /// Closes as [`close`](Self::close) does, with a code and a reason; one longer than 123 bytes is cut.
    ///
    /// What was sent before arrives first. The peer answers, the connection then ends with
    /// [`CloseReason::Local`](crate::CloseReason::Local), and messages that still come are discarded; a peer that does not answer within
    /// [`Listen::close_timeout`](crate::Listen::close_timeout) is cut off.
    pub fn close_with(&mut self, code: CloseCode, reason: &str) {
        self.encoder_mut()
            .session_mut()
            .set_closing_words(code, reason);
        self.close();
    }

    /// What the peer said when it closed; `None` if it has not, or has ended its stream without a word (which the RFC calls
    /// 1006).
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
    pub fn send_binary(&self, bytes: impl Into<bytes::Bytes>) -> Result<(), SendError<MessageBuf>> {
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

    /// Closes with a code and a reason, after all that was sent before: as [`Conn::close_with`].
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
