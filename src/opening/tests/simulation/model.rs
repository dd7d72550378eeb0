//! The expected state of all openings, which is brought up to date with what the lines and the log of handshakes show.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::ServerStats;
use crate::io::wire::handshake::Progress;
use crate::seeds::Tally;
use crate::shared::token::OpeningName;
use crate::wheel::TickClock;

use super::network::Line;
use super::peer::Peer;
use super::script::{Book, Step, Went};
use super::turns::Turns;
use super::{HANDSHAKE_TIME, LINGER, Openings, RECEIVED_MAX, Stages};

/// A connection that was admitted.
pub(super) struct Record {
    pub(super) peer: Peer,
    pub(super) line: Rc<RefCell<Line>>,
    pub(super) stages: Stages,
    pub(super) service: u16,
    pub(super) ip: IpAddr,
    /// The address by which it is counted.
    pub(super) counted: Option<IpAddr>,
    pub(super) name: Option<OpeningName>,
    /// The tick by which it must be open.
    pub(super) deadline: u64,
    /// The first tick at which a timer could fire when it began.
    pub(super) earliest: u64,
    /// The bytes that had been read at its last look, which came at the deadline.
    pub(super) looked: Option<usize>,
    /// The tick at which it is ended although its last words, or its peer's end, are outstanding.
    pub(super) parts_by: u64,
    /// The higher, the later it has made progress.
    pub(super) progress: u64,
    /// Bytes that had been read at the last check.
    read: usize,
    pub(super) has_header: bool,
    /// Its handshake can go on, as soon as its answers have left.
    pub(super) wants_step: bool,
    /// The client that its header names has as many connections as it may have.
    pub(super) is_crowded: bool,
    pub(super) has_panicked: bool,
    pub(super) is_refused: bool,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Opens,
    /// Its handshake has failed, and is counted.
    Parts,
    /// It is open.
    Open,
    Gone,
}

/// The part of the loop that has just run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// Another connection has begun.
    Begin,
    Event,
    Serve,
    Drain,
    Stop,
}

pub(super) struct Model {
    pub(super) clock: TickClock,
    pub(super) limit: usize,
    pub(super) per_ip: usize,
    pub(super) records: Vec<Record>,
    /// The openings whose handshake can go on.
    pub(super) queue: Turns,
    pub(super) counts: BTreeMap<IpAddr, usize>,
    pub(super) stats: ServerStats,
    /// Connections that were dropped without a failure.
    pub(super) dropped: u64,
    /// Connections that have become open.
    pub(super) opened: u64,
    pub(super) drain_ends: Option<u64>,
    progress: u64,
    pub(super) book: Book,
    pub(super) tally: Tally,
}

impl Record {
    pub(super) fn new(
        (service, stages): (u16, Stages),
        ip: IpAddr,
        peer: Peer,
        line: Rc<RefCell<Line>>,
    ) -> Self {
        Record {
            peer,
            line,
            stages,
            service,
            ip,
            counted: Some(ip).filter(|_| !stages.has_header),
            name: None,
            deadline: u64::MAX,
            earliest: 0,
            looked: None,
            parts_by: u64::MAX,
            progress: 0,
            read: 0,
            has_header: !stages.has_header,
            wants_step: false,
            is_crowded: false,
            has_panicked: false,
            is_refused: false,
            state: State::Opens,
        }
    }

    /// Bytes of the handshake, and of what follows, that were read.
    pub(super) fn read_behind_header(&self) -> usize {
        self.line.borrow().read.saturating_sub(self.peer.header)
    }

    pub(super) fn is_within(&self) -> bool {
        matches!(self.state, State::Opens | State::Parts)
    }

    pub(super) fn is_named_and_within(&self) -> bool {
        self.name.is_some() && self.is_within()
    }

    /// The tick at which it must be gone, unless its handshake waits for the worker.
    pub(super) fn ends_by(&self, drain_ends: Option<u64>) -> u64 {
        let own = match (self.state, self.looked) {
            (State::Parts, Some(_)) => self.parts_by,
            (State::Parts, None) => self.deadline.min(self.parts_by),
            (_, Some(_)) => u64::MAX,
            (_, None) => self.deadline,
        };
        own.min(self.drained_by(drain_ends))
    }

    /// The tick at which a drain ends it.
    pub(super) fn drained_by(&self, drain_ends: Option<u64>) -> u64 {
        drain_ends.map_or(u64::MAX, |end| end.max(self.earliest))
    }
}

impl Model {
    pub(super) fn new(limits: (usize, usize), book: Book) -> Self {
        Model {
            clock: TickClock::default(),
            limit: limits.0,
            per_ip: limits.1,
            records: Vec::new(),
            queue: Turns::default(),
            counts: BTreeMap::new(),
            stats: ServerStats::default(),
            dropped: 0,
            opened: 0,
            drain_ends: None,
            progress: 0,
            book,
            tally: Tally::default(),
        }
    }

    /// Bytes of answers that the handshake of a newcomer has made.
    pub(super) fn made(&self, number: usize) -> usize {
        self.book.open().made[number].len()
    }

    /// True if answers of the handshake have not left.
    pub(super) fn is_blocked(&self, number: usize) -> bool {
        self.records[number].line.borrow().written.len() < self.made(number)
    }

    pub(super) fn note_progress(&mut self, number: usize) {
        self.progress += 1;
        self.records[number].progress = self.progress;
    }

    /// Counts a connection in, if its address may have one more.
    pub(super) fn admit(&mut self, counted: Option<IpAddr>) -> bool {
        if let Some(ip) = counted {
            let count = self.counts.entry(ip).or_default();
            if *count >= self.per_ip {
                self.stats.refused_per_ip += 1;
                return false;
            }
            *count += 1;
        }
        self.stats.accepted += 1;
        self.stats.connections += 1;
        true
    }

    pub(super) fn add(&mut self, record: Record) {
        self.records.push(record);
        self.book.open().made.push(Vec::new());
    }

    /// Takes notice of the newcomer that was added last: it has got a name, or was refused.
    pub(super) fn after_begin(
        &mut self,
        (name, deadline): (Option<OpeningName>, u64),
        registers: bool,
        now: Duration,
        openings: &Openings,
    ) {
        let number = self.records.len() - 1;
        let others = &self.records[..number];
        let is_full = others.iter().filter(|it| it.is_within()).count() >= self.limit;
        let record = &mut self.records[number];
        let is_trusted = !record.stages.has_header || record.ip.to_string().starts_with("10.");
        if !is_trusted {
            assert!(name.is_none() && record.line.borrow().was_reset);
            assert_eq!(record.line.borrow().read, 0);
            self.stats.headers_refused += 1;
            self.tally.count("untrusted");
            self.count_out(number);
            return self.check(openings);
        }
        if is_full {
            let victim = self.victim();
            self.conclude(victim, During::Begin, now, openings);
        }
        if registers {
            self.records[number].name = Some(name.expect("it is registered"));
            let earliest = openings.wheel.now() + 1;
            let record = &mut self.records[number];
            record.earliest = earliest;
            record.deadline = deadline.min(record.drained_by(self.drain_ends));
            self.note_progress(number);
        } else {
            self.dropped += 1;
            self.tally.count("could not register");
            self.count_out(number);
        }
        self.check(openings);
    }

    pub(super) fn after_drain(&mut self, deadline: Duration, now: Duration, openings: &Openings) {
        let end = self.clock.deadline(now.saturating_add(deadline));
        let end = end.max(openings.wheel.now() + 1);
        self.drain_ends = Some(end);
        for number in 0..self.records.len() {
            let line = self.records[number].line.borrow();
            let is_silent = line.arrived == 0 && !line.has_ended && !line.is_reset;
            drop(line);
            if self.records[number].state == State::Opens && is_silent {
                self.conclude(number, During::Drain, now, openings);
            }
            let record = &mut self.records[number];
            record.deadline = record.deadline.min(end);
        }
        self.check(openings);
    }

    /// Takes notice of a stop, with which also the connections end that are open and that nobody has taken.
    pub(super) fn after_stop(&mut self, opened: &[usize], now: Duration, openings: &Openings) {
        for number in opened {
            self.tally.count("stopped before it was taken");
            self.count_out(*number);
        }
        for number in 0..self.records.len() {
            self.conclude(number, During::Stop, now, openings);
        }
        self.check(openings);
    }

    /// Takes notice of an opening that an event was for.
    pub(super) fn after_event(&mut self, number: usize, now: Duration, openings: &Openings) {
        self.note_reads(number);
        self.conclude(number, During::Event, now, openings);
        self.queue_up(number);
        self.check_idle(number);
        self.check_line(number);
        self.check(openings);
    }

    /// Takes notice of bytes that were read. A header that has become whole is progress.
    fn note_reads(&mut self, number: usize) {
        let record = &mut self.records[number];
        let read = record.line.borrow().read;
        let before = std::mem::replace(&mut record.read, read);
        if record.state != State::Opens || read == before {
            return;
        }
        assert!(record.looked.is_none(), "{number} gains time by late bytes");
        let header = record.peer.header;
        record.wants_step |= record.stages.is_sealed && read > header.max(before);
        if !record.has_header && read >= header {
            record.has_header = true;
            self.take_header(number);
        }
    }

    /// Counts the client that a header names.
    fn take_header(&mut self, number: usize) {
        let record = &mut self.records[number];
        let ip = record.peer.client.unwrap_or(record.ip);
        let count = self.counts.entry(ip).or_default();
        if *count >= self.per_ip {
            record.is_crowded = true;
            self.stats.refused_per_ip += 1;
        } else {
            *count += 1;
            record.counted = Some(ip);
            self.note_progress(number);
        }
    }

    /// Puts an opening into the queue if its handshake can go on.
    fn queue_up(&mut self, number: usize) {
        let record = &self.records[number];
        if record.wants_step && !self.is_blocked(number) {
            self.queue_once(number);
        }
    }

    fn queue_once(&mut self, number: usize) {
        let opens = self.records[number].state == State::Opens;
        if opens && !self.queue.contains(number) {
            self.queue.push(self.records[number].origin(), number);
        }
    }

    /// Takes notice of a call of `serve`.
    pub(super) fn after_serve(&mut self, now: Duration, openings: &Openings) {
        let tick = self.clock.now(now);
        let steps = std::mem::take(&mut self.book.open().steps);
        let (records, drain_ends) = (&self.records, self.drain_ends);
        self.queue
            .retain(|number| tick < records[*number].drained_by(drain_ends));
        self.look_once_more(tick, &steps, now, openings);
        let mut spent = Duration::ZERO;
        for step in &steps {
            assert!(spent < HANDSHAKE_TIME, "too many steps");
            spent += step.cost;
        }
        for (index, step) in steps.iter().enumerate() {
            self.take_step(step, &steps[index + 1..]);
        }
        let is_spent = spent >= HANDSHAKE_TIME;
        assert!(is_spent || self.queue.is_empty(), "a step was not done");
        if is_spent && !self.queue.is_empty() {
            self.tally.count("budget spent");
        }
        for number in 0..self.records.len() {
            self.conclude(number, During::Serve, now, openings);
        }
        self.check(openings);
        for number in 0..self.records.len() {
            self.check_line(number);
        }
        self.check_deadlines(tick);
    }

    /// Takes notice of the openings whose deadline has come, in the order of their deadlines: one that ends gives its place back
    /// before the next takes its last look, in which a header may ask for that place.
    fn look_once_more(&mut self, tick: u64, steps: &[Step], now: Duration, openings: &Openings) {
        let drain_ends = self.drain_ends;
        let is_due = |record: &Record| {
            let is_drained = record.drained_by(drain_ends) <= tick;
            record.is_within() && record.ends_by(drain_ends) <= tick && !is_drained
        };
        let mut due: Vec<usize> = (0..self.records.len()).collect();
        due.retain(|number| is_due(&self.records[*number]));
        due.sort_by_key(|number| self.records[*number].ends_by(drain_ends));
        for number in due {
            if self.records[number].state == State::Parts {
                self.conclude(number, During::Serve, now, openings);
                continue;
            }
            self.note_reads(number);
            self.records[number].looked = Some(self.records[number].read);
            let has_stepped = steps.iter().any(|step| step.of == Some(number));
            if self.records[number].line.borrow().is_dropped && !has_stepped {
                self.conclude(number, During::Serve, now, openings);
            }
            let can_go_on = self.records[number].wants_step && !self.is_blocked(number);
            if has_stepped || can_go_on {
                self.queue_once(number);
            }
        }
    }

    /// Takes notice of a step of a handshake, which must be that of the first in the queue.
    fn take_step(&mut self, step: &Step, later: &[Step]) {
        let number = self.queue.pop().expect("nobody waits for a step");
        if self.queue.has_others_than(self.records[number].origin()) {
            self.tally.count("another origin waits");
        }
        let of = step.of.unwrap_or(number);
        assert_eq!(of, number, "the step of another comes first");
        let record = &mut self.records[number];
        record.wants_step = step.went == Went::On(Progress::GoesOn);
        record.has_panicked |= step.went == Went::Panicked;
        record.is_refused |= step.went == Went::Refused;
        if step.has_progressed && matches!(step.went, Went::On(_)) {
            self.note_progress(number);
        }
        // One that is blocked, or gone, has no further step in this iteration.
        let has_another = later.iter().any(|step| step.of == Some(number));
        let is_stopped = self.is_blocked(number) || self.records[number].line.borrow().is_dropped;
        if self.records[number].wants_step && (has_another || !is_stopped) {
            self.queue_once(number);
        }
    }

    /// Checks that no opening has outlived its time.
    fn check_deadlines(&self, tick: u64) {
        for (number, record) in self.records.iter().enumerate() {
            if !record.is_within() {
                continue;
            }
            let ends_by = record.ends_by(self.drain_ends);
            assert!(tick < ends_by, "{number} has outlived its deadline");
            let is_overdue = record.state == State::Opens && record.looked.is_some();
            let waits_for_worker = self.queue.contains(number);
            assert!(
                !is_overdue || waits_for_worker,
                "{number} has outlived its last look"
            );
        }
    }

    /// Checks the limits and the counts after any part of the loop.
    pub(super) fn check(&mut self, openings: &Openings) {
        let within = self.records.iter().filter(|it| it.is_within()).count();
        assert_eq!(openings.entries.len(), within, "openings");
        assert!(within <= self.limit, "more openings than the limit");
        assert_eq!(openings.wheel.len(), self.timers(), "timers");
        assert_eq!(openings.origins.is_empty(), within == 0, "origins");
        assert_eq!(openings.admission.stats(), self.stats);
        assert_eq!(openings.shared.connections(), self.stats.connections);
        let number = |slot: &u32| self.named(openings.entries[*slot as usize].name);
        let due = openings.origins.due().into_iter();
        let due = due.map(|of_origin| of_origin.iter().filter_map(number).collect());
        assert_eq!(
            due.collect::<Vec<Vec<usize>>>(),
            self.queue.lists(),
            "queue"
        );
    }

    /// Checks the two directions of a line.
    fn check_line(&self, number: usize) {
        let record = &self.records[number];
        let line = record.line.borrow();
        let is_gone = record.state == State::Gone;
        assert_eq!(line.is_dropped, is_gone, "{number} is {:?}", record.state);
        if !record.is_within() {
            return;
        }
        let log = self.book.open();
        let made = &log.made[number];
        assert!(
            made.starts_with(&line.written),
            "{number}: other bytes have left"
        );
        let is_stuck = line.written.len() < made.len() && line.room > 0 && !line.is_writable;
        assert!(
            !is_stuck || record.looked.is_some(),
            "{number}: answers are forgotten"
        );
        if record.state == State::Parts {
            let have_left = line.written.len() == made.len();
            assert!(
                have_left || !line.is_shut,
                "{number}: the end overtakes the last words"
            );
            return;
        }
        assert!(!line.is_shut, "{number}: our end of stream is sent");
        let most = match record.stages.is_sealed {
            true => record.peer.header.saturating_add(RECEIVED_MAX),
            false => record.peer.header,
        };
        assert!(line.read <= most, "{number}: {} bytes are read", line.read);
    }

    /// Checks that an opening which waits does so for its peer, after an event of it.
    fn check_idle(&self, number: usize) {
        let record = &self.records[number];
        let line = record.line.borrow();
        if record.state != State::Opens || record.looked.is_some() || line.is_readable {
            return;
        }
        let is_full = record.read_behind_header() == RECEIVED_MAX;
        assert!(
            line.unread.is_empty() || is_full,
            "{number}: bytes are not read"
        );
        if !record.wants_step && !self.is_blocked(number) {
            assert!(!line.has_ended, "{number}: the end of stream is ignored");
            let is_done = record.peer.is_open_with(line.arrived);
            assert!(
                !is_done && !is_full,
                "{number}: it could be open, or has failed"
            );
        }
        assert!(!record.is_crowded, "{number}: the client has too many");
        let is_malformed = record.peer.malformed.is_some_and(|at| at <= line.read);
        assert!(!is_malformed, "{number}: its header is malformed");
    }

    /// All that a call of `serve` may change.
    pub(super) fn states(&self) -> Vec<(State, Option<usize>, u64)> {
        let state = |record: &Record| (record.state, record.looked, record.progress);
        self.records.iter().map(state).collect()
    }

    /// True if the deadline of an opening has come.
    pub(super) fn has_due(&self, now: Duration) -> bool {
        let tick = self.clock.now(now);
        let is_due = |record: &Record| record.is_within() && record.deadline <= tick;
        self.records.iter().any(is_due)
    }

    fn timers(&self) -> usize {
        let has_timer = |record: &&Record| {
            record.is_within()
                && (record.looked.is_none()
                    || record.state == State::Parts
                    || self.drain_ends.is_some())
        };
        self.records.iter().filter(has_timer).count()
    }

    /// The opening that has this name.
    pub(super) fn named(&self, name: OpeningName) -> Option<usize> {
        let is_named = |record: &Record| record.name == Some(name) && record.state == State::Opens;
        self.records.iter().position(is_named)
    }

    /// Notes the time at which an opening that parts is ended.
    pub(super) fn note_parting(&mut self, number: usize, now: Duration) {
        let linger = self.clock.deadline(now.saturating_add(LINGER));
        let record = &mut self.records[number];
        let waits = record.line.borrow().is_shut || record.looked.is_some();
        if waits && record.parts_by == u64::MAX {
            record.parts_by = linger;
        }
    }
}
