//! The writing half: messages become frames.

use std::fmt;
use std::time::Duration;

use super::close::{self, CloseCode, CloseFrame};
#[cfg(feature = "deflate")]
use super::compression::Compression;
use super::error::WebSocketError;
use super::frame::{CONTROL_MAX, Opcode, Written};
use super::keepalive::Keepalive;
use super::mask;
use super::masker::Masker;
use super::message::{Message, MessageBuf};
use super::opening::Opened;
use super::settings::Settings;
use crate::protocol::{Encode, EncodeParts, Farewell, Output, PackError, Parting};

/// The writing half of a [`WebSocket`](super::WebSocket). `S` is what the opening handshake left for the handler.
pub struct WebSocketEncoder<S> {
    state: Option<S>,
    mode: Mode,
    extra: Option<Box<Extra>>,
}

/// What makes a connection unlike the usual one, which is open, a server's, and without compression: that has no bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode(u8);

impl Mode {
    /// The opening handshake is not over.
    const OPENING: Mode = Mode(1);
    /// A close frame was sent.
    const SAID_CLOSE: Mode = Mode(2);
    /// Frames are masked.
    const CLIENT: Mode = Mode(4);
    /// permessage-deflate was agreed on.
    const DEFLATE: Mode = Mode(8);

    #[inline]
    fn is_usual(self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn has(self, bit: Mode) -> bool {
        self.0 & bit.0 != 0
    }

    fn add(&mut self, bit: Mode) {
        self.0 |= bit.0;
    }

    fn remove(&mut self, bit: Mode) {
        self.0 &= !bit.0;
    }
}

/// What only some connections need.
#[derive(Default)]
struct Extra {
    subprotocol: Option<Box<str>>,
    /// What to say when the connection is closed here.
    words: Option<(CloseCode, Box<str>)>,
    peer_close: Option<CloseFrame>,
    keepalive: Keepalive,
    /// A client's opening request, until it is sent.
    greeting: Vec<u8>,
    masker: Masker,
    #[cfg(feature = "deflate")]
    compression: Option<Compression>,
}

const CLOSING: PackError = PackError("the connection is not open, or closing");

impl<S> WebSocketEncoder<S> {
    /// A server's.
    pub(crate) fn server() -> Self {
        WebSocketEncoder {
            state: None,
            mode: Mode::OPENING,
            extra: None,
        }
    }

    /// A client's, which begins with a request.
    pub(crate) fn client(greeting: Vec<u8>) -> Self {
        let mut encoder = WebSocketEncoder::server();
        encoder.mode.add(Mode::CLIENT);
        encoder.extra().greeting = greeting;
        encoder
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    /// The opening handshake is over.
    pub(crate) fn open(&mut self, opened: Opened<S>, settings: &Settings, now: Duration) {
        self.mode.remove(Mode::OPENING);
        self.state = Some(opened.state);
        if opened.subprotocol.is_some() {
            self.extra().subprotocol = opened.subprotocol;
        }
        if let Some(every) = settings.ping_every {
            self.extra().keepalive.begin(now.saturating_add(every));
        }
        #[cfg(feature = "deflate")]
        if let (Some(agreed), Some(deflate)) = (opened.agreed, &settings.deflate) {
            self.mode.add(Mode::DEFLATE);
            self.extra().compression = Some(Compression::new(agreed, deflate));
        }
    }

    /// What the opening handshake left for the handler, once.
    pub(crate) fn take_state(&mut self) -> Option<S> {
        self.state.take()
    }

    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.extra.as_ref()?.subprotocol.as_deref()
    }

    pub(crate) fn peer_close(&self) -> Option<&CloseFrame> {
        self.extra.as_ref()?.peer_close.as_ref()
    }

    pub(crate) fn round_trip_time(&self) -> Option<Duration> {
        self.extra.as_ref()?.keepalive.round_trip_time()
    }

    /// Whether the peer may compress.
    #[inline]
    pub(crate) fn deflates(&self) -> bool {
        self.mode.has(Mode::DEFLATE)
    }

    /// What to say when the connection is closed here.
    pub(crate) fn set_parting_words(&mut self, code: CloseCode, reason: &str) {
        self.extra().words = Some((code, reason.into()));
    }

    /// Appends a frame with a payload as it is.
    fn put_frame(
        &mut self,
        opcode: Opcode,
        is_compressed: bool,
        payload: &[u8],
        output: &mut Output,
    ) {
        if self.mode.has(Mode::CLIENT) {
            let key = self.extra().masker.next_key();
            let header = Written::new(opcode, is_compressed, payload.len(), Some(key));
            output.announce(header.as_slice().len().saturating_add(payload.len()));
            output.put_slice(header.as_slice());
            put_masked(payload, key, output);
        } else {
            let header = Written::new(opcode, is_compressed, payload.len(), None);
            output.put_pair(header.as_slice(), payload);
        }
    }

    /// Anything but a server's message on an open connection without compression.
    #[cold]
    #[inline(never)]
    fn pack_unusual(&mut self, message: Message<'_>, output: &mut Output) -> Result<(), PackError> {
        if self.mode.has(Mode::OPENING) || self.mode.has(Mode::SAID_CLOSE) {
            return Err(CLOSING);
        }
        #[cfg(feature = "deflate")]
        if self.deflates() {
            return self.pack_deflated(message, output);
        }
        self.put_frame(message.opcode(), false, message.as_bytes(), output);
        Ok(())
    }

    /// Says close, once, and nothing after it.
    pub(crate) fn say_close(&mut self, code: CloseCode, reason: &str, output: &mut Output) {
        let (bytes, length) = close::payload(code, reason);
        self.put_close(&bytes[..length], output);
    }

    fn put_close(&mut self, payload: &[u8], output: &mut Output) {
        if !self.mode.has(Mode::OPENING) && !self.mode.has(Mode::SAID_CLOSE) {
            self.put_frame(Opcode::Close, false, payload, output);
            self.mode.add(Mode::SAID_CLOSE);
        }
    }

    /// Nothing is inflated or deflated any more, though the connection may linger for a while.
    pub(crate) fn give_up(&mut self) {
        #[cfg(feature = "deflate")]
        if let Some(extra) = &mut self.extra {
            extra.compression = None;
        }
    }

    /// The peer closes: it is answered with its own code (section 5.5.1), unless it is the answer itself.
    pub(crate) fn take_close(&mut self, frame: CloseFrame, output: &mut Output) {
        match frame.code {
            Some(code) => self.say_close(code, "", output),
            None => self.put_close(&[], output),
        }
        self.extra().peer_close = Some(frame);
    }

    /// The peer pings (section 5.5.2).
    pub(crate) fn answer_ping(&mut self, payload: &[u8], output: &mut Output) {
        if !self.mode.has(Mode::SAID_CLOSE) {
            self.put_frame(Opcode::Pong, false, payload, output);
        }
    }

    /// The peer answers a ping, or says pong by itself (section 5.5.3).
    pub(crate) fn take_pong(&mut self, payload: &[u8], now: Duration) {
        if let Some(extra) = &mut self.extra {
            extra.keepalive.take_pong(payload, now);
        }
    }

    /// Pings; the answer tells the round-trip time.
    pub(crate) fn ping(&mut self, now: Duration, output: &mut Output) -> Result<(), PackError> {
        if self.mode.has(Mode::OPENING) || self.mode.has(Mode::SAID_CLOSE) {
            return Err(CLOSING);
        }
        let payload = self.extra().keepalive.ping(now);
        debug_assert!(payload.len() <= CONTROL_MAX);
        self.put_frame(Opcode::Ping, false, &payload, output);
        Ok(())
    }

    /// When [`meet_deadline`](Self::meet_deadline) is to be called.
    #[inline]
    pub(crate) fn next_deadline(&mut self, now: Duration) -> Option<Duration> {
        let extra = self.extra.as_mut()?;
        if self.mode.has(Mode::SAID_CLOSE) {
            return None;
        }
        let ping = extra.keepalive.next_deadline();
        #[cfg(feature = "deflate")]
        let release = extra
            .compression
            .as_mut()
            .and_then(|compression| compression.next_release(now));
        #[cfg(not(feature = "deflate"))]
        let (release, _) = (None, now);
        match (ping, release) {
            (Some(ping), Some(release)) => Some(ping.min(release)),
            (ping, release) => ping.or(release),
        }
    }

    /// Does what is due.
    pub(crate) fn meet_deadline(
        &mut self,
        settings: &Settings,
        now: Duration,
        peer_is_held_back: bool,
        output: &mut Output,
    ) -> Result<(), WebSocketError> {
        let Some(extra) = &mut self.extra else {
            return Ok(());
        };
        #[cfg(feature = "deflate")]
        if let Some(compression) = &mut extra.compression {
            compression.release_if_idle(now);
        }
        let keepalive = &mut extra.keepalive;
        let timeout = settings.pong_timeout;
        if peer_is_held_back {
            keepalive.excuse(now, timeout);
        } else if keepalive.is_overdue(now) && !keepalive.renew(now, timeout) {
            return Err(WebSocketError::PongTimeout);
        }
        if let Some(every) = settings.ping_every {
            if keepalive.is_ping_due(now) {
                let waits = keepalive.is_waiting() && !output.is_empty();
                keepalive.schedule(now, every, timeout);
                if peer_is_held_back {
                    keepalive.excuse(now, timeout);
                }
                if waits {
                    // One is on its way already, behind what the peer is slow to take.
                    return Ok(());
                }
                // Only a connection that closes is not pinged, and that has no deadline.
                let _ = self.ping(now, output);
            }
        }
        Ok(())
    }
}

#[cfg(feature = "deflate")]
impl<S> WebSocketEncoder<S> {
    /// Inflates a part of a compressed message into `assembly`.
    pub(crate) fn inflate(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        assembly: &mut super::assembly::Assembly,
        settings: &Settings,
    ) -> Result<(), WebSocketError> {
        let compression = self.extra.as_mut().and_then(|e| e.compression.as_mut());
        let Some(compression) = compression else {
            return Err(WebSocketError::InvalidCompression);
        };
        compression.inflate(bytes, is_last, assembly, settings.max_message)
    }

    fn pack_deflated(
        &mut self,
        message: Message<'_>,
        output: &mut Output,
    ) -> Result<(), PackError> {
        let mut frame = super::deflate::frame_buffer();
        let compression = self.extra.as_mut().and_then(|e| e.compression.as_mut());
        let is_compressed = compression
            .is_some_and(|compression| compression.deflate(message.as_bytes(), &mut frame));
        if is_compressed {
            self.put_frame(message.opcode(), true, &frame, output);
            if output.is_overfull() {
                // It is taken back, and the peer will not know what the next would refer to.
                self.forget_context();
            }
        } else {
            self.put_frame(message.opcode(), false, message.as_bytes(), output);
        }
        Ok(())
    }

    fn forget_context(&mut self) {
        if let Some(compression) = self.extra.as_mut().and_then(|e| e.compression.as_mut()) {
            compression.forget_context();
        }
    }

    /// A message that others share is compressed once for all of them.
    fn pack_shared(&mut self, item: &MessageBuf, output: &mut Output) -> Result<(), PackError> {
        let compression = self.extra.as_mut().and_then(|e| e.compression.as_mut());
        let Some(compression) = compression.filter(|compression| compression.can_share()) else {
            return self.pack_deflated(item.as_message(), output);
        };
        match item.compressed_frame(|message| compression.shared_frame(message)) {
            Some(frame) => {
                output.put_slice(frame);
                compression.forget_context();
            }
            None => output.put_pair(item.header(), item.as_message().as_bytes()),
        }
        Ok(())
    }
}

#[cfg(not(feature = "deflate"))]
impl<S> WebSocketEncoder<S> {
    /// Without the feature no message is compressed: the bit for it is refused.
    pub(crate) fn inflate(
        &mut self,
        _: &[u8],
        _: bool,
        _: &mut super::assembly::Assembly,
        _: &Settings,
    ) -> Result<(), WebSocketError> {
        Err(WebSocketError::InvalidCompression)
    }
}

/// Appends `payload` masked, by way of a buffer.
fn put_masked(payload: &[u8], key: mask::Key, output: &mut Output) {
    let mut buffer = [0; 4096];
    // A multiple of the key's length, so that each part begins with the key's beginning.
    for part in payload.chunks(buffer.len()) {
        let masked = &mut buffer[..part.len()];
        masked.copy_from_slice(part);
        mask::apply(masked, key, 0);
        output.put_slice(masked);
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
        if !self.mode.is_usual() {
            return self.pack_unusual(item, output);
        }
        let payload = item.as_bytes();
        if payload.len() < 126 {
            let first = 0x80 | item.opcode() as u8;
            output.put_pair(&[first, payload.len() as u8], payload);
        } else {
            output.put_pair(Written::of_message(item).as_slice(), payload);
        }
        Ok(())
    }

    #[inline]
    fn pack_owned(&mut self, owned: &MessageBuf, output: &mut Output) -> Result<(), PackError> {
        if self.mode.is_usual() {
            output.put_pair(owned.header(), owned.as_message().as_bytes());
            return Ok(());
        }
        #[cfg(feature = "deflate")]
        if self.mode == Mode::DEFLATE {
            return self.pack_shared(owned, output);
        }
        self.pack_unusual(owned.as_message(), output)
    }

    fn greet(&mut self, output: &mut Output) {
        if let Some(extra) = &mut self.extra {
            output.put_slice(&std::mem::take(&mut extra.greeting));
        }
    }

    fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        if self.mode.has(Mode::OPENING) || self.mode.has(Mode::SAID_CLOSE) {
            return Parting::AtOnce;
        }
        let words = self.extra.as_mut().and_then(|extra| extra.words.take());
        match (why, words) {
            (Farewell::PeerEnded | Farewell::Refused, _) => return Parting::AtOnce,
            (Farewell::InputLimit, _) => {
                self.say_close(CloseCode::TOO_BIG, "the message is too long", output);
                return Parting::AtOnce;
            }
            (Farewell::Panic, _) => {
                self.say_close(CloseCode::INTERNAL_ERROR, "", output);
                return Parting::AtOnce;
            }
            (_, Some((code, reason))) => self.say_close(code, &reason, output),
            (Farewell::Shutdown, None) => self.say_close(CloseCode::GOING_AWAY, "", output),
            (Farewell::Closed, None) => self.say_close(CloseCode::NORMAL, "", output),
        }
        Parting::AwaitAnswer
    }
}

impl<S: 'static> EncodeParts for WebSocketEncoder<S> {
    /// Sends the parts as one binary message.
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError> {
        if !self.mode.is_usual() {
            return self.pack(Message::Binary(&parts.concat()), output);
        }
        let length = parts
            .iter()
            .fold(0, |total: usize, part| total.saturating_add(part.len()));
        let header = Written::new(Opcode::Binary, false, length, None);
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
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
