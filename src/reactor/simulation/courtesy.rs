//! A protocol that uses all that a protocol may use: it greets, opens with a handshake, answers by itself, keeps deadlines,
//! says farewell and awaits the answer. Some frames and messages make it panic or refuse.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::{
    Decode, Encode, Farewell, Output, PackError, Parting, Protocol, UnpackContext, Unpacked,
};

use super::ledger::{Book, ticks};
use super::{MAX_FRAME, quiet_panic};

/// A frame is its kind, the length of its body in two bytes, and the body.
pub(super) const HEADER: usize = 3;
pub(super) const HELLO: u8 = 1;
pub(super) const WELCOME: u8 = 2;
pub(super) const DATA: u8 = 3;
pub(super) const PING: u8 = 4;
pub(super) const PONG: u8 = 5;
pub(super) const BYE: u8 = 6;
/// The decoder panics at a frame of this kind.
pub(super) const POISON: u8 = 7;
/// The decoder collects the bodies of these frames until the next message.
pub(super) const PART: u8 = 8;

/// The time that the opening handshake may take.
pub(super) const HANDSHAKE: Duration = Duration::from_micros(60_300);
const PING_EVERY: Duration = Duration::from_micros(70_700);
/// The time for the peer's end of stream, after ours.
const END_WITHIN: Duration = Duration::from_micros(40_500);
const PONG_WITHIN: Duration = Duration::from_micros(90_100);
/// The most bytes of parts that the decoder collects.
const MAX_PARTS: usize = 6_000;
/// The length of a ping's body: a ping can bring the output above the high-water mark by itself.
const PING_BODY: usize = 200;

/// The encoder refuses a message of this length.
pub(super) const UNENCODABLE: usize = 666;
/// The encoder panics at a message of this length.
pub(super) const PANICKING: usize = 777;
/// A message of at least this length is written in two parts, each long enough to go to the socket directly.
pub(super) const LONG: usize = 18_000;
/// The encoder panics between the two parts of a message of this length.
pub(super) const PANICS_HALFWAY: usize = LONG + 1;

/// Work that the reactor charges for each call of the protocol.
const CALL: usize = 16;
/// The most work that a frame causes.
pub(super) const MOST_WORK: usize = CALL + 600;

/// The work that a frame causes besides that of its bytes, as its last byte has it.
fn labour(kind: u8, body: &[u8]) -> usize {
    match body.last() {
        Some(last) if kind == DATA => usize::from(*last % 4) * 200,
        _ => 0,
    }
}

pub(super) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&(body.len() as u16).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

#[derive(Clone)]
pub(super) struct Courtesy {
    pub(super) book: Book,
}

impl Protocol for Courtesy {
    const OPENS_AT_ONCE: bool = false;
    type Decoder = CourtesyDecoder;
    type Encoder = CourtesyEncoder;

    fn open(&self) -> (CourtesyDecoder, CourtesyEncoder) {
        // The connection is the last that was recorded.
        let number = self.book.open().records.len() - 1;
        let decoder = CourtesyDecoder {
            number,
            book: self.book.clone(),
            stage: Stage::Opening,
            due: None,
            pong_due: None,
            asked: None,
            parts: Vec::new(),
        };
        let encoder = CourtesyEncoder {
            number,
            book: self.book.clone(),
            has_parted: false,
            end_due: None,
        };
        (decoder, encoder)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Open,
    Over,
}

/// The reading half.
pub(super) struct CourtesyDecoder {
    pub(super) number: usize,
    book: Book,
    stage: Stage,
    /// The end of the time for the handshake; once that is over, the time of the next ping.
    due: Option<Duration>,
    pong_due: Option<Duration>,
    /// The deadline that the reactor was last told.
    asked: Option<Duration>,
    /// The parts since the last message.
    parts: Vec<u8>,
}

/// The reason for which a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CourtesyError {
    TooLong,
    OutOfTurn,
    LateHandshake,
    LatePong,
    LateEnd,
}

impl fmt::Display for CourtesyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for CourtesyError {}

/// The earlier one of two deadlines.
fn earlier(due: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (due, other) {
        (Some(due), Some(other)) => Some(due.min(other)),
        (due, other) => due.or(other),
    }
}

impl CourtesyDecoder {
    fn next_due(&self) -> Option<Duration> {
        earlier(self.due, self.pong_due)
    }

    /// Notes in the ledger the deadline that the reactor has to keep.
    fn note_deadline(&self) {
        let mut ledger = self.book.open();
        let pending = self.next_due().map(|due| ledger.pending(due));
        let noted = &mut ledger.records[self.number].deadline;
        if pending.map(|new| new.due) != noted.map(|old| old.due) {
            *noted = pending;
        }
    }

    fn take<'a>(
        &mut self,
        kind: u8,
        body: &'a [u8],
        context: &mut UnpackContext<'_, CourtesyEncoder>,
    ) -> Result<Unpacked<&'a [u8]>, CourtesyError> {
        let consumed = HEADER + body.len();
        let work = labour(kind, body);
        self.book.open().note_work(self.number, CALL + work);
        context.charge(work);
        match (self.stage, kind) {
            (_, POISON) => quiet_panic(),
            (Stage::Opening, HELLO) => {
                context.output.put_slice(&frame(WELCOME, &[]));
                self.stage = Stage::Open;
                self.due = Some(context.now + PING_EVERY);
                self.book.open().records[self.number].has_shaken_hands = true;
                Ok(Unpacked::Opened { consumed })
            }
            (Stage::Open, DATA) => {
                self.parts = Vec::new();
                Ok(Unpacked::Message {
                    message: body,
                    consumed,
                })
            }
            (Stage::Open, PART) if self.parts.len() + body.len() > MAX_PARTS => {
                Err(CourtesyError::TooLong)
            }
            (Stage::Open, PART) => {
                self.parts.extend_from_slice(body);
                Ok(Unpacked::Skip { consumed })
            }
            (Stage::Open, PING) => {
                if !context.encoder.has_parted {
                    context.output.put_slice(&frame(PONG, body));
                    self.book.open().records[self.number].pongs += 1;
                }
                Ok(Unpacked::Skip { consumed })
            }
            (Stage::Open, PONG) => {
                self.pong_due = None;
                Ok(Unpacked::Skip { consumed })
            }
            (Stage::Open, BYE) => {
                if !context.encoder.has_parted {
                    context.encoder.has_parted = true;
                    context.output.put_slice(&frame(BYE, &[]));
                }
                self.stage = Stage::Over;
                self.book.open().tally.count("end by the peer's farewell");
                (self.due, self.pong_due) = (None, None);
                Ok(Unpacked::End { consumed })
            }
            _ => Err(CourtesyError::OutOfTurn),
        }
    }
}

impl Decode for CourtesyDecoder {
    type Encoder = CourtesyEncoder;
    type Message<'a> = &'a [u8];
    type Error = CourtesyError;
    const HAS_DEADLINES: bool = true;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, CourtesyEncoder>,
    ) -> Result<Unpacked<&'a [u8]>, CourtesyError> {
        self.book.open().claim(self.stage != Stage::Over, || {
            "the decoder is called after the end of the conversation".into()
        });
        let input = &*input;
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
            let at_least = HEADER - input.len();
            return Ok(Unpacked::NeedMore { at_least });
        };
        let length = usize::from(u16::from_be_bytes([header[1], header[2]]));
        if length > MAX_FRAME {
            return Err(CourtesyError::TooLong);
        }
        let Some(body) = rest.get(..length) else {
            let at_least = length - rest.len();
            return Ok(Unpacked::NeedMore { at_least });
        };
        let taken = self.take(header[0], body, context);
        self.note_deadline();
        taken
    }

    fn held(&self) -> usize {
        self.parts.capacity()
    }

    fn next_deadline(&mut self, encoder: &mut CourtesyEncoder, now: Duration) -> Option<Duration> {
        if self.stage == Stage::Opening {
            self.due.get_or_insert(now + HANDSHAKE);
        }
        if encoder.has_parted {
            (self.due, self.pong_due) = (None, None);
        } else if encoder.end_due.is_some() {
            (self.due, self.pong_due) = (encoder.end_due, None);
        }
        self.note_deadline();
        self.asked = self.next_due();
        self.asked
    }

    fn has_new_deadline(&self, encoder: &CourtesyEncoder) -> bool {
        let next = earlier(self.next_due(), encoder.end_due);
        let is_earlier = match (next, self.asked) {
            (Some(next), Some(asked)) => next < asked,
            (next, _) => next.is_some(),
        };
        is_earlier || self.stage == Stage::Opening
    }

    fn on_deadline(
        &mut self,
        context: &mut UnpackContext<'_, CourtesyEncoder>,
    ) -> Result<(), CourtesyError> {
        let due = self.next_due();
        let (now, told) = (context.now, context.heard_at);
        let heard_at = self.book.open().records[self.number].heard_at;
        let is_heard = ticks(told) >= ticks(heard_at) && told <= now;
        self.book.open().claim(is_heard, || {
            format!("the peer was heard at {heard_at:?}, and the protocol is told {told:?}")
        });
        self.book
            .open()
            .claim(due.is_some_and(|due| due <= context.now), || {
                format!(
                    "the deadline {due:?} is met too early, at {:?}",
                    context.now
                )
            });
        let is_pong_late = self.pong_due.is_some_and(|due| due <= context.now);
        let (event, outcome) = match self.stage {
            Stage::Opening => ("handshake late", Err(CourtesyError::LateHandshake)),
            _ if context.encoder.end_due.is_some() => ("end late", Err(CourtesyError::LateEnd)),
            _ if is_pong_late => ("pong late", Err(CourtesyError::LatePong)),
            _ if context.now.subsec_micros() % 41 == 0 => ("deadline panics", Ok(())),
            _ => ("deadline met", Ok(())),
        };
        self.book.open().tally.count(event);
        if event == "deadline panics" {
            quiet_panic();
        }
        outcome?;
        context.output.put_slice(&frame(PING, &[0; PING_BODY]));
        self.due = Some(context.now + PING_EVERY);
        self.pong_due.get_or_insert(context.now + PONG_WITHIN);
        self.note_deadline();
        Ok(())
    }
}

/// The writing half.
pub(super) struct CourtesyEncoder {
    number: usize,
    book: Book,
    /// The farewell was said.
    has_parted: bool,
    /// The time by which the peer has to end its stream, after ours.
    end_due: Option<Duration>,
}

impl Encode for CourtesyEncoder {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        self.book.open().claim(!self.has_parted, || {
            format!("{} sends a message after its farewell", self.number)
        });
        output.put_slice(&[DATA]);
        match item.len() {
            UNENCODABLE => return Err(PackError("messages of this length are refused")),
            PANICKING => quiet_panic(),
            _ => {}
        }
        output.put_u16_be(item.len() as u16);
        let (front, back) = item.split_at(if item.len() >= LONG { LONG / 2 } else { 0 });
        output.put_slice(front);
        if item.len() == PANICS_HALFWAY {
            quiet_panic();
        }
        output.put_slice(back);
        Ok(())
    }

    fn greet(&mut self, output: &mut Output) {
        output.put_slice(&frame(HELLO, b"greetings"));
    }

    fn end_stream(&mut self, now: Duration) {
        let due = now + END_WITHIN;
        let is_first = self.end_due.replace(due).is_none();
        let mut ledger = self.book.open();
        ledger.records[self.number].deadline = Some(ledger.pending(due));
        ledger.claim(is_first && !self.has_parted, || {
            format!("{} ends its stream twice, or late", self.number)
        });
    }

    fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        let mut ledger = self.book.open();
        let record = &mut ledger.records[self.number];
        record.farewells += 1;
        record.must_part = !record.has_shut_write;
        let (farewells, is_open) = (record.farewells, record.has_shaken_hands);
        ledger.claim(farewells == 1, || {
            format!("{} says farewell again: {why:?}", self.number)
        });
        if std::mem::replace(&mut self.has_parted, true) || why == Farewell::PeerEnded {
            return Parting::AtOnce;
        }
        output.put_slice(&frame(BYE, &[why as u8]));
        if is_open && self.number % 5 > 0 {
            return Parting::AwaitAnswer;
        }
        Parting::AtOnce
    }
}
