//! The session: the state of a connection that both halves share.
//!
//! It knows how far the conversation is, what was agreed on in the opening handshake, and what is expected of the peer. The
//! encoder owns it and asks it before anything is written; the decoder reports to it what has arrived: a close frame, a ping, a
//! pong, compressed bytes.

use std::fmt;
use std::time::Duration;

use super::close::{self, CloseCode, CloseFrame};
#[cfg(feature = "deflate")]
use super::compression::{Compression, Inflation};
use super::error::WebSocketError;
use super::flags::Flags;
use super::frame::{CONTROL_MAX, FirstByte, Opcode};
use super::keepalive::Keepalive;
use super::message::{Kind, Message, MessageBuf};
use super::opening::Opened;
use super::settings::Settings;
use super::writer::{self, FrameWriter};
use crate::protocol::{Farewell, Output, PackError, Parting, UnpackContext};

/// The state that both halves of a connection share. `S` is the state that the opening handshake leaves for the handler.
pub(crate) struct Session<S> {
    // Together with the flags: on its own it would take another word of each connection.
    state: Option<S>,
    flags: Flags,
    aside: Option<Box<Aside>>,
}

/// The state that plain messages do not need. It takes one word of each connection, and most connections of a server that sends
/// pings have nothing rare beside it.
#[derive(Default)]
struct Aside {
    keepalive: Keepalive,
    rare: Option<Box<Rare>>,
}

/// The state that only some connections have.
#[derive(Default)]
struct Rare {
    subprotocol: Option<Box<str>>,
    /// The code and the reason to close with.
    closing_words: Option<(CloseCode, Box<str>)>,
    peer_close: Option<CloseFrame>,
    /// A client's opening request, until it is sent.
    greeting: Option<Vec<u8>>,
    writer: FrameWriter,
    #[cfg(feature = "deflate")]
    inflation: Option<Inflation>,
}

/// The progress of an inflation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inflated {
    /// Compressed bytes that were read.
    pub(crate) consumed: usize,
    /// The work that they have caused, in the unit of [`TurnBudget`](crate::protocol::TurnBudget).
    pub(crate) work: usize,
}

const NOT_OPEN: PackError = PackError("the connection is not open, or closing");
const UNFINISHED: PackError = PackError("a message in fragments is not finished");
const OTHER_KIND: PackError =
    PackError("a fragment is not of the kind that its message began with");
const PING_TOO_LONG: PackError = PackError("a ping is longer than 125 bytes");

impl<S> Session<S> {
    /// A server's session, before its handshake.
    pub(crate) fn server() -> Self {
        Session {
            state: None,
            flags: Flags::OPENING,
            aside: None,
        }
    }

    /// A client's session, which begins with `request`.
    pub(crate) fn client(request: Vec<u8>) -> Self {
        let mut session = Session::server();
        session.flags.set(Flags::CLIENT);
        let rare = session.rare();
        rare.greeting = Some(request);
        rare.writer = FrameWriter::masking();
        session
    }

    fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_with(Box::default)
    }

    fn keepalive(&mut self) -> &mut Keepalive {
        &mut self.aside().keepalive
    }

    fn rare(&mut self) -> &mut Rare {
        self.aside().rare.get_or_insert_with(Box::default)
    }

    /// The rare state, if there is some.
    fn rare_if_any(&mut self) -> Option<&mut Rare> {
        self.aside.as_mut()?.rare.as_deref_mut()
    }

    /// Begins the conversation, with what the opening handshake has agreed on.
    pub(crate) fn open(&mut self, opened: Opened<S>, settings: &Settings, now: Duration) {
        self.flags.clear(Flags::OPENING);
        self.state = Some(opened.state);
        if opened.subprotocol.is_some() {
            self.rare().subprotocol = opened.subprotocol;
        }
        self.flags.set(Flags::NEW_DEADLINE);
        if let Some(every) = settings.ping_every {
            self.keepalive().begin(now.saturating_add(every));
        }
        #[cfg(feature = "deflate")]
        if let (Some(agreed), Some(deflate)) = (opened.agreed, &settings.deflate) {
            self.flags.set(Flags::COMPRESSES);
            self.flags.set(Flags::INFLATES);
            let rare = self.rare();
            let compression = Compression::new(agreed, deflate);
            rare.writer.set_compression(Some(compression));
            rare.inflation = Some(Inflation::new(agreed, deflate));
        }
    }

    /// The state that the opening handshake left for the handler, once.
    pub(crate) fn take_state(&mut self) -> Option<S> {
        self.state.take()
    }

    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.aside.as_ref()?.rare.as_ref()?.subprotocol.as_deref()
    }

    pub(crate) fn peer_close(&self) -> Option<&CloseFrame> {
        self.aside.as_ref()?.rare.as_ref()?.peer_close.as_ref()
    }

    pub(crate) fn round_trip_time(&self) -> Option<Duration> {
        self.aside.as_ref()?.keepalive.round_trip_time()
    }

    /// True if the peer may compress its messages.
    #[inline]
    pub(crate) fn inflates(&self) -> bool {
        self.flags.has_any(Flags::INFLATES)
    }

    /// Compresses messages from now on, if that was agreed on, or no longer.
    pub(crate) fn set_compression(&mut self, is_on: bool) {
        self.flags.put(Flags::COMPRESSES, is_on && self.inflates());
    }

    /// Takes the work that compression has caused since the last call.
    #[inline]
    pub(crate) fn take_work(&mut self) -> usize {
        #[cfg(feature = "deflate")]
        if self.flags.has_any(Flags::COMPRESSES) {
            let compression = self.rare().writer.compression();
            return compression.map_or(0, Compression::take_work);
        }
        0
    }

    /// True if messages are written as they are: the connection is open, a server's, does not compress, and has no message in
    /// fragments.
    #[inline]
    pub(crate) fn takes_fast_path(&self) -> bool {
        !self.flags.has_any(Flags::SLOW)
    }

    /// Fails unless the connection is open and no close frame was sent.
    fn check_open(&self) -> Result<(), PackError> {
        const NOT: Flags = Flags::of(&[Flags::OPENING, Flags::CLOSE_SENT]);
        match self.flags.has_any(NOT) {
            true => Err(NOT_OPEN),
            false => Ok(()),
        }
    }

    /// Fails unless a message may begin.
    fn check_between_messages(&self) -> Result<(), PackError> {
        self.check_open()?;
        match self.flags.has_any(Flags::IN_FRAGMENTS) {
            true => Err(UNFINISHED),
            false => Ok(()),
        }
    }

    fn put(&mut self, first: FirstByte, payload: &[u8], output: &mut Output) {
        match self.rare_if_any() {
            Some(rare) => rare.writer.put(first, payload, output),
            None => writer::put_plain(first, payload, output),
        }
    }

    /// Writes a message that does not take the fast path.
    #[cold]
    #[inline(never)]
    pub(crate) fn put_message(
        &mut self,
        message: Message<'_>,
        output: &mut Output,
    ) -> Result<(), PackError> {
        #[cfg(feature = "deflate")]
        if self.flags.has_any(Flags::COMPRESSES) {
            self.check_between_messages()?;
            self.rare().writer.put_compressed(message, output);
            return Ok(());
        }
        self.put_uncompressed(message, output)
    }

    /// Writes a message as it is.
    pub(crate) fn put_uncompressed(
        &mut self,
        message: Message<'_>,
        output: &mut Output,
    ) -> Result<(), PackError> {
        self.check_between_messages()?;
        let first = FirstByte::last(message.opcode());
        self.put(first, message.as_bytes(), output);
        Ok(())
    }

    /// Writes a message that others may share, and that does not take the fast path.
    #[inline(never)]
    pub(crate) fn put_shared(
        &mut self,
        item: &MessageBuf,
        output: &mut Output,
    ) -> Result<(), PackError> {
        if !item.may_be_compressed() {
            return self.put_uncompressed(item.as_message(), output);
        }
        #[cfg(feature = "deflate")]
        if self.flags.has_any(Flags::COMPRESSES) && !self.flags.has_any(Flags::CLIENT) {
            self.check_between_messages()?;
            self.rare().writer.put_shared(item, output);
            return Ok(());
        }
        self.put_message(item.as_message(), output)
    }

    /// Writes the next fragment of a message, or the first if none is unfinished (section 5.4). It is not compressed.
    pub(crate) fn put_fragment(
        &mut self,
        fragment: Message<'_>,
        is_last: bool,
        output: &mut Output,
    ) -> Result<(), PackError> {
        self.check_open()?;
        let is_text = fragment.kind() == Kind::Text;
        let mut opcode = fragment.opcode();
        if self.flags.has_any(Flags::IN_FRAGMENTS) {
            if self.flags.has_any(Flags::TEXT_FRAGMENTS) != is_text {
                return Err(OTHER_KIND);
            }
            opcode = Opcode::Continuation;
        }
        let first = match is_last {
            true => FirstByte::last(opcode),
            false => FirstByte::unfinished(opcode),
        };
        self.put(first, fragment.as_bytes(), output);
        // One that does not fit is taken back, and may be tried again.
        if !output.overfills() {
            self.flags.put(Flags::IN_FRAGMENTS, !is_last);
            self.flags.put(Flags::TEXT_FRAGMENTS, is_text && !is_last);
        }
        Ok(())
    }

    /// Sends a ping whose answer tells the round-trip time.
    pub(crate) fn ping(&mut self, now: Duration, output: &mut Output) -> Result<(), PackError> {
        self.check_open()?;
        let payload = self.keepalive().ping(now);
        debug_assert!(payload.len() <= CONTROL_MAX);
        self.put(FirstByte::last(Opcode::Ping), &payload, output);
        Ok(())
    }

    /// Sends a ping with this payload.
    pub(crate) fn ping_with(
        &mut self,
        payload: &[u8],
        output: &mut Output,
    ) -> Result<(), PackError> {
        self.check_open()?;
        if payload.len() > CONTROL_MAX {
            return Err(PING_TOO_LONG);
        }
        self.put(FirstByte::last(Opcode::Ping), payload, output);
        Ok(())
    }

    /// Answers a ping of the peer (section 5.5.2).
    pub(crate) fn answer_ping(&mut self, payload: &[u8], output: &mut Output) {
        if !self.flags.has_any(Flags::CLOSE_SENT) {
            self.put(FirstByte::last(Opcode::Pong), payload, output);
        }
    }

    /// Registers a pong (section 5.5.3). True if it answers a ping whose answer tells the round-trip time.
    pub(crate) fn take_pong(&mut self, payload: &[u8], now: Duration) -> bool {
        let aside = self.aside.as_mut();
        aside.is_some_and(|aside| aside.keepalive.take_pong(payload, now))
    }

    /// Sets the code and the reason to close with.
    pub(crate) fn set_closing_words(&mut self, code: CloseCode, reason: &str) {
        self.rare().closing_words = Some((code, reason.into()));
    }

    /// Sends a close frame, unless one was sent; nothing is sent after it.
    pub(crate) fn send_close(&mut self, code: CloseCode, reason: &str, output: &mut Output) {
        let (bytes, length) = close::payload(code, reason);
        self.put_close(&bytes[..length], output);
    }

    fn put_close(&mut self, payload: &[u8], output: &mut Output) {
        if self.check_open().is_ok() {
            self.put(FirstByte::last(Opcode::Close), payload, output);
            self.flags.set(Flags::CLOSE_SENT);
        }
    }

    /// Registers the peer's close frame and answers it with its own code (section 5.5.1), unless it is the answer to ours.
    pub(crate) fn take_close(&mut self, frame: CloseFrame, output: &mut Output) {
        match frame.code {
            Some(code) => self.send_close(code, "", output),
            None => self.put_close(&[], output),
        }
        self.rare().peer_close = Some(frame);
    }

    /// Writes the last words before our end of the stream.
    pub(crate) fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        if self.check_open().is_err() {
            return Parting::AtOnce;
        }
        let rare = self.rare_if_any();
        let words = rare.and_then(|rare| rare.closing_words.take());
        match (why, words) {
            (Farewell::PeerEnded | Farewell::Refused, _) => return Parting::AtOnce,
            (Farewell::InputLimit, _) => {
                self.send_close(CloseCode::TOO_BIG, "the message is too long", output);
                return Parting::AtOnce;
            }
            (Farewell::Panic, _) => {
                self.send_close(CloseCode::INTERNAL_ERROR, "", output);
                return Parting::AtOnce;
            }
            (_, Some((code, reason))) => self.send_close(code, &reason, output),
            (Farewell::Shutdown, None) => self.send_close(CloseCode::GOING_AWAY, "", output),
            (Farewell::Closed, None) => self.send_close(CloseCode::NORMAL, "", output),
        }
        Parting::AwaitAnswer
    }

    /// A client's opening request, once.
    pub(crate) fn take_greeting(&mut self) -> Option<Vec<u8>> {
        self.rare_if_any()?.greeting.take()
    }

    /// Frees the memory of compression: nothing is inflated or compressed any more, though the connection may linger.
    pub(crate) fn give_up(&mut self) {
        #[cfg(feature = "deflate")]
        if let Some(rare) = self.rare_if_any() {
            rare.inflation = None;
            rare.writer.set_compression(None);
        }
    }

    /// True if the next deadline may be earlier than it was when it was last asked for: a compressor that was used gets one,
    /// and so does the end of our side of the stream.
    #[inline]
    pub(crate) fn has_new_deadline(&self) -> bool {
        const MAY_MOVE: Flags = Flags::of(&[Flags::NEW_DEADLINE, Flags::COMPRESSES, Flags::ENDED]);
        self.flags.has_any(MAY_MOVE)
    }

    /// The time for [`on_deadline`](Self::on_deadline).
    pub(crate) fn next_deadline(&mut self, now: Duration) -> Option<Duration> {
        self.flags.clear(Flags::NEW_DEADLINE);
        if self.flags.has_any(Flags::CLOSE_SENT) {
            return None;
        }
        let aside = self.aside.as_mut()?;
        let mut ping = aside.keepalive.next_deadline();
        if self.flags.has_any(Flags::ENDED) {
            // The deadline of the peer's end of stream is set as soon as possible.
            ping = ping.or(Some(now));
        }
        #[cfg(feature = "deflate")]
        let release = aside
            .rare
            .as_mut()
            .and_then(|rare| rare.writer.compression())
            .and_then(|compression| compression.next_release(now));
        #[cfg(not(feature = "deflate"))]
        let (release, _) = (None, now);
        match (ping, release) {
            (Some(ping), Some(release)) => Some(ping.min(release)),
            (ping, release) => ping.or(release),
        }
    }

    /// Hears that our side of the stream ends: instead of pongs, the peer's end of stream is awaited.
    pub(crate) fn end_stream(&mut self) {
        self.flags.set(Flags::ENDED);
        self.keepalive().end();
    }

    /// Releases an idle compressor, sends an automatic ping, or finds that the peer has not answered one: those that are due.
    pub(crate) fn on_deadline(
        context: &mut UnpackContext<'_, Self>,
        settings: &Settings,
    ) -> Result<(), WebSocketError> {
        let (now, peer_is_held_back) = (context.now, context.peer_is_held_back);
        let session = &mut *context.encoder;
        session.flags.set(Flags::NEW_DEADLINE);
        let Some(aside) = &mut session.aside else {
            return Ok(());
        };
        #[cfg(feature = "deflate")]
        let compression = aside.rare.as_mut().and_then(|it| it.writer.compression());
        #[cfg(feature = "deflate")]
        if let Some(compression) = compression {
            compression.release_if_idle(now);
        }
        let keepalive = &mut aside.keepalive;
        let timeout = settings.pong_timeout;
        if session.flags.has_any(Flags::ENDED) {
            keepalive.await_end(now, timeout);
        }
        keepalive.hear(context.heard_at, timeout);
        if peer_is_held_back {
            keepalive.postpone(now, timeout);
        } else if keepalive.is_overdue(now) && !keepalive.extend(now, timeout) {
            return Err(WebSocketError::PongTimeout);
        }
        let Some(every) = settings.ping_every else {
            return Ok(());
        };
        if !keepalive.is_ping_due(now) {
            return Ok(());
        }
        let is_one_pending = keepalive.is_waiting() && !context.output.is_empty();
        keepalive.schedule(now, every, timeout);
        if peer_is_held_back {
            keepalive.postpone(now, timeout);
        }
        if !is_one_pending {
            // A ping fails only on a connection that closes, and that has no deadline.
            let _ = session.ping(now, context.output);
        }
        Ok(())
    }

    /// Inflates a part of a compressed message into `sink`, to at most `room` bytes, until the work is `most`.
    #[cfg(feature = "deflate")]
    pub(crate) fn inflate(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        room: usize,
        most: usize,
        sink: &mut impl FnMut(&[u8]) -> Result<(), WebSocketError>,
    ) -> Result<Inflated, WebSocketError> {
        match self.rare_if_any().and_then(|rare| rare.inflation.as_mut()) {
            Some(inflation) => inflation.inflate(bytes, is_last, room, most, sink),
            None => Err(WebSocketError::InvalidCompression),
        }
    }

    /// Fails: without the feature no message is compressed, and the parser refuses the bit for it.
    #[cfg(not(feature = "deflate"))]
    pub(crate) fn inflate(
        &mut self,
        _: &[u8],
        _: bool,
        _: usize,
        _: usize,
        _: &mut impl FnMut(&[u8]) -> Result<(), WebSocketError>,
    ) -> Result<Inflated, WebSocketError> {
        Err(WebSocketError::InvalidCompression)
    }
}

impl<S> fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
