//! A handshake without cryptography, which keeps a log of its steps: the messages of the peer say how it goes.
//!
//! The first byte is the number of the newcomer. Messages follow: their kind, the steps that they take, the length of the answer in
//! units of 8 bytes, the length of their payload in two bytes, and the payload. Behind the last message come the records of
//! [`Double`].

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::io::wire::double::{Double, Log as SealLog};
use crate::io::wire::handshake::{Handshake, Progress, SealSource};
use crate::io::wire::seal::Seal;
use crate::seeds::{Random, quiet_panic};

/// A message that another follows.
pub(super) const MORE: u8 = 1;
/// The message with which the handshake is done.
pub(super) const LAST: u8 = 2;
/// A message that is refused.
pub(super) const BAD: u8 = 3;
/// A message at which the handshake's code panics.
pub(super) const PANIC: u8 = 4;
/// A message that never becomes whole, and that is a whole step for each time that more of it comes.
pub(super) const ENDLESS: u8 = 5;

const HEAD: usize = 5;
pub(super) const ALERT: [u8; 20] = [0xee; 20];

/// A message with a payload of the given length.
pub(super) fn message(kind: u8, steps: u8, answer: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(payload).expect("a message is shorter");
    let mut message = vec![kind, steps, answer];
    message.extend_from_slice(&length.to_be_bytes());
    message.resize(HEAD + payload, 0x55);
    message
}

/// A step of a handshake, as it went.
pub(super) struct Step {
    /// The number of the newcomer; `None` if the handshake could not begin.
    pub(super) of: Option<usize>,
    pub(super) went: Went,
    /// It has taken a message, or answered one.
    pub(super) has_progressed: bool,
    /// The time that it took.
    pub(super) cost: Duration,
}

/// The times that steps take, in microseconds, one after the other.
const COSTS: [u64; 5] = [20, 300, 1_100, 700, 2_500];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    On(Progress),
    Refused,
    Panicked,
}

/// All steps since the log was last read, and all bytes that the handshakes of each newcomer have made.
#[derive(Default)]
pub(super) struct Log {
    pub(super) steps: Vec<Step>,
    pub(super) made: Vec<Vec<u8>>,
    /// The next handshakes cannot begin.
    pub(super) is_broken: bool,
    /// The number of all steps.
    count: usize,
}

impl Log {
    fn note(&mut self, of: Option<usize>, went: Went, has_progressed: bool) {
        let cost = Duration::from_micros(COSTS[self.count % COSTS.len()]);
        self.count += 1;
        self.steps.push(Step {
            of,
            went,
            has_progressed,
            cost,
        });
    }

    /// The time that the steps have taken since the log was last read.
    pub(super) fn spent(&self) -> Duration {
        self.steps.iter().map(|step| step.cost).sum()
    }
}

#[derive(Clone, Default)]
pub(super) struct Book(Arc<Mutex<Log>>);

impl Book {
    pub(super) fn open(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("no code panics with the log in hand")
    }
}

/// Begins the handshakes of a service.
pub(super) struct Source(pub(super) Book);

impl SealSource for Source {
    fn begin(&self) -> io::Result<Box<dyn Handshake>> {
        let mut log = self.0.open();
        if log.is_broken {
            log.note(None, Went::Refused, false);
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Box::new(Script {
            book: self.0.clone(),
            number: None,
            worked: 0,
        }))
    }
}

struct Script {
    book: Book,
    number: Option<usize>,
    /// Steps that the message at the front has taken.
    worked: u8,
}

impl Handshake for Script {
    fn advance(&mut self, received: &mut Vec<u8>, answers: &mut Vec<u8>) -> io::Result<Progress> {
        let before = (received.len(), answers.len());
        let number = match self.number {
            Some(number) => number,
            None => usize::from(*received.first().expect("a handshake begins with bytes")),
        };
        let went = self.step(received, answers);
        let mut log = self.book.open();
        log.made[number].extend_from_slice(&answers[before.1..]);
        let has_progressed = before != (received.len(), answers.len());
        log.note(Some(number), went, has_progressed);
        drop(log);
        self.number = Some(number);
        match went {
            Went::On(progress) => Ok(progress),
            Went::Refused => Err(io::ErrorKind::InvalidData.into()),
            Went::Panicked => quiet_panic(),
        }
    }

    fn finish(self: Box<Self>) -> Box<dyn Seal> {
        let number = self.number.expect("it has had a step");
        let mut random = Random(number as u64);
        let choose = Box::new(move |bound| random.below(bound));
        Box::new(Double::new(choose, Rc::<RefCell<SealLog>>::default()))
    }
}

impl Script {
    fn step(&mut self, received: &mut Vec<u8>, answers: &mut Vec<u8>) -> Went {
        if self.number.is_none() {
            received.remove(0);
        }
        let [kind, steps, answer, high, low] = match received.first_chunk::<HEAD>() {
            Some(head) => *head,
            None => return Went::On(Progress::AwaitsInput),
        };
        let whole = HEAD + usize::from(u16::from_be_bytes([high, low]));
        match kind {
            ENDLESS => {
                received.truncate(HEAD);
                return Went::On(Progress::AwaitsInput);
            }
            PANIC => return Went::Panicked,
            MORE | LAST => {}
            _ => {
                answers.extend_from_slice(&ALERT);
                return Went::Refused;
            }
        }
        if received.len() < whole {
            return Went::On(Progress::AwaitsInput);
        }
        self.worked += 1;
        if self.worked < steps {
            return Went::On(Progress::GoesOn);
        }
        self.worked = 0;
        received.drain(..whole);
        answers.resize(answers.len() + 8 * usize::from(answer), answer);
        Went::On(match (kind, received.is_empty()) {
            (LAST, _) => Progress::Done,
            (_, true) => Progress::AwaitsInput,
            (_, false) => Progress::GoesOn,
        })
    }
}
