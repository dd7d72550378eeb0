//! The writing half: messages become frames, by the fast path or as the session has it.

use std::fmt;
use std::time::Duration;

use super::frame::{FirstByte, FrameHeader, Opcode};
use super::message::{Message, MessageBuf};
use super::opening::Opened;
use super::session::Session;
use super::settings::Settings;
use crate::protocol::{Encode, EncodeParts, Farewell, Output, PackError, Parting};

/// The writing half of a [`WebSocket`](super::WebSocket) or a [`WebSocketClient`](super::WebSocketClient). `S` is the
/// [state](super::Accept::State) that the opening handshake leaves for the handler.
pub struct WebSocketEncoder<S> {
    state: Option<S>,
    session: Session,
}

impl<S> WebSocketEncoder<S> {
    pub(crate) fn new(session: Session) -> Self {
        WebSocketEncoder {
            state: None,
            session,
        }
    }

    /// Keeps what the opening handshake has agreed on.
    pub(crate) fn open(&mut self, opened: Opened<S>, settings: &Settings, now: Duration) {
        self.state = Some(opened.state);
        self.session.open(opened.subprotocol, settings, now);
        #[cfg(feature = "deflate")]
        if let (Some(agreed), Some(deflate)) = (opened.agreed, &settings.deflate) {
            self.session.compress(agreed, deflate);
        }
    }

    /// The state that the opening handshake left for the handler, once.
    pub(crate) fn take_state(&mut self) -> Option<S> {
        self.state.take()
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    #[inline]
    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl<S: 'static> Encode for WebSocketEncoder<S> {
    type Item<'a> = Message<'a>;
    type Owned = MessageBuf;

    fn borrow(owned: &MessageBuf) -> Message<'_> {
        owned.as_message()
    }

    #[inline]
    fn pack(&mut self, item: Message<'_>, output: &mut Output) -> Result<(), PackError> {
        if !self.session.takes_fast_path() {
            return self.session.put_message(item, output);
        }
        let payload = item.as_bytes();
        if payload.len() < 126 {
            let first = 0x80 | item.opcode() as u8;
            output.put_pair(&[first, payload.len() as u8], payload);
        } else {
            output.put_pair(FrameHeader::of_message(item).as_slice(), payload);
        }
        Ok(())
    }

    #[inline]
    fn pack_owned(&mut self, owned: &MessageBuf, output: &mut Output) -> Result<(), PackError> {
        if !self.session.takes_fast_path() {
            return self.session.put_shared(owned, output);
        }
        output.put_pair(owned.header(), owned.as_message().as_bytes());
        Ok(())
    }

    fn greet(&mut self, output: &mut Output) {
        if let Some(request) = self.session.take_greeting() {
            output.put_slice(&request);
        }
    }

    fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        self.session.farewell(why, output)
    }
}

impl<S: 'static> EncodeParts for WebSocketEncoder<S> {
    /// Sends the parts as one binary message.
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        if !self.session.takes_fast_path() {
            return self.pack(Message::Binary(&parts.concat()), output);
        }
        let length = parts
            .iter()
            .fold(0, |total: usize, part| total.saturating_add(part.len()));
        let header = FrameHeader::new(FirstByte::last(Opcode::Binary), length, None);
        output.announce(header.as_slice().len().saturating_add(length));
        output.put_slice(header.as_slice());
        for part in parts {
            output.put_slice(part);
        }
        Ok(())
    }
}

impl<S> fmt::Debug for WebSocketEncoder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketEncoder")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
