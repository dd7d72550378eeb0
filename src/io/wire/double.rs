//! A seal without cryptography, for tests: it has all the freedom that a [`Seal`] has, and uses it.
//!
//! It opens several records at a time, splits those that have no room, stops early and keeps records or plaintext inside, refuses
//! bad records, answers requests, hides bytes, and seals less than it is given. A record is its kind, its number, the length of
//! its payload in two bytes, and the payload, in which each byte is changed by the number. So a record that is lost, sent twice or
//! out of order is found by whoever opens the next one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::seal::{Rest, Seal, SealedPiece, Unsealed};

pub(crate) const HEADER: usize = 4;
/// Plaintext.
pub(crate) const DATA: u8 = 1;
/// Bytes that mean nothing, as the padding of TLS or a session ticket.
pub(crate) const HIDDEN: u8 = 2;
/// The peer must send an answer, as to a key update.
pub(crate) const UPDATE: u8 = 3;
pub(crate) const ANSWER: u8 = 4;
/// The end of the stream.
pub(crate) const CLOSE: u8 = 5;
/// The last words to a peer whose record is refused.
pub(crate) const ALERT: u8 = 6;
/// A record that is refused.
pub(crate) const BAD: u8 = 7;

/// The longest payload of a record with plaintext.
const RECORD_MAX: usize = 4_000;

/// Makes the records of one direction.
#[derive(Default)]
pub(crate) struct Sender {
    number: u8,
}

impl Sender {
    pub(crate) fn record(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a record is shorter");
        let number = self.number;
        self.number = number.wrapping_add(1);
        let mut record = vec![kind, number];
        record.extend_from_slice(&length.to_be_bytes());
        record.extend(payload.iter().map(|byte| byte ^ mask(number)));
        record
    }
}

fn mask(number: u8) -> u8 {
    number.wrapping_mul(29) ^ 0xa5
}

/// The length of the record at the front of `bytes`, if it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let [_, _, high, low] = *bytes.first_chunk::<HEADER>()?;
    let length = HEADER + usize::from(u16::from_be_bytes([high, low]));
    (bytes.len() >= length).then_some(length)
}

/// All that the double has done, to be compared with what the network and the peer have seen.
#[derive(Default)]
pub(crate) struct Log {
    /// Bytes of all records that were made.
    pub(crate) made: u64,
    /// Bytes of plaintext in them.
    pub(crate) sealed: u64,
    /// The end of the records of each call of `seal`, and the end of their plaintext.
    pieces: Vec<(u64, u64)>,
    /// Bytes of the records that were opened.
    pub(crate) consumed: u64,
    /// Bytes of plaintext that were given out.
    pub(crate) opened: u64,
    /// Plaintext is inside, or a whole record was left in the input.
    pub(crate) is_at_hand: bool,
    pub(crate) is_refused: bool,
    pub(crate) has_said_end: bool,
}

impl Log {
    /// Bytes of plaintext whose pieces are with the kernel, once it has taken `sent` bytes of records.
    pub(crate) fn sealed_within(&self, sent: u64) -> u64 {
        let whole = self.pieces.partition_point(|(end, _)| *end <= sent);
        whole.checked_sub(1).map_or(0, |index| self.pieces[index].1)
    }
}

/// Makes a choice: a number below the bound, or 0 if that is 0.
pub(crate) type Choose = Box<dyn FnMut(usize) -> usize>;

/// See the [module](self).
pub(crate) struct Double {
    choose: Choose,
    log: Rc<RefCell<Log>>,
    sender: Sender,
    /// The number of the next record of the peer.
    next: u8,
    /// Plaintext that was opened and not given out.
    inside: VecDeque<u8>,
    /// The last call has sealed none of the plaintext.
    has_stalled: bool,
}

impl Double {
    pub(crate) fn new(choose: Choose, log: Rc<RefCell<Log>>) -> Self {
        Double {
            choose,
            log,
            sender: Sender::default(),
            next: 0,
            inside: VecDeque::new(),
            has_stalled: false,
        }
    }

    pub(crate) fn make(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let record = self.sender.record(kind, payload);
        let mut log = self.log.borrow_mut();
        log.made += record.len() as u64;
        if kind == DATA {
            log.sealed += payload.len() as u64;
        }
        record
    }

    fn one_in(&mut self, n: usize) -> bool {
        (self.choose)(n) == n - 1
    }

    /// Gives plaintext out, as far as there is room.
    fn give(&mut self, room: &mut [u8]) -> usize {
        let count = room.len().min(self.inside.len());
        for (to, byte) in room.iter_mut().zip(self.inside.drain(..count)) {
            *to = byte;
        }
        count
    }

    /// Opens a whole record. `None` if it is refused.
    fn open(&mut self, record: &[u8], answers: &mut Vec<u8>) -> Option<u8> {
        let (kind, number) = (record[0], record[1]);
        if number != self.next || !matches!(kind, DATA | HIDDEN | UPDATE | ANSWER | CLOSE) {
            return None;
        }
        self.next = number.wrapping_add(1);
        match kind {
            DATA => {
                let payload = record[HEADER..].iter().map(|byte| byte ^ mask(number));
                self.inside.extend(payload);
            }
            UPDATE => answers.extend(self.make(ANSWER, &[])),
            _ => {}
        }
        Some(kind)
    }
}

impl Seal for Double {
    fn unseal(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
    ) -> io::Result<Unsealed> {
        let mut opened = Unsealed {
            consumed: 0,
            written: 0,
            records: 0,
            rest: Rest::Perhaps,
        };
        loop {
            opened.written += self.give(&mut plain[opened.written..]);
            if opened.written == plain.len() {
                break;
            }
            let rest = &input[opened.consumed..];
            let Some(length) = whole(rest) else {
                opened.rest = Rest::Nothing;
                break;
            };
            let has_begun = opened.records > 0 || opened.written > 0;
            if has_begun && self.one_in(8) {
                break;
            }
            let record = rest[..length].to_vec();
            let Some(kind) = self.open(&record, answers) else {
                if has_begun {
                    break;
                }
                answers.extend(self.make(ALERT, &[]));
                self.log.borrow_mut().is_refused = true;
                return Err(io::ErrorKind::InvalidData.into());
            };
            opened.consumed += length;
            opened.records += 1;
            if kind == CLOSE {
                opened.rest = Rest::Ended;
                break;
            }
            if self.one_in(8) {
                break;
            }
        }
        let mut log = self.log.borrow_mut();
        log.consumed += opened.consumed as u64;
        log.opened += opened.written as u64;
        let has_record = whole(&input[opened.consumed..]).is_some();
        log.is_at_hand = opened.rest != Rest::Ended && (has_record || !self.inside.is_empty());
        Ok(opened)
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<SealedPiece> {
        let mut records = Vec::new();
        let mut taken = 0;
        self.has_stalled = !self.has_stalled && self.one_in(6);
        if self.has_stalled {
            let hidden = (self.choose)(40);
            records = self.make(HIDDEN, &vec![0; hidden]);
        }
        let most = if self.one_in(4) {
            1 + (self.choose)(plain.len())
        } else {
            plain.len()
        };
        while taken < most && !self.has_stalled {
            let room = sealed.len() - records.len();
            let length = 1 + (self.choose)(RECORD_MAX.min(most - taken));
            if room < length + 4 * HEADER {
                break;
            }
            records.extend(self.make(DATA, &plain[taken..taken + length]));
            taken += length;
            if self.one_in(6) {
                records.extend(self.make(HIDDEN, &[0; HEADER]));
            }
        }
        sealed[..records.len()].copy_from_slice(&records);
        let mut log = self.log.borrow_mut();
        let piece = (log.made, log.sealed);
        log.pieces.push(piece);
        Ok(SealedPiece {
            taken,
            written: records.len(),
        })
    }

    fn end(&mut self, answers: &mut Vec<u8>) {
        answers.extend(self.make(CLOSE, &[]));
        self.log.borrow_mut().has_said_end = true;
    }
}

/// The peer of a double, as far as it receives: it opens the records, and notes the first fault.
#[derive(Default)]
pub(crate) struct Receiver {
    /// The beginning of a record that is not whole.
    held: Vec<u8>,
    number: u8,
    /// Plaintext that was opened, in order.
    pub(crate) plain: Vec<u8>,
    pub(crate) answers: u64,
    pub(crate) has_ended: bool,
    pub(crate) is_refused: bool,
    pub(crate) fault: Option<String>,
}

impl Receiver {
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut rest = &held[..];
        while let Some(length) = whole(rest) {
            self.open(&rest[..length]);
            rest = &rest[length..];
        }
        self.held = rest.to_vec();
    }

    fn open(&mut self, record: &[u8]) {
        let (kind, number) = (record[0], record[1]);
        if number != self.number {
            let expected = self.number;
            self.note(format!("the record {number} comes instead of {expected}"));
        }
        if self.has_ended || self.is_refused {
            self.note(format!("a record of kind {kind} comes behind the end"));
        }
        self.number = number.wrapping_add(1);
        match kind {
            DATA => self
                .plain
                .extend(record[HEADER..].iter().map(|byte| byte ^ mask(number))),
            HIDDEN => {}
            ANSWER => self.answers += 1,
            CLOSE => self.has_ended = true,
            ALERT => self.is_refused = true,
            _ => self.note(format!("a record of kind {kind} comes")),
        }
    }

    fn note(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    /// Bytes of plaintext in the record of which a part was received.
    pub(crate) fn begun(&self) -> usize {
        let is_plain = self.held.first() == Some(&DATA);
        let length = self.held.len().saturating_sub(HEADER);
        if is_plain { length } else { 0 }
    }

    /// True if a part of a record was received.
    pub(crate) fn is_within_record(&self) -> bool {
        !self.held.is_empty()
    }
}
