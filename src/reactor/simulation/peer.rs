//! The other side of a connection: it sends messages, answers, and checks everything that it receives.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::connection::completion::SendOutcome;
use crate::connection::id::ConnId;

use super::courtesy::{self, BYE, DATA, HELLO, PART, PING, POISON, PONG, WELCOME};
use super::ledger::{Address, Ledger};
use super::mail::{MAILED, NUMBERED, OWN};
use super::network::Pipe;
use super::tap::Tap;
use super::{INPUT_LIMIT, MAX_FRAME, MAX_MESSAGE, RECEIVE_BUFFER, Random};

/// A peer's reaction to a frame that asks for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    AtOnce,
    Late,
    Never,
    /// It ends its stream instead.
    Leave,
}

impl Reaction {
    fn new(random: &mut Random) -> Reaction {
        match random.below(8) {
            0..=3 => Reaction::AtOnce,
            4..=5 => Reaction::Late,
            6 => Reaction::Never,
            _ => Reaction::Leave,
        }
    }
}

pub(super) struct Peer {
    pub(super) number: usize,
    pub(super) id: ConnId,
    pub(super) pipe: Rc<RefCell<Pipe>>,
    pub(super) is_courteous: bool,
    pub(super) reads: bool,
    /// It reads a few bytes at a time.
    pub(super) is_slow: bool,
    pub(super) subscriber: super::lag::Subscriber,
    /// The end of the connection for the handler was checked.
    pub(super) is_over: bool,
    /// Last callbacks had to wait for a later iteration, so the times of the end are not known exactly.
    pub(super) is_told_late: bool,
    /// The time at which the connection was first seen to be parting.
    pub(super) parting_since: Option<Duration>,
    /// The time at which it was first seen to be closing.
    pub(super) closing_since: Option<Duration>,
    /// The time from which on the close may have been given its time once more.
    pub(super) parting_renewed: Option<Duration>,
    pub(super) closing_renewed: Option<Duration>,
    /// Bytes written when output was first seen to make no progress, and the time of that.
    pub(super) stuck: (u64, Duration),
    /// The time, the bytes written and the bytes pending at each look since output has been pending.
    pub(super) slow: VecDeque<(Duration, u64, usize)>,
    /// The least output that was seen pending during the close, if there was any, and the time of that.
    pub(super) flushing: Option<(usize, Duration)>,
    /// The bytes written when a close was first seen to wait for sources with them, and the time of that.
    pub(super) finishing: Option<(u64, Duration)>,
    /// The connection is gone, and the peer gets all that the kernel has, whatever it sends meanwhile.
    pub(super) must_get_all: bool,
    /// The time of the last check.
    pub(super) checked_at: Duration,
    /// The message that has begun and is not whole: the number of messages before it, the time at which it was first seen,
    /// and the last time at which its input was unread or held back.
    pub(super) begun: Option<(u64, Duration, Duration)>,
    pub(super) adopted: Duration,
    /// The last time at which some of its input was unread as timers fired, or afterwards.
    pub(super) unheard_at: Duration,
    /// True if reading had been held back during the wait for its message as timers last fired.
    pub(super) is_excused: bool,
    /// True if the drain of its connection was seen to have begun.
    pub(super) is_draining: bool,
    /// The last time at which its input was seen to be held back.
    pub(super) held_at: Duration,
    /// The last time at which reading was seen to have been held back during the wait for its message.
    pub(super) shut_at: Option<Duration>,
    /// True if its input was wanted as timers last fired.
    pub(super) is_wanted: bool,
    /// Decides on the parts that it sends; `None` if it sends none.
    pub(super) parts: Option<Random>,
    /// The records, if its stream is sealed.
    pub(super) tap: Option<Tap>,
    to_ping: Reaction,
    to_bye: Reaction,
    /// Bytes that are not on the network yet.
    outbox: Vec<u8>,
    /// The end of the stream follows the bytes of `outbox`.
    leaves: bool,
    /// Answers that are sent later, each with its time.
    later: Vec<(Duration, Vec<u8>)>,
    asked: u32,
    /// The positions in the stream at which frames end that have not arrived whole; true for messages.
    ends: Vec<(u64, bool)>,
    sent: u64,
    /// The position in the stream at which the last whole frame ends.
    last_end: u64,
    /// Received bytes that are no whole frame yet.
    inbox: Vec<u8>,
    greeted: bool,
    pub(super) own: u32,
    pub(super) pongs: u32,
    pings: u32,
    /// The last mail of another thread, of a callback to everybody, and of a callback to some.
    last_mail: [Option<usize>; 3],
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
            is_slow: random.one_in(6),
            subscriber: super::lag::Subscriber::default(),
            is_over: false,
            is_told_late: false,
            parting_since: None,
            closing_since: None,
            parting_renewed: None,
            closing_renewed: None,
            stuck: (0, now),
            slow: VecDeque::new(),
            flushing: None,
            finishing: None,
            must_get_all: false,
            checked_at: Duration::ZERO,
            begun: None,
            unheard_at: now,
            is_excused: false,
            is_draining: false,
            held_at: Duration::ZERO,
            shut_at: None,
            is_wanted: true,
            adopted: now,
            parts: None,
            tap: None,
            to_ping: Reaction::new(random),
            to_bye: Reaction::new(random),
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
            last_mail: [None; 3],
            said_bye: false,
            heard_bye: false,
        };
        if is_courteous {
            let hello = courtesy::frame(HELLO, &[7; 20]);
            // Most handshakes end at once, so that most connections open.
            let reaction = if random.one_in(3) {
                Reaction::new(random)
            } else {
                Reaction::AtOnce
            };
            peer.answer(reaction, hello, now, random);
        }
        peer
    }

    /// True if there are bytes that have not arrived.
    pub(super) fn is_sending(&self) -> bool {
        let has_records = self.tap.as_ref().is_some_and(Tap::is_sending);
        !self.outbox.is_empty() || !self.later.is_empty() || has_records
    }

    /// Bytes that it has sent, or is about to send.
    fn position(&self) -> u64 {
        let in_flight = self.tap.as_ref().map_or(0, Tap::in_flight);
        self.sent + (in_flight + self.outbox.len()) as u64
    }

    fn put(&mut self, frame: &[u8], is_message: bool) {
        if self.said_bye || self.leaves {
            return;
        }
        self.outbox.extend_from_slice(frame);
        let end = self.position();
        self.ends.push((end, is_message));
    }

    fn answer(&mut self, reaction: Reaction, frame: Vec<u8>, now: Duration, random: &mut Random) {
        match reaction {
            Reaction::AtOnce => self.put(&frame, false),
            Reaction::Late => {
                let wait = Duration::from_micros(random.below(250_000) as u64);
                self.later.push((now + wait, frame));
            }
            Reaction::Never => {}
            Reaction::Leave => self.leaves = true,
        }
    }

    /// Sends something, or ends the stream or the connection.
    pub(super) fn act(&mut self, random: &mut Random) {
        let pipe = self.pipe.clone();
        let pipe = &mut *pipe.borrow_mut();
        if pipe.dropped || pipe.reset {
            return;
        }
        let has_spoken = self.position() > 0;
        if self.is_courteous && !has_spoken && !random.one_in(20) {
            // It may send once the handshake is over.
            return;
        }
        match random.below(44) {
            0 => self.leaves = true,
            1 => {
                // The outbox is lost, so the stream may end in the middle of a frame.
                self.leaves = true;
                self.outbox.clear();
                if let Some(tap) = &mut self.tap {
                    tap.lose();
                }
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
            11..=34 if self.is_courteous && self.prefers_a_part() => self.put_part(),
            11..=34 => {
                for _ in 0..=random.below(6) {
                    self.ask(random);
                }
            }
            35..=40 if self.is_courteous => self.put_part(),
            _ => {}
        }
    }

    /// True if it sends a part instead of messages, after which the decoder would keep nothing.
    fn prefers_a_part(&mut self) -> bool {
        self.parts.as_mut().is_some_and(|random| random.one_in(2))
    }

    /// Sends something that the server's decoder has to keep.
    fn put_part(&mut self) {
        if let Some(random) = &mut self.parts {
            // A turn with a short part takes the fast path.
            let most = [RECEIVE_BUFFER / 2, MAX_MESSAGE][random.below(2)];
            let length = random.below(most);
            self.put(&courtesy::frame(PART, &vec![1; length]), false);
        }
    }

    /// A length that the input limit, or the protocol, does not allow.
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

    /// Lets some of the outbox arrive, or all of it.
    pub(super) fn transmit(&mut self, all: bool, ledger: &mut Ledger, random: &mut Random) {
        let pipe = self.pipe.clone();
        let pipe = &mut *pipe.borrow_mut();
        if pipe.dropped || pipe.reset || pipe.peer_ended {
            let goes_on = !self.outbox.is_empty() || random.one_in(8);
            let has_ended = pipe.peer_ended || pipe.peer_closed;
            let is_live = pipe.dropped && !has_ended && !pipe.reset;
            if goes_on && is_live && !all && !pipe.to_peer.is_empty() {
                self.send_behind_the_close(pipe, ledger);
            }
            self.outbox.clear();
            self.later.clear();
            if let Some(tap) = &mut self.tap {
                tap.forget();
            }
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
        if let Some(tap) = &mut self.tap {
            tap.seal(&self.outbox[..count]);
            self.outbox.drain(..count);
        } else if count > 0 {
            pipe.to_server.extend(&self.outbox[..count]);
            self.outbox.drain(..count);
            self.sent += count as u64;
            pipe.readable = true;
        }
        let mut is_cut_off = false;
        if self.leaves && self.outbox.is_empty() && (all || !random.one_in(3)) {
            if let Some(tap) = &mut self.tap {
                is_cut_off = tap.leave(pipe, all);
            } else {
                pipe.peer_ended = true;
                pipe.readable = true;
            }
        }
        if let Some(tap) = &mut self.tap {
            self.sent += tap.arrive(pipe, all) as u64;
        }
        let whole = self.ends.partition_point(|(end, _)| *end <= self.sent);
        let record = &mut ledger.records[self.number];
        for (end, is_message) in self.ends.drain(..whole) {
            self.last_end = end;
            record.arrived += u32::from(is_message);
        }
        record.is_cut = self.sent > self.last_end || is_cut_off;
    }

    /// Sends something although the socket is closed at the other end.
    fn send_behind_the_close(&self, pipe: &mut Pipe, ledger: &mut Ledger) {
        let (number, lost) = (self.number, pipe.to_peer.len());
        ledger.claim(!self.must_get_all, || {
            format!("{number} reads at the least rate, but loses {lost} bytes by a reset")
        });
        ledger.tally.count("lost by a reset behind the close");
        pipe.answer_with_reset();
    }

    /// Reads some of what has arrived, or all of it.
    pub(super) fn read(&mut self, all: bool, ledger: &mut Ledger, random: &mut Random) {
        let pipe = self.pipe.clone();
        let pipe = &mut *pipe.borrow_mut();
        if !self.reads && !all || pipe.dropped_with_reset || pipe.reset {
            return;
        }
        let count = if all {
            pipe.to_peer.len()
        } else {
            let most = if self.is_slow { 3 } else { usize::MAX };
            random.below(pipe.to_peer.len() + 1).min(most)
        };
        let received = pipe.to_peer.drain(..count);
        if let Some(tap) = &mut self.tap {
            let received: Vec<u8> = received.collect();
            self.inbox.extend(tap.receive(&received, ledger));
        } else {
            self.inbox.extend(received);
        }
        if pipe.server_ended {
            pipe.read_since_end += count;
        }
        if count > 0 && pipe.wants_room {
            pipe.wants_room = false;
            pipe.writable = true;
        }
        self.hear(ledger, random);
        if pipe.server_ended && pipe.to_peer.is_empty() && (all || random.one_in(4)) {
            // The server's stream has ended, so the peer ends its own.
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
            format!("{number} receives a frame of kind {kind} after the farewell")
        });
        let is_greeting = self.is_courteous && !self.greeted;
        self.greeted = true;
        ledger.claim(!is_greeting || kind == HELLO, || {
            "the greeting is not the first frame".into()
        });
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
                ledger.claim(is_next, || format!("{number} receives a wrong pong"));
            }
            BYE => {
                self.heard_bye = true;
                if !self.said_bye {
                    let bye = courtesy::frame(BYE, &[]);
                    self.answer(self.to_bye, bye, ledger.now, random);
                    self.said_bye = self.to_bye == Reaction::AtOnce;
                }
            }
            _ => ledger.claim(false, || {
                format!("{number} receives a frame of unknown kind {kind}")
            }),
        }
    }

    fn hear_message(&mut self, body: &[u8], ledger: &mut Ledger) {
        let number = self.number;
        let Some(([source, count @ ..], filler)) = body.split_first_chunk::<NUMBERED>() else {
            return ledger.claim(false, || {
                format!("{number} receives a message without a number")
            });
        };
        let count = u32::from_be_bytes(*count);
        let is_intact = filler.iter().all(|byte| *byte == count as u8);
        ledger.claim(is_intact, || format!("{number} receives a garbled message"));
        match *source {
            OWN => {
                let expected = self.own;
                ledger.claim(count == expected, || {
                    format!("{number} receives message {count} instead of {expected}")
                });
                self.own = count + 1;
            }
            MAILED => self.hear_mail(count as usize, ledger),
            _ => ledger.claim(false, || {
                format!("{number} receives a message of unknown source")
            }),
        }
    }

    fn hear_mail(&mut self, mailed: usize, ledger: &mut Ledger) {
        let number = self.number;
        let service = ledger.records[number].service;
        let Some(mailing) = ledger.mail.get_mut(mailed) else {
            return ledger.claim(false, || {
                format!("{number} receives mail that was not sent")
            });
        };
        let is_everybodys = matches!(mailing.to, Address::All { .. });
        let in_program_order = mailing.is_local && !is_everybodys;
        // What callbacks ask of everybody has a lane apart from that of other threads.
        let order = usize::from(mailing.is_local) + usize::from(in_program_order);
        let last = &mut self.last_mail[order];
        // A job that subscribes comes after the callback that has posted it, which may have sent later publications already.
        let has_joined_late = mailing.is_behind_jobs && !mailing.must.contains(&number);
        let is_later = last.is_none_or(|last| last < mailed) || has_joined_late;
        *last = (*last).max(Some(mailed));
        mailing.arrived_at.push(number);
        let is_addressed = match mailing.to {
            Address::All { service: whose } => whose == service,
            _ => mailing.may.contains(&number) && mailing.except != Some(number),
        };
        let said = mailing.said.iter().find(|(to, _)| *to == number);
        let is_in_place = said.is_none_or(|(_, said)| {
            *said == self.own || mailing.is_behind_jobs && *said < self.own
        });
        let is_in_place = is_in_place || !in_program_order;
        if in_program_order && matches!(mailing.to, Address::Topic { .. }) {
            ledger.tally.count("publication in program order");
        }
        let (own, to, said) = (self.own, mailing.to, said.map(|(_, said)| *said));
        ledger.claim(is_in_place, || {
            format!("{number} receives mail {mailed} to {to:?} behind {own} of its own messages, not {said:?}")
        });
        let Some(mailing) = ledger.mail.get(mailed) else {
            return;
        };
        let is_refused =
            mailing.is_refused || matches!(mailing.fate, Some(SendOutcome::Refused(_)));
        let to = mailing.to;
        ledger.claim(is_later && is_addressed && !is_refused, || {
            format!(
                "{number} receives mail {mailed} to {to:?}, which is out of order or not for it"
            )
        });
    }

    /// True if part of a frame was received.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.inbox.is_empty()
    }
}
