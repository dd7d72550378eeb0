//! The peer's side of a sealed stream: its messages go out as records, and what it receives is opened and checked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::io::stream::Stream;
use crate::io::wire::Wire;
use crate::io::wire::double::{BAD, CLOSE, DATA, Double, HIDDEN, Log, Receiver, Sender, UPDATE};
use crate::io::wire::seal::{Seal, SealedPiece, Unsealed};
use crate::io::wire::sealed::Sealed;

use super::ledger::Ledger;
use super::network::Pipe;
use super::{BUDGET, Random};

/// Decides which connections are sealed in the run of a seed, and how. It is a generator of its own, so that the runs without
/// sealed connections do not depend on it.
pub(super) fn seals(seed: u64) -> Option<Random> {
    let mut random = Random(seed ^ 0x5ea1_5ea1);
    random.one_in(3).then_some(random)
}

/// See the [module](self).
pub(super) struct Tap {
    random: Random,
    sender: Sender,
    /// Records that have not arrived, or not whole.
    on_the_way: VecDeque<u8>,
    /// The ends of these records, each in bytes of records and in bytes of plaintext.
    ends: VecDeque<(u64, u64)>,
    /// Bytes of the records that were made, and of their plaintext.
    made: (u64, u64),
    /// The same for the records that have arrived whole.
    arrived: u64,
    plain_arrived: u64,
    is_bad: bool,
    end: End,
    pub(super) receiver: Receiver,
    /// The server was about to say its end at the last check, and the kernel has not taken it.
    pub(super) is_end_blocked: bool,
    /// The first check at which all output of a close had left but the seal's own end. The connection lingers from then on.
    pub(super) lacks_end_since: Option<Duration>,
}

/// The work of a record of a connection whose turns take the fast path, unless they have much else to do.
const LIGHT_RECORD: usize = BUDGET / 128;
/// The work of a record of a connection whose turns are heavy.
const HEAVY_RECORD: usize = BUDGET / 2;

/// The way in which the peer ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Undecided,
    /// With a record that says so.
    Said,
    /// Without one, as an attacker could end it.
    Cut,
}

impl Tap {
    pub(super) fn new(random: Random) -> Self {
        Tap {
            random,
            sender: Sender::default(),
            on_the_way: VecDeque::new(),
            ends: VecDeque::new(),
            made: (0, 0),
            arrived: 0,
            plain_arrived: 0,
            is_bad: false,
            end: End::Undecided,
            receiver: Receiver::default(),
            is_end_blocked: false,
            lacks_end_since: None,
        }
    }

    /// The server's end of the stream. Some records may have come behind the handshake, and some are still to be sent.
    pub(super) fn wire(&mut self, stream: Stream, pipe: &Rc<RefCell<Pipe>>) -> Wire {
        let log = Rc::new(RefCell::new(Log::default()));
        pipe.borrow_mut().log = Some(log.clone());
        let mut random = self.random.fork();
        let choose = Box::new(move |bound| random.below(bound));
        let mut double = Double::new(choose, log);
        let mut unsent = Vec::new();
        if self.random.one_in(3) {
            unsent = double.make(HIDDEN, &[0; 50]);
        }
        let mut received = Vec::new();
        if self.random.one_in(3) {
            self.make_idle_records();
            let count = self.random.below(self.on_the_way.len() + 1);
            received = self.on_the_way.drain(..count).collect();
            self.arrived = count as u64;
            self.note_arrived();
        }
        let record_cost = match self.random.one_in(2) {
            true => LIGHT_RECORD,
            false => HEAVY_RECORD,
        };
        let seal = PipeSeal {
            double,
            pipe: pipe.clone(),
            record_cost,
        };
        Wire::Sealed(Box::new(Sealed::new(
            stream,
            Box::new(seal),
            received,
            unsent,
        )))
    }

    fn make(&mut self, kind: u8, payload: &[u8]) {
        let record = self.sender.record(kind, payload);
        self.made.0 += record.len() as u64;
        if kind == DATA {
            self.made.1 += payload.len() as u64;
        }
        self.on_the_way.extend(record);
        self.ends.push_back(self.made);
    }

    /// Makes records without plaintext.
    fn make_idle_records(&mut self) {
        for _ in 0..=self.random.below(3) {
            match self.random.below(3) {
                0 => self.make(UPDATE, &[]),
                1 => self.make(DATA, &[]),
                _ => {
                    let length = self.random.below(30);
                    self.make(HIDDEN, &vec![0; length]);
                }
            }
        }
    }

    /// Puts plaintext into records, with others among them.
    pub(super) fn seal(&mut self, mut plain: &[u8]) {
        if self.end != End::Undecided {
            return;
        }
        if self.random.one_in(6) {
            self.make_idle_records();
        }
        while !plain.is_empty() {
            let most = [8, 100, 900][self.random.below(3)];
            let length = plain.len().min(1 + self.random.below(most));
            let (front, rest) = plain.split_at(length);
            self.make(DATA, front);
            plain = rest;
            if self.random.one_in(12) {
                self.make_idle_records();
            }
            if self.random.one_in(300) && !std::mem::replace(&mut self.is_bad, true) {
                self.make(BAD, &[]);
            }
        }
    }

    /// Bytes of plaintext that are sealed and have not arrived.
    pub(super) fn in_flight(&self) -> usize {
        (self.made.1 - self.plain_arrived) as usize
    }

    /// True if there are bytes that have not arrived.
    pub(super) fn is_sending(&self) -> bool {
        !self.on_the_way.is_empty()
    }

    /// Forgets what has not arrived.
    pub(super) fn forget(&mut self) {
        self.on_the_way.clear();
    }

    /// Loses some of what has not arrived, because the peer ends its stream at once.
    pub(super) fn lose(&mut self) {
        let kept = self.random.below(self.on_the_way.len() + 1);
        if kept < self.on_the_way.len() {
            self.on_the_way.truncate(kept);
            self.end = End::Cut;
        }
    }

    /// Lets some of the records arrive, or all. Returns the bytes of plaintext in those that have become whole.
    pub(super) fn arrive(&mut self, pipe: &mut Pipe, all: bool) -> usize {
        let mut count = self.on_the_way.len();
        if !all && self.random.one_in(2) {
            count = self.random.below(count + 1);
        }
        if count > 0 {
            pipe.to_server.extend(self.on_the_way.drain(..count));
            pipe.readable = true;
            self.arrived += count as u64;
            pipe.peer_closed = self.end == End::Said && !self.is_sending();
        }
        self.note_arrived()
    }

    fn note_arrived(&mut self) -> usize {
        let before = self.plain_arrived;
        while let Some((end, plain)) = self.ends.front().copied() {
            if end > self.arrived {
                break;
            }
            self.plain_arrived = plain;
            self.ends.pop_front();
        }
        (self.plain_arrived - before) as usize
    }

    /// Ends the stream. True if it has ended, or will without a further word, as an attacker could have ended it.
    pub(super) fn leave(&mut self, pipe: &mut Pipe, all: bool) -> bool {
        if self.end == End::Undecided && self.random.one_in(4) {
            self.end = End::Cut;
        } else if self.end == End::Undecided {
            self.make(CLOSE, &[]);
            self.end = End::Said;
        }
        let is_time = all || self.end == End::Cut || self.random.one_in(3);
        if !self.is_sending() && is_time {
            pipe.peer_ended = true;
            pipe.readable = true;
        }
        self.end == End::Cut && pipe.peer_ended
    }

    /// Opens what was received. Returns the plaintext.
    pub(super) fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Vec<u8> {
        let before = self.receiver.answers;
        self.receiver.receive(bytes);
        if self.receiver.answers > before {
            ledger.tally.count("key update answered");
        }
        if let Some(fault) = self.receiver.fault.take() {
            ledger.claim(false, || fault);
        }
        std::mem::take(&mut self.receiver.plain)
    }

    /// True if the peer has ended, or ends, its stream without saying so.
    pub(super) fn is_cut(&self) -> bool {
        self.end == End::Cut
    }
}

/// The double of one connection. It notes in the pipe what the server has received.
struct PipeSeal {
    double: Double,
    pipe: Rc<RefCell<Pipe>>,
    record_cost: usize,
}

impl Seal for PipeSeal {
    fn unseal(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
    ) -> io::Result<Unsealed> {
        let outcome = self.double.unseal(input, plain, answers);
        if let Ok(opened) = outcome {
            self.pipe.borrow_mut().note_received(opened.written);
        }
        outcome
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<SealedPiece> {
        self.double.seal(plain, sealed)
    }

    fn end(&mut self, answers: &mut Vec<u8>) {
        self.double.end(answers);
    }

    fn record_cost(&self) -> usize {
        self.record_cost
    }
}
