//! The loop, the clock, and the order of events.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::seeds::{Random, Tally};

use super::endings::number_of;
use super::model::{Model, Record, State};
use super::network::Line;
use super::peer::{Peer, client};
use super::script::{Book, Source};
use super::{
    Admission, LoopShared, Newcomer, Opened, OpeningTerms, Openings, Stages, TickClock,
    behind_proxies,
};

const NEWCOMERS: usize = 30;

pub(super) struct World {
    random: Random,
    now: Duration,
    openings: Openings,
    services: Vec<(Stages, Duration)>,
    book: Book,
    model: Model,
    /// Connections that are open, by the numbers of their newcomers.
    open: Vec<(usize, Opened)>,
    /// One in so many events is told late.
    untold: usize,
    /// One in so many iterations is late.
    lateness: usize,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let book = Book::default();
        let services: Vec<(Stages, Duration)> = [(true, false), (false, true), (true, true)]
            .map(|(has_header, is_sealed)| {
                let stages = Stages {
                    has_header,
                    is_sealed,
                };
                (stages, Duration::from_millis(20 + random.below(300) as u64))
            })
            .into();
        let terms = |(stages, timeout): &(Stages, Duration)| {
            let proxies = behind_proxies().proxies;
            let seal = Arc::new(Source(book.clone()));
            Some(Arc::new(OpeningTerms {
                proxies: proxies.filter(|_| stages.has_header),
                seal: stages.is_sealed.then_some(seal as _),
                timeout: *timeout,
            }))
        };
        let limit = 1 + random.below(12);
        let per_ip = [2, 5, 100][random.below(3)];
        let (shared, _commands) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let admission = Arc::new(Admission::new(10_000, Some(per_ip), 64));
        let terms = services.iter().map(terms).collect();
        let clock = TickClock::default();
        World {
            openings: Openings::new(terms, limit, clock, shared, admission),
            now: Duration::from_micros(random.below(5_000) as u64),
            services,
            model: Model::new((limit, per_ip), book.clone()),
            book,
            open: Vec::new(),
            untold: [1_000, 4, 2][random.below(3)],
            lateness: [1_000, 10, 3][random.below(3)],
            random,
        }
    }

    pub(super) fn run(&mut self) {
        let iterations = 10 + self.random.below(60);
        let drain = self.random.below(3 * iterations);
        let hurry = 1 + self.random.below(4);
        for iteration in 0..iterations {
            self.let_peers_act();
            self.pass_time();
            self.report_events();
            while self.model.records.len() < NEWCOMERS && self.random.one_in(hurry + 1) {
                self.begin();
            }
            if iteration == drain {
                self.begin_drain();
            }
            self.iterate();
        }
    }

    /// Ends the run: by a stop, or by the deadlines of all that is left.
    pub(super) fn finish(mut self) -> Tally {
        if self.random.one_in(4) {
            self.let_peers_act();
            self.report_events();
            self.stop();
        }
        for round in 0.. {
            assert!(round < 10_000, "the openings do not come to an end");
            if self.openings.is_quiet() {
                break;
            }
            let now = self.now;
            let timeout = self.openings.timeout(|| now);
            self.now += timeout.expect("an opening has no deadline");
            self.iterate();
        }
        while let Some((number, opened)) = self.open.pop() {
            self.close(number, opened);
        }
        self.check_the_end();
        self.model.tally
    }

    fn check_the_end(&mut self) {
        let stats = self.openings.admission.stats();
        assert_eq!(stats, self.model.stats);
        let failed = stats.openings_late
            + stats.headers_refused
            + stats.handshakes_failed
            + stats.openings_displaced
            + stats.openings_abandoned;
        // An address that has too many is refused in front of the openings, too.
        let crowded = self.model.records.iter().filter(|it| it.is_crowded).count() as u64;
        let ended = self.model.opened + failed + crowded + self.model.dropped;
        assert_eq!(stats.accepted, ended, "the counters do not add up");
        assert_eq!(stats.connections, 0);
        assert_eq!(self.openings.shared.connections(), 0);
        for last in 1..=3 {
            let ip: IpAddr = [192, 0, 2, last].into();
            for _ in 0..self.model.per_ip {
                assert!(self.openings.admission.admit(Some(ip)), "a place is lost");
            }
        }
    }

    /// Some peers send, end, reset or read.
    fn let_peers_act(&mut self) {
        for number in 0..self.model.records.len() {
            let record = &self.model.records[number];
            if record.state == State::Gone || !self.random.one_in(2) {
                continue;
            }
            let (peer, mut line) = (&record.peer, record.line.borrow_mut());
            if self.random.one_in(4) {
                line.give_room(self.random.below(400));
            }
            if line.has_ended || line.is_reset {
                continue;
            }
            let piece = peer.piece(line.arrived, &mut self.random);
            if piece > 0 {
                let from = line.arrived;
                line.arrive(&peer.input[from..from + piece]);
            }
            if peer.ends == Some(line.arrived) && !self.random.one_in(3) {
                line.end();
            } else if peer.resets == Some(line.arrived) && !self.random.one_in(3) {
                line.reset();
            } else if record.state == State::Parts && self.random.one_in(4) {
                line.end();
            }
        }
    }

    /// The time until the loop goes on: a moment, until the next deadline, or so long that the loop is late.
    fn pass_time(&mut self) {
        let now = self.now;
        if self.random.one_in(self.lateness) {
            let most = if self.random.one_in(4) { 1_500 } else { 300 };
            self.now += Duration::from_millis(self.random.below(most) as u64);
            for _ in 0..self.random.below(3) {
                self.let_peers_act();
            }
        } else if self.random.one_in(4) {
            let timeout = self.openings.timeout(|| now).unwrap_or_default();
            self.now += timeout.min(Duration::from_millis(100));
        } else {
            self.now += Duration::from_micros(self.random.below(4_000) as u64);
        }
    }

    /// Reports events, not always all of them, and some that come after their opening has gone.
    fn report_events(&mut self) {
        for number in 0..self.model.records.len() {
            let record = &self.model.records[number];
            let Some(name) = record.name else {
                continue;
            };
            if !record.is_within() {
                if self.random.one_in(8) {
                    self.openings.on_event(name, true, self.now);
                    self.model.check(&self.openings);
                }
                continue;
            }
            let mut line = record.line.borrow_mut();
            let is_due = line.is_readable || line.is_writable;
            if !is_due || self.random.one_in(self.untold) {
                continue;
            }
            let is_readable = std::mem::take(&mut line.is_readable);
            line.is_writable = false;
            drop(line);
            if self.random.one_in(4) {
                self.now += Duration::from_micros(self.random.below(300) as u64);
            }
            self.book.open().is_broken = false;
            self.openings.on_event(name, is_readable, self.now);
            assert!(self.book.open().steps.is_empty(), "an event does a step");
            self.model.after_event(number, self.now, &self.openings);
        }
    }

    /// Admits a connection as a listener does, and begins to open it.
    fn begin(&mut self) {
        let service = self.random.below(self.services.len());
        let (stages, timeout) = self.services[service];
        let is_strange = self.random.one_in(10);
        let ip: IpAddr = match stages.has_header {
            true if is_strange => [192, 168, 0, 1].into(),
            true => [10, 0, 0, 1 + self.random.below(2) as u8].into(),
            false => client(&mut self.random),
        };
        let number = self.model.records.len();
        let peer = Peer::new(number, stages, &mut self.random);
        let room = [0, 10, 100, usize::MAX][self.random.below(4)];
        let (line, stream) = Line::new(number, room, self.random.fork());
        let record = Record::new((service as u16, stages), ip, peer, Rc::clone(&line));
        let counted = record.counted;
        let is_admitted = self.openings.admission.admit(counted);
        assert_eq!(is_admitted, self.model.admit(counted));
        if !is_admitted {
            return;
        }
        self.openings.shared.count_connection();
        self.find_free_deadline(timeout);
        self.model.add(record);
        let newcomer = Newcomer {
            stream,
            peer: std::net::SocketAddr::new(ip, 4711).into(),
            counted,
            service: service as u16,
        };
        let registers = !self.random.one_in(60);
        let mut name = None;
        self.openings.begin_with(newcomer, self.now, |_, it| {
            name = Some(it).filter(|_| registers);
            name.map(|_| ())
                .ok_or(std::io::ErrorKind::OutOfMemory.into())
        });
        let deadline = self.model.clock.deadline(self.now + timeout);
        self.model
            .after_begin((name, deadline), registers, self.now, &self.openings);
    }

    /// Lets time pass until no other opening has the same deadline, or is ended in the same tick while it parts: the order of two
    /// in one tick would be undefined.
    fn find_free_deadline(&mut self, timeout: Duration) {
        let is_taken = |now: Duration, model: &Model| {
            let deadline = model.clock.deadline(now + timeout);
            let mut records = model.records.iter();
            records.any(|it| it.deadline == deadline || it.parts_by == deadline)
        };
        while is_taken(self.now, &self.model) {
            self.now += Duration::from_millis(1);
        }
    }

    /// One iteration of the loop, behind its events.
    fn iterate(&mut self) {
        // The log cannot tell whose handshake does not begin, so it must be one that was in the queue before.
        let is_broken = self.random.one_in(30) && !self.model.has_due(self.now);
        self.book.open().is_broken = is_broken;
        let (now, book) = (self.now, &self.book);
        self.openings.serve(now, || now + book.open().spent());
        self.model.after_serve(self.now, &self.openings);
        for opened in self.openings.take_opened() {
            self.open.push((number_of(&opened), opened));
        }
        if !self.open.is_empty() && self.random.one_in(3) {
            let index = self.random.below(self.open.len());
            let (number, opened) = self.open.swap_remove(index);
            self.close(number, opened);
        }
        self.check_timeout();
    }

    /// Checks that the time to wait is not too long, and that nothing is to be done before it is over.
    fn check_timeout(&mut self) {
        let now = self.now;
        let timeout = self.openings.timeout(|| now);
        if !self.model.queue.is_empty() {
            assert_eq!(timeout, Some(Duration::ZERO), "a step waits");
            return;
        }
        let within = self.model.records.iter().filter(|it| it.is_within());
        let first = within.map(|it| it.ends_by(self.model.drain_ends)).min();
        let Some(first) = first else {
            return;
        };
        let timeout = timeout.expect("an opening has a deadline");
        assert!(
            timeout <= self.model.clock.until(first, now),
            "the loop sleeps too long"
        );
        assert!(timeout > Duration::ZERO, "the loop does not sleep");
        if self.random.one_in(4) {
            let states = self.model.states();
            // A timeout of a few nanoseconds would be rounded up to itself.
            let most = timeout.mul_f64(0.99).min(timeout - Duration::from_nanos(1));
            self.now += most / (1 + self.random.below(3) as u32);
            self.openings.serve(self.now, || Duration::ZERO);
            self.model.after_serve(self.now, &self.openings);
            assert_eq!(self.model.states(), states, "the loop sleeps too short");
            assert!(self.openings.opened.is_empty());
        }
    }

    fn begin_drain(&mut self) {
        let deadline = Duration::from_millis(self.random.below(400) as u64);
        self.openings.begin_drain(deadline, self.now);
        self.model.after_drain(deadline, self.now, &self.openings);
    }

    fn stop(&mut self) {
        let opened: Vec<usize> = self.openings.opened.iter().map(number_of).collect();
        self.openings.stop();
        self.model.after_stop(&opened, self.now, &self.openings);
        assert!(self.openings.is_quiet());
    }

    /// Closes a connection that was open, as the reactor does in the end.
    fn close(&mut self, number: usize, opened: Opened) {
        let ip = opened.peer.ip();
        self.model.use_connection(number, opened);
        self.openings.count_out(ip);
        self.model.count_out(number);
        self.model.check(&self.openings);
    }
}
