//! The reading half: bytes become messages.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::assembly::{Assembly, check_order};
use super::close::{BadClose, CloseFrame};
use super::delivery::Delivery;
use super::encoder::WebSocketEncoder;
use super::error::{Violation, WebSocketError};
use super::frame::{self, Header, Opcode, Parsed};
use super::mask;
use super::message::{Message, Piece};
use super::opening::{Opening, Step};
use super::settings::Settings;
use super::text;
use crate::protocol::{Decode, Output, UnpackContext, Unpacked};

/// A message in one frame that is not longer than this is waited for where it lies; of a longer one the parts are collected
/// as they come.
const GATHER_MAX: usize = 16 * 1024;
/// Compressed bytes that are inflated at a time where a message is handed out in pieces: each of them at most inflates to
/// some 1,032 times as much.
const INFLATE_PIECE: usize = 256;

/// The reading half of a [`WebSocket`](super::WebSocket).
pub struct WebSocketDecoder<O: Opening, D: Delivery> {
    settings: Arc<Settings>,
    stage: Stage<O>,
    control_rate: ControlRate,
    delivery: PhantomData<fn() -> D>,
}

/// What the next bytes are.
enum Stage<O> {
    Opening(Box<Pending<O>>),
    /// The header of a frame.
    Between,
    /// A message whose frame is here, but for its end: so many bytes of its payload are unmasked, and so many are known to
    /// be whole characters if it is text.
    Gathering {
        unmasked: u32,
        checked: u32,
    },
    /// Part of a message that is collected.
    Collecting(Box<Assembly>),
}

/// An opening handshake that is not over.
struct Pending<O> {
    opening: O,
    /// When it must be; set when the connection opens.
    deadline: Option<Duration>,
}

/// Counts control frames against the limit of a second.
#[derive(Clone, Copy, Debug, Default)]
struct ControlRate {
    second: u16,
    count: u16,
}

impl ControlRate {
    /// Counts one more; false if it is one too many.
    fn count(&mut self, now: Duration, limit: u16) -> bool {
        // Only whether it is another second matters.
        let second = now.as_secs() as u16;
        if second != self.second {
            *self = ControlRate { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }
}

/// A short message in one masked frame, behind a header of six bytes.
struct UsualFrame {
    is_text: bool,
    key: mask::Key,
    end: usize,
}

/// What became of the bytes at the front of the input.
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
    /// A message, or of pieces the next one, was collected.
    Collected {
        consumed: usize,
    },
    /// A piece lies in the input.
    PieceInPlace {
        from: usize,
        to: usize,
    },
}

impl<O: Opening, D: Delivery> WebSocketDecoder<O, D> {
    pub(crate) fn new(settings: Arc<Settings>, opening: O) -> Self {
        let deadline = None;
        WebSocketDecoder {
            settings,
            stage: Stage::Opening(Box::new(Pending { opening, deadline })),
            control_rate: ControlRate::default(),
            delivery: PhantomData,
        }
    }

    /// The frame at the front of the input, if it is the usual one: a short message in one masked frame that is all there.
    #[inline(always)]
    fn usual_frame(&self, input: &[u8]) -> Option<UsualFrame> {
        if !O::FROM_CLIENT || !matches!(self.stage, Stage::Between) {
            return None;
        }
        let &[first, second, a, b, c, d] = input.first_chunk()?;
        // Final, no reserved bit, and an opcode of 1 or 2; masked, and a length in seven bits.
        if !matches!(first, 0x81 | 0x82) || !matches!(second, 0x80..=0xFD) {
            return None;
        }
        let length = usize::from(second & 0x7F);
        let end = 6 + length;
        if input.len() < end || length > self.settings.max_message {
            return None;
        }
        Some(UsualFrame {
            is_text: first == 0x81,
            key: [a, b, c, d],
            end,
        })
    }

    /// Takes what is at the front of the input, whatever it is.
    fn advance(
        &mut self,
        input: &mut [u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Progress, WebSocketError> {
        self.drop_delivered();
        if let Stage::Collecting(assembly) = &mut self.stage {
            if assembly.is_within_frame() {
                return collect::<O, D>(assembly, input, 0, &self.settings, context);
            }
        }
        let parsed = frame::parse(input, O::FROM_CLIENT, context.encoder.deflates())?;
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
        if header.is_final && !header.is_compressed && header.opcode != Opcode::Continuation {
            // It is not longer than a message may be, which fits a usize.
            let end = header.size.saturating_add(header.length as usize);
            if input.len() >= end || (!D::PIECES && end <= GATHER_MAX) {
                return self.gather(header, input);
            }
        }
        self.begin_collecting(header, input, context)
    }

    /// A message in one frame, where it lies.
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

    /// A frame of a message that comes in parts.
    fn begin_collecting(
        &mut self,
        header: Header,
        input: &mut [u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Progress, WebSocketError> {
        if !matches!(self.stage, Stage::Collecting(_)) {
            self.stage = Stage::Collecting(Box::new(Assembly::new(&header)));
        }
        match &mut self.stage {
            Stage::Collecting(assembly) => {
                assembly.begin_frame(&header, &self.settings)?;
                collect::<O, D>(assembly, input, header.size, &self.settings, context)
            }
            _ => unreachable!("it was just set"),
        }
    }

    /// A control frame (section 5.5); it is waited for until it is whole.
    fn control(
        &mut self,
        header: Header,
        input: &mut [u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Progress, WebSocketError> {
        let end = header.size + header.length as usize;
        if input.len() < end {
            return Ok(Progress::NeedMore(end - input.len()));
        }
        if !self
            .control_rate
            .count(context.now, self.settings.control_rate)
        {
            return Err(WebSocketError::TooManyControlFrames);
        }
        let payload = &mut input[header.size..end];
        if let Some(key) = header.key {
            mask::apply(payload, key, 0);
        }
        match header.opcode {
            Opcode::Ping => context.encoder.answer_ping(payload, context.output),
            Opcode::Pong => context.encoder.take_pong(payload, context.now),
            _ => {
                let frame = CloseFrame::parse(payload).map_err(|bad| match bad {
                    BadClose::OneByte => WebSocketError::Violation(Violation::CloseLength),
                    BadClose::Code => WebSocketError::Violation(Violation::CloseCode),
                    BadClose::Utf8 => WebSocketError::InvalidUtf8,
                })?;
                context.encoder.take_close(frame, context.output);
                return Ok(Progress::End(end));
            }
        }
        Ok(Progress::Skip(end))
    }

    /// Lets go of a message that was delivered.
    #[inline]
    fn drop_delivered(&mut self) {
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

    /// The opening handshake goes on.
    #[cold]
    fn open<M>(
        &mut self,
        input: &[u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Unpacked<M>, WebSocketError> {
        let Stage::Opening(pending) = &mut self.stage else {
            unreachable!("only an opening handshake goes on");
        };
        match pending.opening.advance(input, context.peer, &self.settings) {
            Step::NeedMore => Ok(Unpacked::NeedMore { at_least: 1 }),
            Step::Open(opened) => {
                context.output.put_slice(&opened.answer);
                let consumed = opened.consumed;
                self.stage = Stage::Between;
                context.encoder.open(opened, &self.settings, context.now);
                Ok(Unpacked::Opened { consumed })
            }
            Step::Answered { consumed, answer } => {
                put_answer(&answer, context.output);
                Ok(Unpacked::End { consumed })
            }
            Step::Refused { answer, error } => {
                put_answer(&answer, context.output);
                Err(error)
            }
        }
    }
}

/// An answer of any length: it leaves in one write where that is possible.
fn put_answer(answer: &[u8], output: &mut Output) {
    output.announce(answer.len());
    output.put_slice(answer);
}

/// Takes the payload behind a header of `header` bytes into the message.
fn collect<O: Opening, D: Delivery>(
    assembly: &mut Assembly,
    input: &mut [u8],
    header: usize,
    settings: &Settings,
    context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
) -> Result<Progress, WebSocketError> {
    let most = match D::PIECES && assembly.is_compressed {
        true => INFLATE_PIECE,
        false => usize::MAX,
    };
    if D::PIECES {
        assembly.clear();
    }
    let count = assembly.unmask(&mut input[header..], most);
    let consumed = header + count;
    let bytes = &input[header..consumed];
    let is_complete = assembly.is_complete();
    if assembly.is_compressed {
        context
            .encoder
            .inflate(bytes, is_complete, assembly, settings)?;
    } else if D::PIECES {
        assembly.check(bytes)?;
    } else {
        assembly.append(bytes)?;
    }
    if is_complete {
        assembly.check_end()?;
    }
    Ok(match D::PIECES {
        true if count == 0 && !is_complete => Progress::Skip(consumed),
        true if assembly.is_compressed => Progress::Collected { consumed },
        true => Progress::PieceInPlace {
            from: header,
            to: consumed,
        },
        false if is_complete => Progress::Collected { consumed },
        false => Progress::Skip(consumed),
    })
}

impl<O: Opening, D: Delivery> Decode for WebSocketDecoder<O, D> {
    type Encoder = WebSocketEncoder<O::State>;
    type Message<'a> = D::Message<'a>;
    type Error = WebSocketError;

    // A call of its own would cost as much as the rest of it does.
    #[inline(always)]
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, Self::Encoder>,
    ) -> Result<Unpacked<D::Message<'a>>, WebSocketError> {
        let Some(UsualFrame { is_text, key, end }) = self.usual_frame(input) else {
            return self.unpack_unusual(input, context);
        };
        let payload = &mut input[6..end];
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

    #[inline]
    fn end_turn(&mut self) {
        self.drop_delivered();
    }

    fn is_within_message(&self) -> bool {
        match &self.stage {
            Stage::Opening(_) | Stage::Between => false,
            Stage::Gathering { .. } => true,
            Stage::Collecting(assembly) => !assembly.is_complete(),
        }
    }

    const HAS_DEADLINES: bool = true;

    #[inline]
    fn next_deadline(&mut self, encoder: &mut Self::Encoder, now: Duration) -> Option<Duration> {
        match &mut self.stage {
            Stage::Opening(pending) => {
                let timeout = self.settings.handshake_timeout;
                Some(*pending.deadline.get_or_insert(now.saturating_add(timeout)))
            }
            _ => encoder.next_deadline(now),
        }
    }

    fn on_deadline(
        &mut self,
        context: &mut UnpackContext<'_, Self::Encoder>,
    ) -> Result<(), WebSocketError> {
        if let Stage::Opening(pending) = &self.stage {
            put_answer(&pending.opening.timeout_answer(), context.output);
            return Err(WebSocketError::HandshakeTimeout);
        }
        context
            .encoder
            .meet_deadline(
                &self.settings,
                context.now,
                context.peer_is_held_back,
                context.output,
            )
            .map_err(|error| refuse(error, context))
    }
}

impl<O: Opening, D: Delivery> WebSocketDecoder<O, D> {
    /// Anything but a short message in one frame.
    #[inline(never)]
    fn unpack_unusual<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, WebSocketEncoder<O::State>>,
    ) -> Result<Unpacked<D::Message<'a>>, WebSocketError> {
        if let Stage::Opening(_) = self.stage {
            return self.open(input, context);
        }
        let progress = match self.advance(input, context) {
            Ok(progress) => progress,
            Err(error) => {
                // The connection may linger for its peer; what has come of a message does not.
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
            Progress::Collected { consumed } => Unpacked::Message {
                message: self.collected(),
                consumed,
            },
            Progress::PieceInPlace { from, to } => Unpacked::Message {
                message: self.piece(&input[from..to]),
                consumed: to,
            },
        })
    }

    /// What was collected: a message, or the next piece of one.
    fn collected(&mut self) -> D::Message<'_> {
        let Stage::Collecting(assembly) = &mut self.stage else {
            unreachable!("what was collected is there");
        };
        if !D::PIECES {
            return D::whole(assembly.message());
        }
        let is_first = std::mem::take(&mut assembly.is_untouched);
        D::piece(Piece {
            kind: assembly.kind(),
            bytes: assembly.message().as_bytes(),
            is_first,
            is_last: assembly.is_complete(),
        })
    }

    /// A piece that lies in the input.
    fn piece<'a>(&'a mut self, bytes: &'a [u8]) -> D::Message<'a> {
        let Stage::Collecting(assembly) = &mut self.stage else {
            unreachable!("a piece is a piece of what is collected");
        };
        D::piece(Piece {
            kind: assembly.kind(),
            bytes,
            is_first: std::mem::take(&mut assembly.is_untouched),
            is_last: assembly.is_complete(),
        })
    }
}

/// The message with this payload, unless it should be text and is not.
#[inline]
fn message(opcode: Opcode, payload: &[u8]) -> Option<Message<'_>> {
    match opcode {
        Opcode::Text => simdutf8::basic::from_utf8(payload).ok().map(Message::Text),
        _ => Some(Message::Binary(payload)),
    }
}

/// Tells the peer why its bytes are refused.
#[cold]
fn refuse<S>(
    error: WebSocketError,
    context: &mut UnpackContext<'_, WebSocketEncoder<S>>,
) -> WebSocketError {
    if let Some(code) = error.close_code() {
        context
            .encoder
            .say_close(code, &error.to_string(), context.output);
    }
    context.encoder.give_up();
    error
}

impl<O: Opening, D: Delivery> fmt::Debug for WebSocketDecoder<O, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketDecoder")
            .field(
                "stage",
                &match &self.stage {
                    Stage::Opening(_) => "opening",
                    Stage::Between => "between frames",
                    Stage::Gathering { .. } => "gathering a frame",
                    Stage::Collecting(_) => "collecting a message",
                },
            )
            .finish_non_exhaustive()
    }
}
