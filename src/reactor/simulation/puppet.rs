//! The handler: it does what the first byte behind a message's number says, which is all that a callback may do.

use std::time::Duration;

use crate::connection::close_reason::{Cause, CloseReason, Timeout};
use crate::connection::completion::SendOutcome;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::local::LocalConnections;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;
use crate::protocol::ErrorOf;

use super::courtesy::{HALF_SPOKEN, LONG, UNENCODABLE, UNSPEAKABLE};
use super::ledger::{Book, Pending, Record};
use super::society::{
    Dialect, NUMBERED, OWN, Society, end, message, note_said, number_of, say, subscribe,
    unsubscribe,
};
use super::{LARGE_OUTPUT_LIMIT, LOW_WATER, Random, TICK, TIMERS, TOPICS, quiet_panic};

pub(super) struct Puppet<P: Dialect> {
    pub(super) book: Book,
    pub(super) random: Random,
    pub(super) society: Society<P>,
}

/// Clonable, so that a fault can be planted that tells of an end twice.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) number: usize,
    timers: Vec<TimerId>,
}

/// What a timer is for.
const RESUME: u64 = 1;
const SPEAK: u64 = 2;
const CLOSE: u64 = 3;

impl<P: Dialect> Puppet<P> {
    /// Every callback begins here: the connection is open for the handler.
    fn enter(&self, conn: &Conn<'_, P>, session: &Session, callback: &str) {
        let number = number_of(conn);
        let mut ledger = self.book.open();
        let record = &ledger.records[number];
        let is_known = record.is_open && record.closed.is_none() && !record.is_gone;
        ledger.claim(is_known && session.number == number, || {
            format!("{callback} of {number}, which is not open")
        });
    }

    fn set_timer(&self, conn: &mut Conn<'_, P>, session: &mut Session, micros: usize, token: u64) {
        let after = Duration::from_micros(micros as u64);
        let repeats = after > Duration::ZERO && session.number % 3 == 0 && token == SPEAK;
        let outcome = match repeats {
            true => conn.set_interval(after, token),
            false => conn.set_timer(after, token),
        };
        let mut ledger = self.book.open();
        let pending = ledger.pending(ledger.now + after);
        let timers = &mut ledger.records[number_of(conn)].timers;
        let has_room = timers.len() < TIMERS;
        if let Ok(timer) = outcome {
            timers.push((timer, pending, repeats.then_some(after)));
            session.timers.push(timer);
        }
        ledger.claim(outcome.is_ok() == has_room, || "the limit of timers".into());
    }

    fn cancel_timer(&mut self, conn: &mut Conn<'_, P>, session: &Session) {
        let Some(timer) = session.timers.get(self.random.below(session.timers.len())) else {
            return;
        };
        let was_set = conn.cancel_timer(*timer);
        let mut ledger = self.book.open();
        let is_known = forget_timer(&mut ledger.records[number_of(conn)], *timer).is_some();
        if was_set {
            ledger.tally.count("timer cancelled");
        }
        ledger.claim(was_set == is_known, || "a cancelled timer".into());
    }

    /// The length of one of many messages. A long one goes to the socket directly.
    fn much(&mut self, conn: &Conn<'_, P>) -> usize {
        let may_be_long = self.book.open().output_limit == LARGE_OUTPUT_LIMIT;
        if !may_be_long || P::OPENS_AT_ONCE {
            return 400;
        }
        let has_little = conn.write_buffer_len() < LOW_WATER;
        match self.random.below(24) {
            0 if has_little => HALF_SPOKEN,
            0..=2 => LONG,
            3..=8 => LONG / 2,
            _ => 2_500,
        }
    }

    fn pause(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        conn.pause_reading();
        let micros = self.random.below(30_000);
        self.set_timer(conn, session, micros, RESUME);
    }

    /// Sends with a completion.
    fn say_and_hear(&mut self, conn: &mut Conn<'_, P>, length: usize) {
        let number = number_of(conn);
        let next = {
            let mut ledger = self.book.open();
            ledger.completions += 1;
            ledger.records[number].said
        };
        let book = self.book.clone();
        let status = conn.send_then(&message(OWN, next, length), move |delivery| {
            let mut ledger = book.open();
            ledger.completions -= 1;
            let record = &mut ledger.records[number];
            if delivery == SendOutcome::Written {
                record.written = next + 1;
            }
        });
        note_said(&self.book, number, length, status);
    }

    fn obey(&mut self, conn: &mut Conn<'_, P>, session: &mut Session, order: u8, length: usize) {
        let topic = self.random.below(TOPICS.len());
        match order {
            0..=79 => _ = say(&self.book, conn, length),
            80..=83 => {
                say(&self.book, conn, length);
                end(&self.book, conn, false);
            }
            84 => end(&self.book, conn, true),
            85..=86 => quiet_panic(),
            87..=96 => self.pause(conn, session),
            97..=112 => {
                for _ in 0..self.random.below(16) {
                    let length = self.much(conn);
                    say(&self.book, conn, length);
                }
            }
            113..=116 => {
                conn.shutdown_write();
                self.book.open().records[session.number].has_shut_write = true;
            }
            117..=136 => {
                let micros = self.random.below(200_000);
                self.set_timer(conn, session, micros, SPEAK);
            }
            137..=144 => self.cancel_timer(conn, session),
            145..=160 => self.society.write(&mut self.random),
            161..=170 => self.society.act(&mut self.random),
            171..=174 => conn.flush(),
            175..=196 => subscribe(&self.book, conn, topic),
            197..=204 => unsubscribe(&self.book, conn, topic),
            205..=216 => self.society.publish(&mut self.random),
            217..=224 => self.society.publish_from(conn, topic, length),
            225..=227 => self.society.broadcast(),
            228..=229 => {
                conn.touch();
                let mut ledger = self.book.open();
                ledger.records[session.number].touched_at = ledger.now;
            }
            230..=231 => _ = say(&self.book, conn, UNENCODABLE),
            232 if self.random.one_in(2) => self.say_and_hear(conn, UNSPEAKABLE),
            232 => _ = say(&self.book, conn, UNSPEAKABLE),
            233..=236 => {
                let micros = self.random.below(40_000);
                self.set_timer(conn, session, micros, CLOSE);
            }
            _ => self.say_and_hear(conn, length),
        }
    }
}

fn forget_timer(record: &mut Record, timer: TimerId) -> Option<Pending> {
    let index = record.timers.iter().position(|(id, ..)| *id == timer)?;
    Some(record.timers.swap_remove(index).1)
}

/// Notes that a timer has fired. Returns when it was due.
fn note_fired(record: &mut Record, timer: TimerId, now: Duration) -> Option<Pending> {
    let index = record.timers.iter().position(|(id, ..)| *id == timer)?;
    let (_, pending, repeat) = &mut record.timers[index];
    let fired = *pending;
    let Some(period) = *repeat else {
        record.timers.swap_remove(index);
        return Some(fired);
    };
    // Rounds that were missed are not made up for.
    while pending.due <= now {
        pending.due += period;
    }
    pending.set = now;
    Some(fired)
}

impl<P: Dialect> Handler for Puppet<P> {
    type Protocol = P;
    type Session = Session;

    fn admit(&mut self, conn: &mut Conn<'_, P>) -> bool {
        let is_refused = self.random.one_in(30);
        if is_refused {
            let number = number_of(conn);
            if self.random.one_in(2) {
                say(&self.book, conn, 20);
            }
            let mut ledger = self.book.open();
            ledger.records[number].is_refused = true;
            ledger.tally.count("refused");
        }
        !is_refused
    }

    fn on_open(&mut self, conn: &mut Conn<'_, P>) -> Session {
        let number = number_of(conn);
        {
            let mut ledger = self.book.open();
            let record = &mut ledger.records[number];
            record.opened += 1;
            let is_time = record.opened == 1
                && !record.is_refused
                && record.service == P::SERVICE
                && (P::OPENS_AT_ONCE || record.has_shaken_hands);
            ledger.claim(is_time, || format!("{number} opens again, or too early"));
        }
        let mut session = Session {
            number,
            timers: Vec::new(),
        };
        if !self.random.one_in(4) {
            // The others are plain connections, with nothing that makes their turns unusual.
            self.society.meet(number, conn.handle());
            match self.random.below(24) {
                0 => end(&self.book, conn, false),
                1 => end(&self.book, conn, true),
                2 => self.pause(conn, &mut session),
                3 => {
                    say(&self.book, conn, 30);
                    subscribe(&self.book, conn, 0);
                    quiet_panic()
                }
                4..=9 => subscribe(&self.book, conn, 0),
                _ => {}
            }
            if self.random.one_in(4) {
                say(&self.book, conn, 50);
            }
            self.set_timer(conn, &mut session, 5_500, RESUME);
        }
        self.book.open().records[number].is_open = true;
        session
    }

    fn on_message(&mut self, conn: &mut Conn<'_, P>, session: &mut Session, message: &[u8]) {
        self.enter(conn, session, "on_message");
        let Some((front, order)) = message.split_first_chunk::<{ NUMBERED - 1 }>() else {
            let is_empty = message.is_empty();
            return self.book.open().claim(is_empty, || "a torn message".into());
        };
        let order = order.first().copied().unwrap_or(0);
        {
            let mut ledger = self.book.open();
            let record = &mut ledger.records[session.number];
            let is_next = u32::from_be_bytes(*front) == record.heard
                && message[NUMBERED - 1..].iter().all(|byte| *byte == order);
            record.heard += 1;
            let may_speak = conn.is_open() || record.has_shut_write;
            let may_hear = may_speak && !record.has_asked_for_end;
            ledger.claim(is_next, || "a message that was not sent next".into());
            ledger.claim(may_hear, || {
                format!("{} hears something behind its end", session.number)
            });
        }
        self.obey(conn, session, order, message.len());
    }

    fn on_timer(
        &mut self,
        conn: &mut Conn<'_, P>,
        session: &mut Session,
        timer: TimerId,
        token: u64,
    ) {
        self.enter(conn, session, "on_timer");
        {
            let mut ledger = self.book.open();
            let now = ledger.now;
            let record = &mut ledger.records[session.number];
            let pending = note_fired(record, timer, now);
            if !record.timers.iter().any(|(set, ..)| *set == timer) {
                session.timers.retain(|set| *set != timer);
            }
            ledger.tally.count("timer fired");
            ledger.claim(pending.is_some_and(|timer| timer.due <= now), || {
                format!("a timer fires at {now:?}: {pending:?}")
            });
        }
        match token {
            RESUME => conn.resume_reading(),
            SPEAK if self.random.one_in(12) => quiet_panic(),
            SPEAK => _ = say(&self.book, conn, 60),
            _ => end(&self.book, conn, false),
        }
    }

    fn on_drained(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        self.enter(conn, session, "on_drained");
        let has_room = conn.write_buffer_len() <= LOW_WATER;
        self.book
            .open()
            .claim(has_room, || "drained above the low-water mark".into());
        match self.random.below(12) {
            0 => end(&self.book, conn, false),
            1 => self.pause(conn, session),
            2..=4 => _ = say(&self.book, conn, 700),
            _ => {}
        }
    }

    fn on_timeout(
        &mut self,
        conn: &mut Conn<'_, P>,
        session: &mut Session,
        _timeout: Timeout,
    ) -> TimeoutDecision {
        self.enter(conn, session, "on_timeout");
        match self.random.below(12) {
            0..=2 => {
                let mut ledger = self.book.open();
                ledger.records[session.number].stayed_at = Some(ledger.now);
                ledger.tally.count("timeout stayed");
                TimeoutDecision::Stay
            }
            3 => {
                say(&self.book, conn, 30);
                let mut ledger = self.book.open();
                ledger.records[session.number].is_closed_in_order = true;
                ledger.tally.count("timeout closed");
                TimeoutDecision::Close
            }
            4 => quiet_panic(),
            5 => {
                end(&self.book, conn, false);
                TimeoutDecision::Stay
            }
            _ => TimeoutDecision::Evict,
        }
    }

    fn on_tick(&mut self, connections: &mut LocalConnections<'_, Self>) {
        let (is_time, now) = {
            let mut ledger = self.book.open();
            ledger.tally.count("tick");
            let now = ledger.now;
            let pending = &mut ledger.ticks[P::SERVICE];
            let is_time = pending.is_some_and(|pending| pending.due <= now);
            if let Some(pending) = pending {
                while pending.due <= now {
                    pending.due += TICK;
                }
                pending.set = now;
            }
            (is_time, now)
        };
        self.book
            .open()
            .claim(is_time, || format!("a tick at {now:?} is too early"));
        let ids = connections.ids();
        let book = self.book.clone();
        match self.random.below(6) {
            0 => connections.for_each(|conn, session| {
                let is_own = number_of(conn) == session.number;
                book.open()
                    .claim(is_own, || "a foreign session on a tick".into());
                say(&book, conn, 25);
            }),
            1 if !ids.is_empty() => {
                let id = ids[self.random.below(ids.len())];
                let topic = self.random.below(TOPICS.len());
                connections.with(id, |conn, _| subscribe(&book, conn, topic));
            }
            2 if !ids.is_empty() => {
                let id = ids[self.random.below(ids.len())];
                let outcome = connections.with(id, |_, _| quiet_panic());
                book.open()
                    .claim(outcome.is_none(), || "a panic returns".into());
            }
            3 => quiet_panic(),
            _ => {}
        }
    }

    fn on_half_close(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        self.enter(conn, session, "on_half_close");
        {
            let mut ledger = self.book.open();
            let record = &mut ledger.records[session.number];
            let is_first = !std::mem::replace(&mut record.half_closed, true);
            let is_whole = record.heard == record.arrived && !record.is_cut;
            ledger.claim(is_first && is_whole, || {
                format!("{} has not heard all before the end", session.number)
            });
        }
        if self.random.one_in(3) {
            say(&self.book, conn, 80);
        }
        if self.random.one_in(5) {
            let micros = self.random.below(60_000);
            self.set_timer(conn, session, micros, CLOSE);
            if !session.timers.is_empty() {
                return;
            }
        }
        end(&self.book, conn, false);
    }

    fn on_shutdown(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        self.enter(conn, session, "on_shutdown");
        if self.random.one_in(4) {
            let micros = self.random.below(300_000);
            return self.set_timer(conn, session, micros, CLOSE);
        }
        say(&self.book, conn, 90);
        end(&self.book, conn, false);
    }

    fn on_close(&mut self, conn: &Conn<'_, P>, session: Session, reason: CloseReason<ErrorOf<P>>) {
        self.enter(conn, &session, "on_close");
        let mut ledger = self.book.open();
        let now = ledger.now;
        ledger.records[session.number].closed = Some((cause(&reason), now));
    }
}

fn cause<E>(reason: &CloseReason<E>) -> Cause {
    match reason {
        CloseReason::Peer => Cause::Peer,
        CloseReason::Truncated => Cause::Truncated,
        CloseReason::Local => Cause::Local,
        CloseReason::Aborted => Cause::Aborted,
        CloseReason::Protocol(_) => Cause::Protocol,
        CloseReason::Io(_) => Cause::Io,
        CloseReason::Timeout(timeout) => Cause::Timeout(*timeout),
        CloseReason::InputLimit => Cause::InputLimit,
        CloseReason::OutputLimit => Cause::OutputLimit,
        CloseReason::Panic => Cause::Panic,
        CloseReason::Shutdown => Cause::Shutdown,
    }
}
