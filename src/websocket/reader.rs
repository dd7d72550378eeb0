//! The frame reader: bytes become messages, by a fast path for short ones in one frame.
//!
//! ```text
//!  Opening ── handshake done ──► Between ── message in one frame ──► Gathering ── all here ──► Between
//!                                   └───── fragmented, compressed or long ──► Collecting ── delivered ──► Between
//! ```
//!
//! Control frames are answered or reported to the [session](super::session) wherever they come.

use std::fmt;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::assembly::{Assembly, Collected, check_order};
use super::close::{BadClose, CloseFrame};
use super::delivery::Delivery;
use super::encoder::WebSocketEncoder;
use super::error::{Violation, WebSocketError};
use super::frame::{self, Header, Opcode, Parsed, ShortFrame};
use super::mask;
use super::message::Message;
use super::opening::{Opening, Step};
use super::rate::Rate;
use super::session::Session;
use super::settings::Settings;
use super::text;
use crate::protocol::{Output, UnpackContext, Unpacked};

/// The longest frame that is awaited where it lies, in the receive buffer. The parts of a longer one are collected as they
/// come.
const GATHER_MAX: usize = 16 * 1024;

/// The reading half of one side: `O` is its opening handshake, `D` how messages are handed out.
pub(crate) struct FrameReader<O: Opening, D: Delivery> {
    settings: Arc<Settings>,
    stage: Stage<O>,
    control_rate: Rate,
    message_rate: Rate,
    delivery: PhantomData<fn() -> D>,
}

/// The meaning of the next bytes.
enum Stage<O> {
    /// They belong to the opening handshake.
    Opening(Box<Pending<O>>),
    /// They are the header of a frame.
    Between,
    /// They are a message in one frame, still arriving, which is left in the receive buffer.
    Gathering {
        /// Payload bytes that are already unmasked.
        unmasked: u32,
        /// Payload bytes that are known to be valid UTF-8; 0 for a binary message.
        checked: u32,
    },
    /// They are part of a message that is collected, or its next header.
    Collecting(Box<Assembly>),
}

/// An opening handshake that is not over.
struct Pending<O> {
    opening: O,
    /// The time at which it is too late; set when the connection opens.
    deadline: Option<Duration>,
}

/// The result of one step through the input.
enum Progress {
    NeedMore(usize),
    Skip(usize),
    End(usize),
    /// A message lies in the input, in these bytes.
    InPlace {
        opcode: Opcode,
        from: usize,
        to: usize,
    },
    /// A message, or its next piece, is in the assembly or in the input.
    Collected(Collected),
    /// The payload of a pong lies in the input, in these bytes.
    Pong {
        from: usize,
        to: usize,
    },
}

impl<O: Opening, D: Delivery> FrameReader<O, D> {
    pub(crate) fn new(settings: Arc<Settings>, opening: O) -> Self {
        let deadline = None;
        FrameReader {
            settings,
            stage: Stage::Opening(Box::new(Pending { opening, deadline })),
            control_rate: Rate::default(),
            message_rate: Rate::default(),
            delivery: PhantomData,
        }
    }

    /// Looks for one message at the front of the input.
    // A call of its own would cost as much as the rest of it does.
    #[inline(always)]
    pub(crate) fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Unpacked<D::Message<'a>>, WebSocketError> {
        let Some(ShortFrame { is_text, key, end }) = self.short_frame(input) else {
            return self.unpack_slowly(input, context);
        };
        if !self.admits_message(context.now) {
            return Err(refuse(WebSocketError::TooManyMessages, context));
        }
        let payload = &mut input[ShortFrame::HEADER..end];
        mask::apply(payload, key, 0);
        if !is_text {
            return Ok(Unpacked::Message {
                message: D::whole(Message::Binary(payload)),
                consumed: end,
            });
        }
        match std::str::from_utf8(payload) {
            Ok(text) => Ok(Unpacked::Message {
                message: D::whole(Message::Text(text)),
                consumed: end,
            }),
            Err(_) => Err(refuse(WebSocketError::InvalidUtf8, context)),
        }
    }

    /// The frame at the front of the input, if it can take the fast path.
    #[inline(always)]
    fn short_frame(&self, input: &[u8]) -> Option<ShortFrame> {
        if !O::FROM_CLIENT || !matches!(self.stage, Stage::Between) {
            return None;
        }
        ShortFrame::parse(input, self.settings.max_message)
    }

    /// Counts a message that begins; false if it is one too many.
    #[inline(always)]
    fn admits_message(&mut self, now: Duration) -> bool {
        match self.settings.message_rate {
            None => true,
            Some(limit) => self.message_rate.count(now, limit),
        }
    }

    /// Lets go of a message that was delivered.
    #[inline]
    pub(crate) fn drop_delivered(&mut self) {
        if let Stage::Collecting(assembly) = &mut self.stage {
            if assembly.is_complete() {
                if let Stage::Collecting(assembly) =
                    std::mem::replace(&mut self.stage, Stage::Between)
                {
                    assembly.recycle();
                }
            }
        }
    }

    /// True if part of a message was consumed whose rest has not come.
    pub(crate) fn is_within_message(&self) -> bool {
        match &self.stage {
            Stage::Opening(_) | Stage::Between => false,
            Stage::Gathering { .. } => true,
            Stage::Collecting(assembly) => !assembly.is_complete(),
        }
    }

    /// Bytes of a message that is collected.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        match &self.stage {
            Stage::Collecting(assembly) => assembly.held(),
            _ => 0,
        }
    }

    /// True if the next deadline may be earlier than it was when it was last asked for.
    #[inline]
    pub(crate) fn has_new_deadline(&self, encoder: &WebSocketEncoder<O::State>) -> bool {
        matches!(self.stage, Stage::Opening(_)) || encoder.session().has_new_deadline()
    }

    /// The time for [`on_deadline`](Self::on_deadline).
    pub(crate) fn next_deadline(
        &mut self,
        encoder: &mut WebSocketEncoder<O::State>,
        now: Duration,
    ) -> Option<Duration> {
        match &mut self.stage {
            Stage::Opening(pending) => {
                let timeout = self.settings.handshake_timeout;
                Some(*pending.deadline.get_or_insert(now.saturating_add(timeout)))
            }
            _ => encoder.session_mut().next_deadline(now),
        }
    }

    /// Refuses an opening handshake that has taken too long, or does what is due in the session.
    pub(crate) fn on_deadline(
        &mut self,
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<(), WebSocketError> {
        if let Stage::Opening(pending) = &self.stage {
            let error = WebSocketError::HandshakeTimeout;
            let answer = pending.opening.timeout_answer(&self.settings);
            put_answer(&answer, context.output);
            pending.opening.refused(context.peer, &error);
            return Err(error);
        }
        let mut in_session = context.with_encoder(WebSocketEncoder::session_mut);
        Session::on_deadline(&mut in_session, &self.settings)
            .map_err(|error| refuse(error, context))
    }

    /// The slow path: anything but a short message in one frame.
    #[inline(never)]
    fn unpack_slowly<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Unpacked<D::Message<'a>>, WebSocketError> {
        if let Stage::Opening(_) = self.stage {
            return self.open(input, context);
        }
        let mut in_session = context.with_encoder(WebSocketEncoder::session_mut);
        let progress = match self.advance(input, &mut in_session) {
            Ok(progress) => progress,
            Err(error) => {
                // The connection may linger for its peer; the beginning of a message does not.
                self.stage = Stage::Between;
                return Err(refuse(error, context));
            }
        };
        Ok(match progress {
            Progress::NeedMore(at_least) => Unpacked::NeedMore { at_least },
            Progress::Skip(consumed) => Unpacked::Skip { consumed },
            Progress::End(consumed) => Unpacked::End { consumed },
            Progress::InPlace { opcode, from, to } => match message(opcode, &input[from..to]) {
                Some(message) => Unpacked::Message {
                    message: D::whole(message),
                    consumed: to,
                },
                None => return Err(refuse(WebSocketError::InvalidUtf8, context)),
            },
            Progress::Pong { from, to } => match D::pong(&input[from..to]) {
                Some(message) => Unpacked::Message {
                    message,
                    consumed: to,
                },
                None => Unpacked::Skip { consumed: to },
            },
            Progress::Collected(Collected::Nothing { consumed }) => Unpacked::Skip { consumed },
            Progress::Collected(Collected::Here { consumed }) => Unpacked::Message {
                message: self.collected(None),
                consumed,
            },
            Progress::Collected(Collected::InInput { from, to }) => Unpacked::Message {
                message: self.collected(Some(&input[from..to])),
                consumed: to,
            },
        })
    }

    /// The message that was collected, or its next piece, which may lie in the input.
    fn collected<'a>(&'a mut self, in_input: Option<&'a [u8]>) -> D::Message<'a> {
        let Stage::Collecting(assembly) = &mut self.stage else {
            unreachable!("a message was collected");
        };
        match D::PIECES {
            true => D::piece(assembly.piece(in_input)),
            false => D::whole(assembly.message()),
        }
    }

    /// Continues the opening handshake.
    #[cold]
    fn open<M>(
        &mut self,
        input: &[u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Unpacked<M>, WebSocketError> {
        let Stage::Opening(pending) = &mut self.stage else {
            unreachable!("an opening handshake is under way");
        };
        match pending.opening.advance(input, context.peer, &self.settings) {
            Step::NeedMore => Ok(Unpacked::NeedMore { at_least: 1 }),
            Step::Open(opened) => {
                context.output.put_slice(&opened.answer);
                let consumed = opened.consumed;
                self.stage = Stage::Between;
                let session = context.encoder.session_mut();
                session.open(opened, &self.settings, context.now);
                Ok(Unpacked::Opened { consumed })
            }
            Step::Answered { consumed, answer } => {
                put_answer(&answer, context.output);
                Ok(Unpacked::End { consumed })
            }
            Step::Refused { answer, error } => {
                put_answer(&answer, context.output);
                // The answer goes out even if the application panics at the news.
                context.output.end_reply();
                pending.opening.refused(context.peer, &error);
                Err(error)
            }
            Step::Panicked { answer, panic } => {
                put_answer(&answer, context.output);
                context.output.end_reply();
                resume_unwind(panic)
            }
        }
    }

    /// Processes the frame, or the part of one, at the front of the input.
    fn advance(
        &mut self,
        input: &mut [u8],
        context: &mut UnpackContext<'_, Session<O::State>>,
    ) -> Result<Progress, WebSocketError> {
        self.drop_delivered();
        if let Stage::Collecting(assembly) = &mut self.stage {
            if assembly.is_within_frame() {
                let collected = assembly.collect::<D, _>(input, 0, context)?;
                return Ok(Progress::Collected(collected));
            }
        }
        let parsed = frame::parse(input, O::FROM_CLIENT, context.encoder.inflates())?;
        let header = match parsed {
            Parsed::Header(header) => header,
            Parsed::NeedMore(missing) => return Ok(Progress::NeedMore(missing)),
        };
        if header.opcode.is_control() {
            return self.control(header, input, context);
        }
        check_order(&header, matches!(self.stage, Stage::Collecting(_)))?;
        if header.length > self.settings.max_message as u64 {
            return Err(WebSocketError::MessageTooBig);
        }
        let begins = header.opcode != Opcode::Continuation && !self.is_gathering();
        if begins && !self.admits_message(context.now) {
            return Err(WebSocketError::TooManyMessages);
        }
        if header.is_final && !header.is_compressed && header.opcode != Opcode::Continuation {
            // The length is within the limit on messages, which is a usize.
            let end = header.size.saturating_add(header.length as usize);
            if input.len() >= end || (!D::PIECES && end <= GATHER_MAX) {
                return self.gather(header, input);
            }
        }
        self.begin_collecting(header, input, context)
    }

    /// True if the header at the front of the input is that of a message that was begun.
    fn is_gathering(&self) -> bool {
        matches!(self.stage, Stage::Gathering { .. })
    }

    /// Awaits a message in one frame where it lies.
    fn gather(&mut self, header: Header, input: &mut [u8]) -> Result<Progress, WebSocketError> {
        let (unmasked, checked) = match self.stage {
            Stage::Gathering { unmasked, checked } => (unmasked as usize, checked as usize),
            _ => (0, 0),
        };
        let length = header.length as usize;
        let end = header.size + length;
        let available = input.len().min(end) - header.size;
        let payload = &mut input[header.size..header.size + available];
        if let Some(key) = header.key {
            mask::apply(&mut payload[unmasked..], key, unmasked);
        }
        if available == length {
            self.stage = Stage::Between;
            return Ok(Progress::InPlace {
                opcode: header.opcode,
                from: header.size,
                to: end,
            });
        }
        let (checked, missing) = match header.opcode {
            // Invalid text is refused at once, not at the end of the frame.
            Opcode::Text => {
                let checked = text::valid_up_to(payload, checked);
                (checked.map_err(|_| WebSocketError::InvalidUtf8)?, 1)
            }
            _ => (0, length - available),
        };
        self.stage = Stage::Gathering {
            unmasked: available as u32,
            checked: checked as u32,
        };
        Ok(Progress::NeedMore(missing))
    }

    /// Begins the next frame of a message that comes in parts.
    fn begin_collecting(
        &mut self,
        header: Header,
        input: &mut [u8],
        context: &mut UnpackContext<'_, Session<O::State>>,
    ) -> Result<Progress, WebSocketError> {
        if !matches!(self.stage, Stage::Collecting(_)) {
            self.stage = Stage::Collecting(Box::new(Assembly::new(&header)));
        }
        let Stage::Collecting(assembly) = &mut self.stage else {
            unreachable!("it was just set");
        };
        assembly.begin_frame(&header, &self.settings)?;
        let collected = assembly.collect::<D, _>(input, header.size, context)?;
        Ok(Progress::Collected(collected))
    }

    /// Processes a control frame (section 5.5) once all of it is there.
    fn control(
        &mut self,
        header: Header,
        input: &mut [u8],
        context: &mut UnpackContext<'_, Session<O::State>>,
    ) -> Result<Progress, WebSocketError> {
        let end = header.size + header.length as usize;
        if input.len() < end {
            return Ok(Progress::NeedMore(end - input.len()));
        }
        let limit = self.settings.control_rate;
        if !self.control_rate.count(context.now, limit) {
            return Err(WebSocketError::TooManyControlFrames);
        }
        let payload = &mut input[header.size..end];
        if let Some(key) = header.key {
            mask::apply(payload, key, 0);
        }
        let session = &mut *context.encoder;
        match header.opcode {
            Opcode::Ping => session.answer_ping(payload, context.output),
            Opcode::Pong if !session.take_pong(payload, context.now) => {
                return Ok(Progress::Pong {
                    from: header.size,
                    to: end,
                });
            }
            Opcode::Pong => {}
            _ => {
                let frame = CloseFrame::parse(payload).map_err(|bad| match bad {
                    BadClose::OneByte => WebSocketError::Violation(Violation::CloseLength),
                    BadClose::Code => WebSocketError::Violation(Violation::CloseCode),
                    BadClose::Utf8 => WebSocketError::InvalidUtf8,
                })?;
                session.take_close(frame, context.output);
                return Ok(Progress::End(end));
            }
        }
        Ok(Progress::Skip(end))
    }
}

/// Writes an HTTP answer of any length, so that it leaves in one write where that is possible.
fn put_answer(answer: &[u8], output: &mut Output) {
    output.announce(answer.len());
    output.put_slice(answer);
}

/// The message with this payload; `None` if it should be text and is not.
#[inline]
fn message(opcode: Opcode, payload: &[u8]) -> Option<Message<'_>> {
    match opcode {
        Opcode::Text => simdutf8::basic::from_utf8(payload).ok().map(Message::Text),
        _ => Some(Message::Binary(payload)),
    }
}

/// Tells the peer why its bytes are refused, and frees what is not needed any more.
#[cold]
fn refuse<S>(
    error: WebSocketError,
    context: &mut UnpackContext<'_, WebSocketEncoder<S>>,
) -> WebSocketError {
    let session = context.encoder.session_mut();
    if let Some(code) = error.close_code() {
        session.send_close(code, &error.to_string(), context.output);
    }
    session.give_up();
    error
}

impl<O: Opening, D: Delivery> fmt::Debug for FrameReader<O, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Opening(_) => "opening",
            Stage::Between => "between frames",
            Stage::Gathering { .. } => "gathering a frame",
            Stage::Collecting(_) => "collecting a message",
        };
        f.debug_struct("FrameReader")
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
