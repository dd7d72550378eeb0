//! The handler of both services. A byte of each message tells it what to do, so that callbacks do all that they may do.

use std::time::Duration;

use crate::connection::close_reason::{CloseReason, Timeout};
use crate::connection::completion::SendOutcome;
use crate::connection::gate::Gate;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::local::LocalConnections;
use crate::handler::source::SourceStep;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;
use crate::protocol::ErrorOf;

use super::courtesy::{LONG, PANICKING, PANICS_HALFWAY, UNENCODABLE};
use super::endings::cause;
use super::ledger::Book;
use super::mail::{
    self, BytesProtocol, Mailer, NUMBERED, OWN, end, message, note_said, number_of, say, subscribe,
    unsubscribe, visit_by_name,
};
use super::{
    LARGE_OUTPUT_LIMIT, LOW_WATER, MESSAGE, Random, SOURCES, TICK, TIMERS, TOPICS, quiet_panic,
};

pub(super) struct ScriptedHandler<P: BytesProtocol> {
    pub(super) book: Book,
    pub(super) random: Random,
    pub(super) mailer: Mailer<P>,
    /// The idle time of the listener.
    pub(super) idle: Option<Duration>,
}

/// Can be cloned so that the patch `double-close` compiles.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) number: usize,
    timers: Vec<TimerId>,
}

/// Tokens of timers, each with an action of its own.
const RESUME: u64 = 1;
const SPEAK: u64 = 2;
const CLOSE: u64 = 3;
const PUBLISH: u64 = 4;

impl<P: BytesProtocol> ScriptedHandler<P> {
    /// Checks at the beginning of a callback that the connection is open for the handler.
    fn enter(&self, conn: &Conn<'_, P>, session: &Session, callback: &str) {
        let number = number_of(conn);
        let mut ledger = self.book.open();
        // A callback that has panicked did not end by itself.
        ledger.poster = None;
        ledger.records[number].calls += u64::from(callback != "on_close");
        let record = &ledger.records[number];
        let is_known = record.is_open && record.closed.is_none() && !record.is_gone;
        let is_active = !record.has_asked_for_end || callback == "on_close";
        ledger.claim(is_known && is_active && session.number == number, || {
            format!("{callback} of {number}, which is not open")
        });
    }

    fn set_timer(&self, conn: &mut Conn<'_, P>, session: &mut Session, micros: usize, token: u64) {
        let after = Duration::from_micros(micros as u64);
        let may_repeat = matches!(token, SPEAK | PUBLISH);
        let repeats = after > Duration::ZERO && session.number % 3 == 0 && may_repeat;
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
        ledger.claim(outcome.is_ok() == has_room, || {
            "the limit of timers is not kept".into()
        });
    }

    fn cancel_timer(&mut self, conn: &mut Conn<'_, P>, session: &Session) {
        let Some(timer) = session.timers.get(self.random.below(session.timers.len())) else {
            return;
        };
        let was_set = conn.cancel_timer(*timer);
        let mut ledger = self.book.open();
        let is_known = ledger.records[number_of(conn)]
            .forget_timer(*timer)
            .is_some();
        if was_set {
            ledger.tally.count("timer cancelled");
        }
        ledger.claim(was_set == is_known, || {
            "cancelling a timer gives the wrong answer".into()
        });
    }

    /// Publishes more than may be on its way, and sets more timers that do so.
    fn publish_much(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        self.book.open().begin_posting(session.number, false);
        for _ in 0..self.random.below(5) {
            let (topic, length) = (self.random.below(TOPICS.len()), self.random.below(200));
            mail::publish_from(&self.book, conn, topic, length);
        }
        self.book.open().poster = None;
        if self.random.one_in(2) {
            let micros = self.random.below(5_000);
            self.set_timer(conn, session, micros, PUBLISH);
        }
    }

    /// A random length for one of many messages. A long one goes to the socket directly.
    fn much(&mut self, conn: &Conn<'_, P>) -> usize {
        let limit = self.book.open().output_limit;
        if !P::OPENS_AT_ONCE && self.random.one_in(12) {
            // It fits into an empty output, and behind next to nothing.
            return limit - 60;
        }
        if limit != LARGE_OUTPUT_LIMIT || P::OPENS_AT_ONCE {
            return 400;
        }
        let has_little = conn.write_buffer_len() < LOW_WATER;
        match self.random.below(24) {
            0 if has_little => PANICS_HALFWAY,
            0..=2 => LONG,
            3..=8 => LONG / 2,
            _ => 2_500,
        }
    }

    fn pause(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        conn.pause_reading();
        self.book.open().records[session.number].requests[mail::RESUME] = None;
        // Some pauses outlast the idle time.
        let most = if self.random.one_in(3) {
            600_000
        } else {
            30_000
        };
        let micros = self.random.below(most);
        self.set_timer(conn, session, micros, RESUME);
    }

    /// Asks for a change of the decoder, which is to be made before the connection's next message.
    fn change_decoder(&self, conn: &mut Conn<'_, P>, session: &Session) {
        let number = session.number;
        self.book.open().records[number].decoder_changes += 1;
        let book = self.book.clone();
        conn.update_decoder(move |decoder| {
            let mut ledger = book.open();
            ledger.records[number].decoder_changes -= 1;
            ledger.tally.count("decoder changed");
            let is_own = P::number_in(decoder).is_none_or(|found| found == number);
            ledger.claim(is_own, || {
                format!("a change for {number} reaches another decoder")
            });
        });
    }

    fn note_touched(&self, session: &Session) {
        let mut ledger = self.book.open();
        ledger.records[session.number].touched_at = ledger.now;
    }

    /// Sends a message with a completion.
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
            let is_late = record.closed.is_some();
            match delivery {
                SendOutcome::Written if is_late => ledger.tally.count("written after on_close"),
                SendOutcome::Lost if is_late => ledger.tally.count("lost after on_close"),
                _ => {}
            }
        });
        note_said(&self.book, number, length, status);
    }

    /// Sends from a source, which sometimes waits and sometimes panics.
    fn send_from_source(&mut self, conn: &mut Conn<'_, P>) {
        let number = number_of(conn);
        self.book.open().completions += 1;
        let (book, mut random) = (self.book.clone(), self.random.fork());
        let mut pieces = random.below(12);
        let draw = move |conn: &mut Conn<'_, P>| {
            let is_time = conn.write_buffer_len() <= LOW_WATER;
            book.open().claim(is_time, || {
                "a source is called above the low-water mark".into()
            });
            book.open().records[number].is_drawing = true;
            book.open().records[number].requests[mail::DRAW] = None;
            let length = random.below(900);
            let has_sent = !random.one_in(8) && say(&book, conn, length).is_queued();
            if random.one_in(60) {
                end(&book, conn, random.one_in(3));
            }
            if random.one_in(60) {
                quiet_panic();
            }
            let waits = random.one_in(6);
            let record = &mut book.open().records[number];
            record.is_drawing = false;
            if pieces == 0 {
                record.sources -= 1;
                record.source_waits = false;
                return SourceStep::Done;
            }
            pieces -= 1;
            record.source_waits = waits || !has_sent;
            if waits {
                SourceStep::Wait
            } else {
                SourceStep::More
            }
        };
        let book = self.book.clone();
        let status = conn.send_from_then(draw, move |outcome| {
            let mut ledger = book.open();
            ledger.completions -= 1;
            ledger.tally.count(match outcome {
                SendOutcome::Written => "source written",
                SendOutcome::Refused(_) => "source refused",
                SendOutcome::Lost => "source lost",
            });
            if outcome == SendOutcome::Lost {
                ledger.records[number].lost_sources += 1;
            }
        });
        let mut ledger = self.book.open();
        let now = ledger.now;
        let record = &mut ledger.records[number];
        let has_room = record.sources < SOURCES;
        if record.sources == 0 {
            record.drawn_at = Some(now);
        }
        record.sources += usize::from(status.is_queued());
        let is_right = status.is_queued() == has_room || !conn.is_open();
        ledger.claim(is_right, || {
            format!("a source is answered by {status:?}, although there is room: {has_room}")
        });
    }

    /// Wakes a source that waits.
    fn resume_sources(&self, conn: &mut Conn<'_, P>) {
        conn.resume_sources();
        self.book.open().records[number_of(conn)].source_waits = false;
    }

    fn carry_out(
        &mut self,
        conn: &mut Conn<'_, P>,
        session: &mut Session,
        order: u8,
        length: usize,
    ) {
        let topic = self.random.below(TOPICS.len());
        match order {
            0..=75 => _ = say(&self.book, conn, length),
            76..=79 => {
                self.change_decoder(conn, session);
                if self.random.one_in(6) {
                    quiet_panic();
                }
            }
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
                let token = if micros % 4 == 0 { PUBLISH } else { SPEAK };
                self.set_timer(conn, session, micros, token);
            }
            137..=144 => self.cancel_timer(conn, session),
            145..=160 => self.mailer.write(&mut self.random),
            161..=170 => self.mailer.act(&mut self.random),
            171..=172 => self.send_from_source(conn),
            173 => self.resume_sources(conn),
            174 => conn.flush(),
            175..=196 => subscribe(&self.book, conn, topic),
            197..=204 => unsubscribe(&self.book, conn, topic),
            205..=216 => self.mailer.publish(&mut self.random),
            217..=224 => mail::publish_from(&self.book, conn, topic, length),
            225..=227 => self.mailer.broadcast(),
            228..=229 => {
                conn.touch();
                self.note_touched(session);
            }
            230..=231 => _ = say(&self.book, conn, UNENCODABLE),
            232 if self.random.one_in(2) => self.say_and_hear(conn, PANICKING),
            232 => _ = say(&self.book, conn, PANICKING),
            233..=236 => {
                let micros = self.random.below(40_000);
                self.set_timer(conn, session, micros, CLOSE);
            }
            _ => self.say_and_hear(conn, length),
        }
    }
}

impl<P: BytesProtocol> Handler for ScriptedHandler<P> {
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
            ledger.records[number].refused_at = Some(ledger.now);
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
                && record.refused_at.is_none()
                && record.service == P::SERVICE
                && (P::OPENS_AT_ONCE || record.has_shaken_hands);
            ledger.claim(is_time, || {
                format!("{number} opens twice, too early, or although it was refused")
            });
        }
        let mut session = Session {
            number,
            timers: Vec::new(),
        };
        if number % 4 == 1 {
            // The same time, but with a timer of its own.
            conn.set_idle_timeout(self.idle);
        }
        if number % 4 == 2 {
            // The listener may have none.
            conn.set_message_timeout(Some(MESSAGE));
            self.book.open().records[number].message_timeout = Some(MESSAGE);
        }
        if !self.random.one_in(4) {
            // The other connections stay plain, so that their turns take the fast path.
            self.mailer.keep_handle(number, conn.handle());
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
        self.book.open().claim_may_post(session.number);
        {
            let mut ledger = self.book.open();
            let record = &mut ledger.records[session.number];
            record.messages += 1;
            let is_changed = record.decoder_changes == 0;
            ledger.claim(is_changed, || {
                "a message comes before a change of the decoder".into()
            });
        }
        let Some((front, order)) = message.split_first_chunk::<{ NUMBERED - 1 }>() else {
            let is_empty = message.is_empty();
            return self
                .book
                .open()
                .claim(is_empty, || "a message is too short for its number".into());
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
            ledger.claim(is_next, || {
                "a message is delivered out of order, or changed".into()
            });
            ledger.claim(may_hear, || {
                format!("{} is told of a message after its end", session.number)
            });
        }
        self.book.open().begin_posting(session.number, true);
        self.carry_out(conn, session, order, message.len());
        self.book.open().poster = None;
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
            let pending = record.note_fired(timer, now);
            if !record.timers.iter().any(|(set, ..)| *set == timer) {
                session.timers.retain(|set| *set != timer);
            }
            ledger.tally.count("timer fired");
            ledger.claim(pending.is_some_and(|timer| timer.due <= now), || {
                format!("a timer fires at {now:?}, expected {pending:?}")
            });
        }
        self.book.open().claim_may_post(session.number);
        match token {
            PUBLISH => self.publish_much(conn, session),
            RESUME => {
                conn.resume_reading();
                // If it was held back, its idle time starts anew.
                self.note_touched(session);
                self.resume_sources(conn);
            }
            SPEAK if self.random.one_in(12) => quiet_panic(),
            SPEAK if self.random.one_in(6) => self.cancel_timer(conn, session),
            SPEAK => _ = say(&self.book, conn, 60),
            _ => end(&self.book, conn, false),
        }
    }

    fn on_drained(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        self.enter(conn, session, "on_drained");
        self.note_touched(session);
        let has_room = conn.write_buffer_len() <= LOW_WATER;
        {
            let mut ledger = self.book.open();
            ledger.claim(has_room, || {
                "on_drained is called above the low-water mark".into()
            });
            let awaited = &mut ledger.records[session.number].awaits_room;
            if std::mem::take(awaited) {
                ledger.tally.count("room for a refused message");
            }
        }
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
        timeout: Timeout,
    ) -> TimeoutDecision {
        self.enter(conn, session, "on_timeout");
        self.book.open().claim_stay_is_over(session.number, timeout);
        match self.random.below(12) {
            0..=2 => {
                let mut ledger = self.book.open();
                let now = ledger.now;
                let record = &mut ledger.records[session.number];
                record.stayed_at = Some(now);
                record.stays.retain(|(kind, _)| *kind != timeout);
                record.stays.push((timeout, now));
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
                // A close may wait for sources, which have the whole time again.
                let mut ledger = self.book.open();
                let now = ledger.now;
                ledger.records[session.number].stayed_at = Some(now);
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
        let are_own = ids.iter().all(|id| usize::from(id.service) == P::SERVICE);
        self.book.open().claim(are_own, || {
            "on_tick is given a connection of another service".into()
        });
        let book = self.book.clone();
        match self.random.below(6) {
            0 => connections.for_each(|conn, session| {
                let is_own = number_of(conn) == session.number;
                book.open().claim(is_own, || {
                    "on_tick is given the session of another connection".into()
                });
                say(&book, conn, 25);
            }),
            1 if !ids.is_empty() => {
                let id = ids[self.random.below(ids.len())];
                let topic = self.random.below(TOPICS.len());
                connections.with(id, |conn, _| subscribe(&book, conn, topic));
            }
            2 if !ids.is_empty() => {
                let id = ids[self.random.below(ids.len())];
                let outcome = connections.with(id, |conn, _| {
                    book.open().records[number_of(conn)].calls += 1;
                    quiet_panic()
                });
                book.open().claim(outcome.is_none(), || {
                    "a visit that panicked has a result".into()
                });
            }
            3 => quiet_panic(),
            _ => {
                let name = book.open().pick_name(&mut self.random);
                if let Some((number, id)) = name {
                    visit_by_name(&book, connections, number, id);
                }
            }
        }
    }

    fn on_half_close(&mut self, conn: &mut Conn<'_, P>, session: &mut Session) {
        self.enter(conn, session, "on_half_close");
        {
            let mut ledger = self.book.open();
            let record = &mut ledger.records[session.number];
            let is_first = !std::mem::replace(&mut record.half_closed, true);
            let (heard, arrived, is_cut) = (record.heard, record.arrived, record.is_cut);
            let is_whole = heard == arrived && !is_cut;
            ledger.claim(is_first && is_whole, || {
                format!(
                    "{} is told of the peer's end after {heard} of {arrived} messages, cut: {is_cut}",
                    session.number
                )
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
        let has_more = conn.connection.input.is_some() || conn.connection.readable;
        // A subscriber has answered before, and more may have come while it waited for the others.
        let may_have_waited = self.book.open().records[session.number].may_wait_in_drain;
        let is_early = conn.connection.gate.has(Gate::MEMORY) && has_more && !may_have_waited;
        self.book.open().claim(!is_early, || {
            "on_shutdown is called before input is answered".into()
        });
        {
            let mut ledger = self.book.open();
            let record = &mut ledger.records[session.number];
            record.told = record.topics.clone();
            let is_answered = record.heard >= record.arrived_by_drain;
            ledger.claim(is_answered, || {
                format!(
                    "{} is told of the drain before its messages",
                    session.number
                )
            });
        }
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
        let record = &mut ledger.records[session.number];
        record.closed = Some((cause(&reason), now));
        // Nothing reaches the connection any more.
        record.topics.clear();
        record.timers.clear();
        drop(ledger);
        if self.random.one_in(20) {
            quiet_panic();
        }
    }
}
