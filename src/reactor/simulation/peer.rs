//! The other side of a connection: what it says, how it answers, and what it makes of what it hears.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::connection::completion::SendOutcome;
use crate::connection::id::ConnId;

use super::courtesy::{self, BYE, DATA, HELLO, PING, POISON, PONG, WELCOME};
use super::ledger::{Address, Ledger};
use super::network::Pipe;
use super::society::{MAILED, NUMBERED, OWN};
use super::{INPUT_LIMIT, MAX_FRAME, MAX_MESSAGE, Random};

/// How a peer answers what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    AtOnce,
    Late,
    Never,
    /// It ends its stream instead.
    Leave,
}

impl Manner {
    fn new(random: &mut Random) -> Manner {
        match random.below(8) {
            0..=3 => Manner::AtOnce,
            4..=5 => Manner::Late,
            6 => Manner::Never,
            _ => Manner::Leave,
        }
    }
}

pub(super) struct Peer {
    pub(super) number: usize,
    pub(super) id: ConnId,
    pub(super) pipe: Rc<RefCell<Pipe>>,
    pub(super) is_courteous: bool,
    pub(super) reads: bool,
    /// Since when the connection is parting, and closing, as seen from outside.
    pub(super) parting_since: Option<Duration>,
    pub(super) closing_since: Option<Duration>,
    /// When that time may have been granted once more.
    pub(super) parting_renewed: Option<Duration>,
    pub(super) closing_renewed: Option<Duration>,
    /// How much was written when it was seen to be stuck first, and when that was.
    pub(super) stuck: (u64, Duration),
    /// After how many messages it was seen to be within another first, since when, and since when it was listened to.
    pub(super) begun: Option<(u64, Duration, Duration)>,
    pub(super) adopted: Duration,
    /// When something of it was not looked at yet as timers fired.
    pub(super) unheard_at: Duration,
    /// When it was last seen that it had not been listened to since the time of its message began.
    pub(super) shut_at: Option<Duration>,
    /// Whether its input was wanted as timers fired.
    pub(super) is_wanted: bool,
    to_ping: Manner,
    to_bye: Manner,
    /// Bytes on their way.
    outbox: Vec<u8>,
    /// The end of the stream is behind them.
    leaves: bool,
    /// Answers that take their time.
    later: Vec<(Duration, Vec<u8>)>,
    asked: u32,
    /// Where the frames that have not arrived whole end in the stream, and which of them are messages.
    ends: Vec<(u64, bool)>,
    sent: u64,
    /// Where the last frame ends that was sent whole.
    last_end: u64,
    /// What was heard and is no whole frame yet.
    inbox: Vec<u8>,
    greeted: bool,
    pub(super) own: u32,
    pub(super) pongs: u32,
    pings: u32,
    last_mail: Option<usize>,
    said_bye: bool,
    pub(super) heard_bye: bool,
}

impl Peer {
    pub(super) fn new(
        number: usize,
        id: ConnId,
        pipe: Rc<RefCell<Pipe>>,
        is_courteous: bool,
        now: Duration,
        random: &mut Random,
    ) -> Peer {
        let mut peer = Peer {
            number,
            id,
            pipe,
            is_courteous,
            reads: !random.one_in(5),
            parting_since: None,
            closing_since: None,
            parting_renewed: None,
            closing_renewed: None,
            stuck: (0, now),
            begun: None,
            unheard_at: now,
            shut_at: None,
            is_wanted: true,
            adopted: now,
            to_ping: Manner::new(random),
            to_bye: Manner::new(random),
            outbox: Vec::new(),
            leaves: false,
            later: Vec::new(),
            asked: 0,
            ends: Vec::new(),
            sent: 0,
            last_end: 0,
            inbox: Vec::new(),
            greeted: false,
            own: 0,
            pongs: 0,
            pings: 0,
            last_mail: None,
            said_bye: false,
            heard_bye: false,
        };
        if is_courteous {
            let hello = courtesy::frame(HELLO, &[7; 20]);
            // Most are let in, to see what is behind the door.
            let manner = if random.one_in(3) {
                Manner::new(random)
            } else {
                Manner::AtOnce
            };
            peer.answer(manner, hello, now, random);
        }
        peer
    }

    /// Whether there are bytes, or an end, that have not arrived.
    pub(super) fn is_sending(&self) -> bool {
        !self.outbox.is_empty() || !self.later.is_empty()
    }

    fn put(&mut self, frame: &[u8], is_message: bool) {
        if self.said_bye || self.leaves {
            return;
        }
        self.outbox.extend_from_slice(frame);
        let end = self.sent + self.outbox.len() as u64;
        self.ends.push((end, is_message));
    }

    fn answer(&mut self, manner: Manner, frame: Vec<u8>, now: Duration, random: &mut Random) {
        match manner {
            Manner::AtOnce => self.put(&frame, false),
            Manner::Late => {
                let wait = Duration::from_micros(random.below(250_000) as u64);
                self.later.push((now + wait, frame));
            }
            Manner::Never => {}
            Manner::Leave => self.leaves = true,
        }
    }

    /// Says something, or goes.
    pub(super) fn act(&mut self, random: &mut Random) {
        let pipe = self.pipe.clone();
        let pipe = &mut *pipe.borrow_mut();
        if pipe.dropped || pipe.reset {
            return;
        }
        let has_spoken = self.sent > 0 || !self.outbox.is_empty();
        if self.is_courteous && !has_spoken && !random.one_in(20) {
            // Its turn is after the handshake.
            return;
        }
        match random.below(44) {
            0 => self.leaves = true,
            1 => {
                // Whatever is on its way is lost: the end may come in the middle of a frame.
                self.leaves = true;
                self.outbox.clear();
            }
            2 => {
                pipe.reset = true;
                (pipe.readable, pipe.writable) = (true, true);
            }
            3 => self.reads = !self.reads,
            4 => {
                // A spurious event.
                (pipe.readable, pipe.writable) = (true, true);
            }
            5 if self.is_courteous => {
                let frame = courtesy::frame(BYE, &[]);
                self.put(&frame, false);
                self.said_bye = true;
            }
            6 if self.is_courteous && random.one_in(4) => {
                let kind = [POISON, HELLO, 99][random.below(3)];
                self.put(&courtesy::frame(kind, &[]), false);
            }
            7..=10 if self.is_courteous => {
                let body = self.pings.to_be_bytes();
                self.put(&courtesy::frame(PING, &body), false);
                self.pings += 1;
            }
            11..=34 => {
                for _ in 0..=random.below(6) {
                    self.ask(random);
                }
            }
            _ => {}
        }
    }

    /// More than the input limit, or the protocol, allows.
    fn too_much(&self, random: &mut Random) -> usize {
        match self.is_courteous {
            true if random.one_in(2) => INPUT_LIMIT,
            true => MAX_FRAME + 1,
            false => MAX_MESSAGE + 1,
        }
    }

    fn ask(&mut self, random: &mut Random) {
        let length = match random.below(14) {
            0 => NUMBERED + random.below(1_800),
            1 => 0,
            _ => NUMBERED + random.below(60),
        };
        let length = if random.one_in(400) {
            self.too_much(random)
        } else {
            length
        };
        let mut body = vec![random.next() as u8; length];
        let is_message = length > 0 && length <= MAX_MESSAGE && !self.said_bye && !self.leaves;
        if is_message {
            body[..NUMBERED - 1].copy_from_slice(&self.asked.to_be_bytes());
            self.asked += 1;
        }
        if self.is_courteous {
            self.put(&courtesy::frame(DATA, &body), is_message);
        } else {
            let mut frame = (length as u16).to_be_bytes().to_vec();
            frame.extend_from_slice(&body);
            self.put(&frame, is_message);
        }
    }

    /// Some of what is on its way arrives.
    pub(super) fn transmit(&mut self, all: bool, ledger: &mut Ledger, random: &mut Random) {
        let pipe = self.pipe.clone();
        let pipe = &mut *pipe.borrow_mut();
        if pipe.dropped || pipe.reset || pipe.peer_ended {
            self.outbox.clear();
            self.later.clear();
            return;
        }
        while let Some(index) = self.later.iter().position(|(when, _)| *when <= ledger.now) {
            let (_, frame) = self.later.swap_remove(index);
            self.put(&frame, false);
        }
        let mut count = self.outbox.len();
        if !all && random.one_in(2) {
            count = random.below(count + 1);
        }
        if count > 0 {
            pipe.to_server.extend(&self.outbox[..count]);
            self.outbox.drain(..count);
            self.sent += count as u64;
            pipe.readable = true;
        }
        if self.leaves && self.outbox.is_empty() && (all || !random.one_in(3)) {
            pipe.peer_ended = true;
            pipe.readable = true;
        }
        let whole = self.ends.partition_point(|(end, _)| *end <= self.sent);
        let record = &mut ledger.records[self.number];
        for (end, is_message) in self.ends.drain(..whole) {
            self.last_end = end;
            record.arrived += u32::from(is_message);
        }
        record.is_cut = self.sent > self.last_end;
    }

    /// Takes some of what has arrived.
    pub(super) fn read(&mut self, all: bool, ledger: &mut Ledger, random: &mut Random) {
        let pipe = self.pipe.clone();
        let pipe = &mut *pipe.borrow_mut();
        if !self.reads && !all || pipe.dropped_with_reset || pipe.reset {
            return;
        }
        let count = if all {
            pipe.to_peer.len()
        } else {
            random.below(pipe.to_peer.len() + 1)
        };
        self.inbox.extend(pipe.to_peer.drain(..count));
        if count > 0 && pipe.wants_room {
            pipe.wants_room = false;
            pipe.writable = true;
        }
        self.hear(ledger, random);
        if pipe.server_ended && pipe.to_peer.is_empty() && (all || random.one_in(4)) {
            // It has heard the end, and so ends too.
            self.leaves = true;
        }
    }

    fn hear(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut rest = &inbox[..];
        let header = if self.is_courteous {
            courtesy::HEADER
        } else {
            2
        };
        while rest.len() >= header {
            let length = [rest[header - 2], rest[header - 1]];
            let end = header + usize::from(u16::from_be_bytes(length));
            if rest.len() < end {
                break;
            }
            let kind = if self.is_courteous { rest[0] } else { DATA };
            self.hear_frame(kind, &rest[header..end], ledger, random);
            rest = &rest[end..];
        }
        let taken = inbox.len() - rest.len();
        inbox.drain(..taken);
        self.inbox = inbox;
    }

    fn hear_frame(&mut self, kind: u8, body: &[u8], ledger: &mut Ledger, random: &mut Random) {
        let number = self.number;
        ledger.claim(!self.heard_bye, || {
            format!("{number} hears something behind the farewell: {kind}")
        });
        let is_greeting = self.is_courteous && !self.greeted;
        self.greeted = true;
        ledger.claim(!is_greeting || kind == HELLO, || "not greeted first".into());
        match kind {
            HELLO if is_greeting => {}
            WELCOME => {}
            DATA => self.hear_message(body, ledger),
            PING => {
                let pong = courtesy::frame(PONG, body);
                self.answer(self.to_ping, pong, ledger.now, random);
            }
            PONG => {
                let is_next = body == self.pongs.to_be_bytes();
                self.pongs += 1;
                ledger.claim(is_next, || format!("{number} hears a wrong pong"));
            }
            BYE => {
                self.heard_bye = true;
                if !self.said_bye {
                    let bye = courtesy::frame(BYE, &[]);
                    self.answer(self.to_bye, bye, ledger.now, random);
                    self.said_bye = self.to_bye == Manner::AtOnce;
                }
            }
            _ => ledger.claim(false, || format!("{number} hears {kind}, which is nothing")),
        }
    }

    fn hear_message(&mut self, body: &[u8], ledger: &mut Ledger) {
        let number = self.number;
        let Some(([source, count @ ..], filler)) = body.split_first_chunk::<NUMBERED>() else {
            return ledger.claim(false, || format!("{number} hears a stub"));
        };
        let count = u32::from_be_bytes(*count);
        let is_intact = filler.iter().all(|byte| *byte == count as u8);
        ledger.claim(is_intact, || format!("{number} hears a garbled message"));
        match *source {
            OWN => {
                let expected = self.own;
                ledger.claim(count == expected, || {
                    format!("{number} hears message {count} instead of {expected}")
                });
                self.own = count + 1;
            }
            MAILED => self.hear_mail(count as usize, ledger),
            _ => ledger.claim(false, || format!("{number} hears a lie")),
        }
    }

    fn hear_mail(&mut self, mailed: usize, ledger: &mut Ledger) {
        let number = self.number;
        let service = ledger.records[number].service;
        let is_later = self.last_mail.is_none_or(|last| last < mailed);
        self.last_mail = Some(mailed);
        let Some(mailing) = ledger.mail.get_mut(mailed) else {
            return ledger.claim(false, || "mail that nobody has sent".into());
        };
        mailing.arrived_at.push(number);
        let is_addressed = match mailing.to {
            Address::One(to) => to == number,
            Address::All { service: whose } => whose == service,
            Address::Topic { .. } => mailing
                .subscribers
                .as_ref()
                .is_some_and(|subscribers| subscribers.contains(&number)),
        };
        let is_refused =
            mailing.is_refused || matches!(mailing.fate, Some(SendOutcome::Refused(_)));
        let to = mailing.to;
        ledger.claim(is_later && is_addressed && !is_refused, || {
            format!("{number} hears mail {mailed} to {to:?}, out of order or not at all for it")
        });
    }

    /// What is heard of a frame that has not arrived whole.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.inbox.is_empty()
    }
}
