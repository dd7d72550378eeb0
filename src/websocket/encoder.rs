//! The writing half: messages become frames, by the fast path or as the session has it.

use std::fmt;
use std::time::Duration;

use super::frame::{FirstByte, FrameHeader, Opcode};
use super::message::{Message, MessageBuf};
use super::session::Session;
use crate::protocol::{Encode, EncodeParts, Farewell, Output, PackError, Parting};

/// The writing half of a [`WebSocket`](super::WebSocket) or a [`WebSocketClient`](super::WebSocketClient). `S` is the
/// [state](super::Accept::State) that the opening handshake leaves for the handler.
pub struct WebSocketEncoder<S>(Session<S>);

impl<S> WebSocketEncoder<S> {
    pub(crate) fn new(session: Session<S>) -> Self {
        WebSocketEncoder(session)
    }

    #[inline]
    pub(crate) fn session(&self) -> &Session<S> {
        &self.0
    }

    #[inline]
    pub(crate) fn session_mut(&mut self) -> &mut Session<S> {
        &mut self.0
    }
}

impl<S: 'static> Encode for WebSocketEncoder<S> {
    type Item<'a> = Message<'a>;
    type Owned = MessageBuf;

    fn borrow(owned: &MessageBuf) -> Message<'_> {
        owned.as_message()
    }

    fn owned_size(owned: &MessageBuf) -> usize {
        owned.as_message().as_bytes().len()
    }

    #[inline]
    fn pack(&mut self, item: Message<'_>, output: &mut Output) -> Result<(), PackError> {
        if !self.0.takes_fast_path() {
            return self.0.put_message(item, output);
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
        if !self.0.takes_fast_path() {
            return self.0.put_shared(owned, output);
        }
        output.put_pair(owned.header(), owned.as_message().as_bytes());
        Ok(())
    }

    #[inline]
    fn take_work(&mut self) -> usize {
        self.0.take_work()
    }

    fn greet(&mut self, output: &mut Output) {
        if let Some(request) = self.0.take_greeting() {
            output.put_slice(&request);
        }
    }

    fn end_stream(&mut self, _: Duration) {
        self.0.end_stream();
    }

    fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        self.0.farewell(why, output)
    }
}

impl<S: 'static> EncodeParts for WebSocketEncoder<S> {
    /// Sends the parts as one binary message.
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        if !self.0.takes_fast_path() {
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
        f.debug_tuple("WebSocketEncoder").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_without_a_state_takes_two_words() {
        assert_eq!(size_of::<WebSocketEncoder<()>>(), 2 * size_of::<usize>());
    }
}
