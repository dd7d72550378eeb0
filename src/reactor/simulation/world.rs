//! The loop, the clock, and the order of events.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::connection::Connection;
use crate::connection::limits::{Limits, Overflow, Timeouts};
use crate::handler::connections::Connections;
use crate::handler::mailbox::Mailbox;
use crate::handler::outbox::WorkerOutbox;
use crate::io::stream::Stream;
use crate::protocol::LengthPrefixed;
use crate::reactor::{MailBudget, Reactor, ReactorConfig, Readiness, ServiceEntry};
use crate::service::hub::Hub;
use crate::shared::LoopShared;
use crate::shared::current::CurrentWorker;
use crate::shared::task::{Task, Ticket};
use crate::wheel::TickClock;

use super::courtesy::Courtesy;
use super::endings::callback_limit;
use super::handler::ScriptedHandler;
use super::ledger::{Book, ExpectedTask, Ledger, Pending, Record};
use super::mail::{BytesProtocol, Mailer};
use super::memory::Shortage;
use super::network::{Pipe, PipeEnd};
use super::peer::Peer;
use super::tap::Tap;
use super::*;

/// Number of connections at a time.
pub(super) const MAX_LIVE: usize = 10;
/// Number of connections in all.
const MAX_ACCEPTED: usize = 40;

/// Turns that a connection may have after the events of an iteration: one for each kind of deadline at which it is read once
/// more, and one of the ready list.
const MOST_TURNS: usize = 5;

pub(super) struct World {
    pub(super) reactor: Reactor,
    pub(super) shared: Arc<LoopShared>,
    /// The limits of letters and bytes in the mailboxes.
    pub(super) mailbox: (usize, usize),
    pub(super) book: Book,
    /// Peers of connections that live.
    pub(super) peers: Vec<Peer>,
    /// Peers of connections that are gone; they may still read.
    pub(super) departed: Vec<Peer>,
    pub(super) timeouts: Timeouts,
    /// The deadline of the drain, once it has begun.
    pub(super) drain_due: Option<Pending>,
    /// The longest time between two iterations.
    pub(super) longest_sleep: Duration,
    iterated_at: Duration,
    /// The time between the last two iterations.
    pub(super) last_gap: Duration,
    random: Random,
    /// As in [`Pipe`].
    fault_rarity: usize,
    pub(super) plain: Mailer<LengthPrefixed>,
    pub(super) courteous: Mailer<Courtesy>,
    tickets: Vec<Arc<Ticket>>,
    pub(super) shortage: Shortage,
    /// Decides on what is published to a topic that is flooded; `None` in most runs.
    flood: Option<Random>,
    /// Decides when the loop stands still although connections wait for a turn; `None` in most runs.
    stalls: Option<Random>,
    /// Decides which connections are sealed; `None` in most runs.
    seals: Option<Random>,
    /// The loop sleeps, or would in production.
    pub(super) sleeps: bool,
    /// Another thread has woken the loop since its last iteration.
    was_woken: Arc<AtomicBool>,
    /// Tokens of all connections, also of those that are gone.
    tokens: Vec<usize>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut random = Random(seed).fork();
        let book = Book::default();
        let was_woken = Arc::new(AtomicBool::new(false));
        let mailbox = match random.below(4) {
            0 => (4, usize::MAX),
            1 => (10_000, 3_000),
            _ => (10_000, usize::MAX),
        };
        let wake = was_woken.clone();
        let waker = move || {
            wake.store(true, Ordering::Relaxed);
            Ok(())
        };
        let (shared, _commands) = LoopShared::new(0, Box::new(waker), mailbox);
        shared.woke_up();
        let overflow = [Overflow::Close, Overflow::DropMessage, Overflow::Refuse][random.below(3)];
        let output_limit = if random.one_in(4) {
            LARGE_OUTPUT_LIMIT
        } else {
            OUTPUT_LIMIT
        };
        book.open().output_limit = output_limit;
        let limits = Limits::default()
            .input(INPUT_LIMIT)
            .output(output_limit)
            .low_water(LOW_WATER)
            .high_water(HIGH_WATER)
            .sources(SOURCES)
            .timers(TIMERS)
            .subscriptions(SUBSCRIPTIONS)
            .topic_name(TOPIC_NAME_LIMIT)
            .publications(PUBLICATIONS, PUBLICATION_BYTES)
            .patience(PATIENCE)
            .overflow(overflow);
        let timeouts = Timeouts {
            idle: random.one_in(2).then_some(IDLE),
            first_message: random.one_in(3).then_some(FIRST_MESSAGE),
            message: random.one_in(3).then_some(MESSAGE),
            write_stall: Some(WRITE_STALL),
            close: CLOSE,
            least_rate: [0, 1_000, 20_000][random.below(3)],
            // The simulated network has no steps.
            step: 0,
        };
        let protocol = LengthPrefixed::u16_be().max_length(MAX_MESSAGE);
        let (plain, first) =
            make_service(protocol, limits, timeouts, &book, &shared, random.fork());
        let protocol = Courtesy { book: book.clone() };
        let (courteous, second) =
            make_service(protocol, limits, timeouts, &book, &shared, random.fork());
        let tick = random.one_in(3).then_some(TICK);
        book.open().ticks = [tick.map(|due| Pending {
            due,
            set: Duration::ZERO,
        }); 2];
        let slots = [first, second].map(|service| ServiceEntry {
            service,
            limits,
            timeouts,
            tick,
            tick_due: Duration::ZERO,
        });
        let shortage = Shortage::new(seed);
        let config = ReactorConfig {
            clock: TickClock::default(),
            pool: shortage.pool(),
            receive_buffer: RECEIVE_BUFFER,
            read_budget: BUDGET,
            mail: MailBudget {
                letters: [1, 3, 1024][random.below(3)],
                publications: [1, 100, 10_000][random.below(3)],
            },
            callback_limit: callback_limit(seed),
            memory: shortage.bounds(),
        };
        let fault_rarity = [0, 1, 1, 3][random.below(4)];
        let mut reactor = Reactor::new(&config, shared.clone(), slots.into(), Duration::ZERO);
        if seed % 3 == 0 {
            reactor.state.budget.set_full(0);
        }
        World {
            reactor,
            shared,
            mailbox,
            book,
            peers: Vec::new(),
            departed: Vec::new(),
            timeouts,
            drain_due: None,
            longest_sleep: Duration::ZERO,
            iterated_at: Duration::ZERO,
            last_gap: Duration::ZERO,
            random,
            fault_rarity,
            plain,
            courteous,
            tickets: Vec::new(),
            shortage,
            flood: lag::flood(seed),
            stalls: stalls(seed, &timeouts),
            seals: tap::seals(seed),
            sleeps: false,
            was_woken,
            tokens: Vec::new(),
        }
    }

    /// Takes random steps in random order.
    pub(super) fn run_steps(&mut self) {
        let steps = 40 + self.random.below(160);
        let drain_at = self.random.below(4 * steps);
        for step in 0..steps {
            if step == drain_at {
                self.begin_drain();
            }
            match self.random.below(36) {
                0..=3 => self.connect(),
                4..=5 => {
                    let micros = self.random.below(50_000);
                    self.pass(Duration::from_micros(micros as u64));
                }
                6..=11 => self.peers_read(false),
                12..=19 => self.peer_acts(),
                20..=21 => self.outsider_acts(),
                22..=23 => self.sleep_and_iterate(),
                24 => self.keep_silent(),
                _ => self.iterate(),
            }
            self.flood_topic();
            self.stand_still();
        }
    }

    /// Lets the idle time pass while a connection has more input to deliver than a turn does, as if a callback had taken so long.
    fn stand_still(&mut self) {
        let has_much = |it: &Connection| it.has_deliverable() && it.kept() > BUDGET;
        let is_waiting = self.reactor.table.iter().any(has_much);
        let stalls = self.stalls.as_mut().filter(|_| is_waiting);
        if stalls.is_some_and(|random| random.one_in(2)) {
            self.pass(IDLE + Duration::from_millis(20));
            self.iterate();
        }
    }

    /// Brings everything to an end: bytes on their way arrive and are answered, and what is left ends with a drain, or at once.
    pub(super) fn finish(&mut self) -> Tally {
        for _ in 0..40 {
            self.pass(Duration::from_micros(700));
            self.peers_read(true);
            self.iterate();
        }
        if !self.random.one_in(4) {
            self.begin_drain();
            // The loop sleeps until it has something to do, so a connection that does not wake it never ends.
            let mut rounds = 0;
            while !self.reactor.is_drained() {
                self.peers_read(true);
                self.sleep_and_iterate();
                rounds += 1;
                // No time passes while a peer sends, perhaps a byte at a time.
                assert!(rounds < 30_000, "the drain does not end");
            }
        }
        let now = self.now();
        if self.drain_due.is_some_and(|drain| drain.due <= now) {
            self.book.open().tally.count("drain deadline");
        }
        self.let_publishers_go();
        self.read_out_topics();
        self.book.open().is_over = true;
        let current = CurrentWorker::enter(&self.shared);
        self.reactor.stop();
        drop(current);
        self.check_end();
        std::mem::take(&mut self.book.open().tally)
    }

    /// Publishes to the topic that is flooded, if one is.
    fn flood_topic(&mut self) {
        let Some(random) = &mut self.flood else {
            return;
        };
        match random.below(6) {
            0 => self.plain.flood(random),
            1 => self.courteous.flood(random),
            _ => {}
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.book.open().now
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.book.open().now += time;
    }

    fn connect(&mut self) {
        let number = self.book.open().records.len();
        let is_over = self.drain_due.is_some();
        if is_over || self.peers.len() >= MAX_LIVE || number >= MAX_ACCEPTED {
            return;
        }
        let now = self.now();
        let service = self.random.below(2);
        self.book.open().records.push(Record {
            service,
            ..Record::default()
        });
        let faults = self.random.fork();
        let pipe = Pipe::new(faults, self.fault_rarity, self.book.clone());
        let pipe = Rc::new(RefCell::new(pipe));
        let stream = PipeEnd {
            pipe: pipe.clone(),
            reset_on_drop: false,
        };
        let fails = self.random.one_in(60);
        let mut adopted = None;
        let register = |_: &mut Stream, id| {
            adopted = Some(id);
            if fails {
                return Err(std::io::ErrorKind::OutOfMemory.into());
            }
            Ok(())
        };
        self.reactor.set_now(now);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, number as u16));
        let socket = Stream::Simulated(Box::new(Box::new(stream)));
        let seals = self.seals.as_mut();
        let random = seals.and_then(|random| (!random.one_in(3)).then(|| random.fork()));
        let mut tap = random.map(Tap::new);
        self.book.open().records[number].is_sealed = tap.is_some();
        let wire = match &mut tap {
            Some(tap) => tap.wire(socket, &pipe),
            None => socket.into(),
        };
        let current = CurrentWorker::enter(&self.shared);
        self.shared.count_connection();
        self.reactor
            .adopt(service as u16, wire, peer.into(), None, register);
        drop(current);
        let id = adopted.expect("every socket is registered");
        self.book.open().records[number].id = Some(id);
        let is_courteous = service == Courtesy::SERVICE;
        self.tokens.push(id.token());
        let mut peer = Peer::new(number, id, pipe, is_courteous, now, &mut self.random);
        peer.parts = self.shortage.parts();
        peer.tap = tap;
        let is_gone = peer.pipe.borrow().dropped;
        assert!(
            is_gone || !fails,
            "a connection lives that could not be registered"
        );
        // A connection that could not be registered, or whose handler panicked, has gone already.
        if is_gone {
            self.book.open().records[number].is_gone = true;
            self.departed.push(peer);
        } else {
            self.peers.push(peer);
        }
    }

    fn peer_acts(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let index = self.random.below(self.peers.len());
        let peer = &mut self.peers[index];
        peer.act(&mut self.random);
        peer.transmit(false, &mut self.book.open(), &mut self.random);
    }

    /// Lets peers read what has arrived, and lets bytes on their way arrive: some of them, or all.
    pub(super) fn peers_read(&mut self, all: bool) {
        let ledger = &mut *self.book.open();
        for peer in self.peers.iter_mut().chain(&mut self.departed) {
            peer.read(all, ledger, &mut self.random);
            peer.transmit(all, ledger, &mut self.random);
        }
    }

    /// Acts as another thread, perhaps while the loop sleeps.
    fn outsider_acts(&mut self) {
        match self.random.below(8) {
            0 => self.schedule(),
            1 => self.cancel(),
            2..=4 => self.plain.act(&mut self.random),
            _ => self.courteous.act(&mut self.random),
        }
        let is_waiting = self.shared.has_mail() || self.shared.has_requests();
        let will_look = !self.sleeps || self.was_woken.load(Ordering::Relaxed);
        assert!(
            !is_waiting || will_look,
            "mail waits, and nothing wakes the loop"
        );
    }

    fn schedule(&mut self) {
        let micros = self.random.below(120_000);
        let every = self.random.one_in(3);
        let every = every.then(|| Duration::from_micros(500 + self.random.below(40_000) as u64));
        let mut ledger = self.book.open();
        let due = ledger.now + Duration::from_micros(micros as u64);
        let index = ledger.tasks.len();
        let pending = ledger.pending(due);
        ledger.tasks.push(ExpectedTask {
            pending,
            every,
            is_cancelled: false,
            is_done: false,
        });
        drop(ledger);
        let book = self.book.clone();
        let ticket = Ticket::new();
        self.tickets.push(ticket.clone());
        self.reactor.set_now(self.now());
        self.reactor.schedule_task(Task {
            due,
            every,
            run: Box::new(move || note_task_run(&mut book.open(), index)),
            ticket,
        });
    }

    fn cancel(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let index = self.random.below(self.tickets.len());
        self.tickets[index].cancel();
        self.book.open().tasks[index].is_cancelled = true;
        // The command may come late: after the task has ended, or after its run.
        if self.random.one_in(2) {
            self.reactor.cancel_task(&self.tickets[index]);
        }
    }

    fn begin_drain(&mut self) {
        if self.drain_due.is_some() {
            return;
        }
        let now = self.now();
        self.reactor.set_now(now);
        self.drain_due = Some(Pending {
            due: now + DRAIN,
            set: now,
        });
        self.book.open().drain_waits_until = Some(now + DRAIN / 2);
        for record in &mut self.book.open().records {
            record.may_wait_in_drain = !record.topics.is_empty();
        }
        if self.fault_rarity == 0 {
            // Otherwise a fault may say that bytes have not arrived after all.
            for record in &mut self.book.open().records {
                record.arrived_by_drain = record.arrived;
            }
        }
        let _current = CurrentWorker::enter(&self.shared);
        self.reactor
            .begin_drain(DRAIN, [self.shared.clone()].into());
        // The command to drain has woken the loop.
        self.sleeps = false;
    }

    /// Lets time pass in which no peer sends anything, and only slow ones read, so that deadlines are met.
    fn keep_silent(&mut self) {
        for _ in 0..self.random.below(24) {
            for peer in self.peers.iter_mut().filter(|peer| peer.is_slow) {
                peer.read(false, &mut self.book.open(), &mut self.random);
            }
            self.sleep_and_iterate();
        }
    }

    /// Sleeps as the loop does until there is an event or a timer is due, then iterates.
    fn sleep_and_iterate(&mut self) {
        let has_events = self.peers.iter().any(|peer| {
            let pipe = peer.pipe.borrow();
            pipe.readable || pipe.writable
        });
        let is_sending = self.peers.iter().any(Peer::is_sending);
        let stays_awake = !self.sleeps || self.was_woken.load(Ordering::Relaxed);
        if !has_events && !stays_awake {
            let now = self.now();
            // Bytes on their way arrive soon, and must not wait for the next timer.
            let most = Duration::from_millis(if is_sending { 5 } else { 500 });
            let sleep = self.reactor.timeout(|| now).unwrap_or(most).min(most);
            self.pass(sleep);
        }
        self.iterate();
    }

    /// One iteration of the loop: some of the events in random order, then the rest of the iteration.
    pub(super) fn iterate(&mut self) {
        let current = CurrentWorker::enter(&self.shared);
        self.was_woken.store(false, Ordering::Relaxed);
        self.shared.woke_up();
        let now = self.now();
        self.last_gap = now - self.iterated_at;
        self.longest_sleep = self.longest_sleep.max(self.last_gap);
        self.iterated_at = now;
        self.note_late_ends();
        self.reactor.set_now(now);
        let mut events = self.poll();
        for index in (1..events.len()).rev() {
            events.swap(index, self.random.below(index + 1));
        }
        for (token, readiness) in events {
            self.book.open().begin_turns(1);
            // As in the event loop, except that the slow path is also taken at random: both must do the same.
            let is_plain = readiness.readable && !readiness.drain_fully && !readiness.error;
            let is_fast = is_plain && !self.random.one_in(3);
            let is_heavy = self.is_heavy(token);
            let is_full = self.reactor.state.budget.is_iteration_full();
            if !(is_fast && self.reactor.on_plain_input(token)) {
                self.reactor.on_event(token, readiness);
            }
            let mut ledger = self.book.open();
            let has_worked = ledger.records.iter().any(|record| record.work > 0);
            ledger.claim(!(is_heavy && has_worked), || {
                "an event gives a heavy connection a turn before the light ones".into()
            });
            ledger.claim(!(is_full && has_worked), || {
                "an event gives a connection a turn in an iteration that is full".into()
            });
        }
        // Bytes may arrive while events are handled; no poll has reported them when deadlines are judged.
        for peer in &mut self.peers {
            if self.random.one_in(4) {
                peer.transmit(false, &mut self.book.open(), &mut self.random);
            }
        }
        self.note_unheard();
        self.book.open().begin_turns(MOST_TURNS);
        let turns = &self.reactor.state.turns;
        let (had_event, unfinished) = (turns.heavy.clone(), turns.unfinished.clone());
        self.reactor.finish_iteration();
        self.check_turns_of_heavy(&had_event, &unfinished);
        if !self.reactor.state.turns.deferred.is_empty() {
            self.book.open().tally.count("deferred once more");
        }
        for _ in self.reactor.departed() {
            self.shared.uncount_connection();
        }
        drop(current);
        self.sleeps = !self.shared.prepare_to_sleep();
        self.check();
        let now = self.now();
        let has_no_time = self.reactor.timeout(|| now) == Some(Duration::ZERO);
        let turns = &self.reactor.state.turns;
        let waits = !turns.ready.is_empty()
            || !turns.deferred.is_empty()
            || !turns.unproven.is_empty()
            || !turns.heavy.is_empty()
            || !turns.unfinished.is_empty()
            || !self.reactor.ends.is_empty();
        self.book.open().claim(has_no_time || !waits, || {
            "the loop would sleep although connections wait for a turn, or for their last callbacks".into()
        });
        self.reactor.set_behind(has_no_time || !self.sleeps);
    }

    /// The events that the poll reports, taken before any is handled, with stale events among them.
    fn poll(&mut self) -> Vec<(usize, Readiness)> {
        let mut events = Vec::new();
        for peer in &self.peers {
            let pipe = &mut *peer.pipe.borrow_mut();
            if !(pipe.readable || pipe.writable) || self.random.one_in(6) {
                continue;
            }
            let readiness = Readiness {
                readable: std::mem::take(&mut pipe.readable),
                writable: std::mem::take(&mut pipe.writable),
                drain_fully: pipe.peer_ended || pipe.reset,
                error: pipe.reset,
            };
            events.push((peer.id.token(), readiness));
        }
        if self.random.one_in(4) && !self.tokens.is_empty() {
            let token = self.tokens[self.random.below(self.tokens.len())];
            let readiness = Readiness {
                readable: self.random.one_in(2),
                writable: self.random.one_in(2),
                drain_fully: self.random.one_in(4),
                error: false,
            };
            events.push((token, readiness));
        }
        events
    }
}

/// Decides when the loop stands still in the run of a seed in which only the idle time is limited. It is a generator of its own, so
/// that the other runs do not depend on it.
fn stalls(seed: u64, timeouts: &Timeouts) -> Option<Random> {
    let mut random = Random(seed ^ 0x57a1_15ee);
    let is_plain = timeouts.first_message.is_none() && timeouts.message.is_none();
    (is_plain && random.one_in(2)).then_some(random)
}

/// Notes that a task runs.
fn note_task_run(ledger: &mut Ledger, index: usize) {
    let now = ledger.now;
    let task = &mut ledger.tasks[index];
    let is_time = task.pending.due <= now && !task.is_cancelled && !task.is_done;
    let pending = task.pending;
    let panics = index % 3 == 2;
    match task.every {
        Some(every) if !panics => {
            // Rounds that were missed are not made up for.
            while task.pending.due <= now {
                task.pending.due += every;
            }
            task.pending.set = now;
        }
        _ => task.is_done = true,
    }
    ledger.tally.count("task run");
    ledger.claim(is_time, || {
        format!("a task runs at {now:?}, expected {pending:?}")
    });
    if panics {
        quiet_panic();
    }
}

/// Makes a service, and the means to reach its connections.
fn make_service<P: BytesProtocol>(
    protocol: P,
    limits: Limits,
    timeouts: Timeouts,
    book: &Book,
    shared: &Arc<LoopShared>,
    random: Random,
) -> (Mailer<P>, Box<dyn crate::service::Service>) {
    let (mailbox, mail) = Mailbox::<ScriptedHandler<P>>::new(shared.clone(), P::SERVICE as u16);
    let mailbox = Arc::new(mailbox);
    let clients = Connections::new(vec![mailbox.clone()]);
    let mailer = Mailer::new(book.clone(), clients.clone());
    let handler = ScriptedHandler {
        book: book.clone(),
        random,
        mailer: mailer.clone(),
        idle: timeouts.idle,
    };
    let outbox = Arc::new(WorkerOutbox::new(mailbox.clone(), clients));
    let hub = Hub::new(handler, protocol, limits, timeouts, outbox, (mailbox, mail));
    (mailer, Box::new(hub))
}
