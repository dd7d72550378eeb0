//! A seeded simulation: the production reactor under a virtual clock, on a simulated network that cuts, delays, interrupts
//! and resets, with a handler that does everything a callback may do.
//!
//! After every step the invariants are checked, and after every run the balance. To see a run again:
//! `RINGWHEEL_SEED=7 cargo test --lib simulation`; for more of them, `RINGWHEEL_SEEDS=1000000`.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::close_reason::CloseReason;
use crate::conn::{Conn, TimerId};
use crate::handler::Handler;
use crate::limits::Overflow;
use crate::mailbox::Mailbox;
use crate::protocol::{ErrorOf, LengthPrefixed};
use crate::remote::{Clients, Remote};
use crate::send_status::SendStatus;
use crate::service::Hub;
use crate::transport::Transport;

const OUTPUT_LIMIT: usize = 6_000;
const LOW_WATER: usize = 500;
const INPUT_LIMIT: usize = 2_000;
const RECEIVE_BUFFER: usize = 512;
const IDLE: Duration = Duration::from_millis(400);
/// The most that the kernel takes of what the peer does not read.
const WINDOW: usize = 1_500;

/// SplitMix64: a step of a counter, mixed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The two directions between a peer and the reactor, as the kernel keeps them.
#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    peer_ended: bool,
    reset: bool,
    /// What the peer has not read yet.
    to_peer: VecDeque<u8>,
    server_ended: bool,
    dropped: bool,
    dropped_with_reset: bool,
    /// Events that the poll would report.
    readable: bool,
    writable: bool,
    /// A write found no room: there is an event once there is.
    wants_room: bool,
    faults: u64,
    now: Rc<RefCell<Duration>>,
    last_heard: Duration,
}

impl Pipe {
    fn fault(&mut self, one_in: usize) -> bool {
        let mut random = Random(self.faults);
        self.faults = random.next();
        random.one_in(one_in)
    }
}

/// The reactor's end of a pipe.
struct Stream {
    pipe: Rc<RefCell<Pipe>>,
    reset_on_drop: bool,
}

impl Transport for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let pipe = &mut *self.pipe.borrow_mut();
        if pipe.fault(9) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if pipe.to_server.is_empty() {
            return match (pipe.reset, pipe.peer_ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let mut count = buffer.len().min(pipe.to_server.len());
        if count > 1 && pipe.fault(3) {
            // The rest arrives a moment later, with an event of its own.
            count = 1 + Random(pipe.faults).below(count - 1);
            pipe.readable = true;
        }
        for (place, byte) in buffer.iter_mut().zip(pipe.to_server.drain(..count)) {
            *place = byte;
        }
        pipe.last_heard = *pipe.now.borrow();
        Ok(count)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let pipe = &mut *self.pipe.borrow_mut();
        if pipe.fault(9) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if pipe.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = WINDOW - pipe.to_peer.len();
        let offered = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut count = offered.min(room);
        if count > 1 && pipe.fault(4) {
            count = 1 + Random(pipe.faults).below(count - 1);
        }
        if count < offered {
            pipe.wants_room = true;
        }
        if count == 0 && offered > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.to_peer
            .extend(parts.iter().flat_map(|part| part.iter()).take(count));
        Ok(count)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut pipe = self.pipe.borrow_mut();
        assert!(!pipe.server_ended, "one end of stream per connection");
        pipe.server_ended = true;
        if pipe.reset {
            Err(io::ErrorKind::NotConnected.into())
        } else {
            Ok(())
        }
    }

    fn reset_on_drop(&mut self) {
        self.reset_on_drop = true;
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(self
            .pipe
            .borrow()
            .reset
            .then(|| io::ErrorKind::ConnectionReset.into()))
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(self.pipe.borrow().to_server.len())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, 1).into())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.dropped = true;
        // Closing over input that nobody has read resets, as the kernel does.
        pipe.dropped_with_reset = self.reset_on_drop || !pipe.to_server.is_empty();
    }
}

/// What the simulation knows of a connection, from both sides.
#[derive(Default)]
struct Record {
    /// Frames that the peer has sent, in order.
    asked: Vec<u8>,
    /// Messages that reached the handler.
    delivered: Vec<u8>,
    /// Frames that the handler has sent and that were taken.
    answered: Vec<u8>,
    /// What the peer has read.
    read: Vec<u8>,
    opened: usize,
    closed: Option<String>,
    evicted_at: Option<Duration>,
    half_closed: usize,
}

type Records = Rc<RefCell<HashMap<ConnId, Record>>>;
type P = LengthPrefixed;

/// Does what the first byte of a message says.
struct Puppet {
    records: Records,
    remotes: Vec<Remote<P>>,
    random: Random,
    completions: Arc<AtomicUsize>,
    now: Rc<RefCell<Duration>>,
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u16).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

impl Puppet {
    fn send(&mut self, conn: &mut Conn<'_, P>, body: &[u8]) -> SendStatus {
        let status = conn.send(body);
        if status.is_queued() {
            self.record(conn.id(), |record| record.answered.extend(frame(body)));
        }
        status
    }

    fn record(&self, id: ConnId, note: impl FnOnce(&mut Record)) {
        note(
            self.records
                .borrow_mut()
                .get_mut(&id)
                .expect("every connection is recorded"),
        );
    }
}

impl Handler for Puppet {
    type Protocol = P;
    type Session = Option<TimerId>;

    fn on_open(&mut self, conn: &mut Conn<'_, P>) -> Option<TimerId> {
        self.records
            .borrow_mut()
            .entry(conn.id())
            .or_default()
            .opened += 1;
        if self.random.one_in(4) {
            // A plain connection, with nothing that makes its turns unusual.
            return None;
        }
        self.remotes.push(conn.remote());
        match self.random.below(20) {
            0 => conn.close(),
            1 => conn.abort(),
            2 => conn.pause_reading(),
            _ => {}
        }
        if self.random.one_in(4) {
            self.send(conn, b"hello");
        }
        // Undoes a pause in any case.
        conn.set_timer(Duration::from_millis(5), 1).ok()
    }

    fn on_message(&mut self, conn: &mut Conn<'_, P>, timer: &mut Option<TimerId>, message: &[u8]) {
        self.record(conn.id(), |record| record.delivered.extend(frame(message)));
        let copy = message.to_vec();
        match message.first().copied().unwrap_or(0) {
            0..=99 => _ = self.send(conn, &copy),
            100..=104 => {
                self.send(conn, &copy);
                conn.close();
            }
            105 => conn.abort(),
            106..=107 => panic!("as the message asked"),
            108..=120 => {
                *timer = conn
                    .set_timer(Duration::from_millis(self.random.below(30) as u64), 1)
                    .ok();
                if timer.is_some() {
                    conn.pause_reading();
                }
            }
            121..=140 => {
                for _ in 0..self.random.below(12) {
                    self.send(conn, &[7; 400]);
                }
            }
            141..=145 => conn.shutdown_write(),
            146..=165 => {
                *timer = conn
                    .set_timer(Duration::from_millis(self.random.below(200) as u64), 2)
                    .ok()
            }
            166..=175 => {
                if let Some(timer) = timer.take() {
                    conn.cancel_timer(timer);
                }
            }
            176..=210 if self.remotes.is_empty() => {}
            176..=205 => {
                let remote = self.remotes[self.random.below(self.remotes.len())].clone();
                let completions = self.completions.clone();
                completions.fetch_add(1, Ordering::Relaxed);
                // An answer for somebody else, who records it there.
                let done = move |_| _ = completions.fetch_sub(1, Ordering::Relaxed);
                let _ = remote.send_then(bytes::Bytes::from_static(b"from afar"), done);
            }
            206..=210 => {
                let remote = self.remotes[self.random.below(self.remotes.len())].clone();
                let _ = remote.close();
            }
            211..=215 => conn.flush(),
            _ => {
                let completions = self.completions.clone();
                completions.fetch_add(1, Ordering::Relaxed);
                let status = conn.send_then(&copy, move |_| {
                    _ = completions.fetch_sub(1, Ordering::Relaxed)
                });
                if status.is_queued() {
                    self.record(conn.id(), |record| record.answered.extend(frame(&copy)));
                }
            }
        }
    }

    fn on_timer(
        &mut self,
        conn: &mut Conn<'_, P>,
        _: &mut Option<TimerId>,
        _: TimerId,
        token: u64,
    ) {
        if token == 1 {
            conn.resume_reading();
        }
        if token == 2 {
            self.send(conn, b"time");
        }
    }

    fn on_drained(&mut self, conn: &mut Conn<'_, P>, _: &mut Option<TimerId>) {
        assert!(conn.write_buffer_len() <= LOW_WATER);
        if self.random.one_in(3) {
            self.send(conn, b"there is room");
        }
    }

    fn on_half_close(&mut self, conn: &mut Conn<'_, P>, _: &mut Option<TimerId>) {
        self.record(conn.id(), |record| record.half_closed += 1);
        if self.random.one_in(3) {
            self.send(conn, b"a last word");
        }
        conn.close();
    }

    fn on_close(
        &mut self,
        conn: &Conn<'_, P>,
        _: Option<TimerId>,
        reason: CloseReason<ErrorOf<P>>,
    ) {
        let now = *self.now.borrow();
        self.record(conn.id(), |record| {
            assert!(record.closed.is_none(), "closed twice");
            record.evicted_at =
                matches!(reason, CloseReason::Timeout(crate::Timeout::Idle)).then_some(now);
            record.closed = Some(format!("{reason:?}"));
        });
    }
}

struct Peer {
    id: ConnId,
    pipe: Rc<RefCell<Pipe>>,
    reads: bool,
}

struct World {
    reactor: Reactor,
    shared: Arc<LoopShared>,
    records: Records,
    peers: Vec<Peer>,
    random: Random,
    now: Rc<RefCell<Duration>>,
    completions: Arc<AtomicUsize>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let (shared, _commands) = LoopShared::new(0, Box::new(|| Ok(())), 10_000);
        shared.woke_up();
        let records = Records::default();
        let completions = Arc::new(AtomicUsize::new(0));
        let now = Rc::new(RefCell::new(Duration::ZERO));
        let puppet = Puppet {
            records: records.clone(),
            remotes: Vec::new(),
            random: Random(random.next()),
            completions: completions.clone(),
            now: now.clone(),
        };
        let overflow = [Overflow::Close, Overflow::DropMessage, Overflow::Refuse][random.below(3)];
        let limits = Limits::default()
            .input(INPUT_LIMIT)
            .output(OUTPUT_LIMIT)
            .water(LOW_WATER, 2_000)
            .overflow(overflow);
        let timeouts = Timeouts {
            idle: random.one_in(2).then_some(IDLE),
            first_message: random.one_in(3).then_some(Duration::from_millis(300)),
            write_stall: Some(Duration::from_millis(200)),
            close: Duration::from_millis(150),
        };
        let (mailbox, mail) = Mailbox::<Puppet>::new(shared.clone());
        let protocol = LengthPrefixed::u16_be().max_length(1_900);
        let mailbox = Arc::new(mailbox);
        let clients = Box::new(Clients::new(vec![mailbox.clone()]));
        let hub = Hub::new(puppet, protocol, limits, mailbox, mail, clients);
        let slot = ServiceSlot {
            service: Box::new(hub),
            limits,
            timeouts,
        };
        let config = ReactorConfig {
            clock: TickClock::default(),
            pool: PoolConfig::default(),
            receive_buffer: RECEIVE_BUFFER,
            read_budget: 1_000,
        };
        let reactor = Reactor::new(&config, shared.clone(), vec![slot]);
        World {
            reactor,
            shared,
            records,
            peers: Vec::new(),
            random,
            now,
            completions,
        }
    }

    fn connect(&mut self) {
        let faults = self.random.next();
        let pipe = Rc::new(RefCell::new(Pipe {
            faults,
            writable: true,
            last_heard: *self.now.borrow(),
            now: self.now.clone(),
            ..Pipe::default()
        }));
        let stream = Stream {
            pipe: pipe.clone(),
            reset_on_drop: false,
        };
        let mut adopted = None;
        let records = self.records.clone();
        let register = |_: &mut Socket, id: ConnId| {
            adopted = Some(id);
            records.borrow_mut().insert(id, Record::default());
            Ok(())
        };
        self.reactor.set_now(*self.now.borrow());
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        self.reactor
            .adopt(0, Socket::Simulated(Box::new(stream)), peer, register)
            .expect("registering succeeds");
        let id = adopted.expect("every socket is registered");
        self.peers.push(Peer {
            id,
            pipe,
            reads: !self.random.one_in(8),
        });
    }

    /// Something happens on the other side of the network.
    fn peer_acts(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let index = self.random.below(self.peers.len());
        let peer = &mut self.peers[index];
        let pipe = &mut *peer.pipe.borrow_mut();
        if pipe.dropped || pipe.reset {
            return;
        }
        match self.random.below(40) {
            0 => {
                pipe.peer_ended = true;
                pipe.readable = true;
            }
            1 => {
                pipe.reset = true;
                pipe.readable = true;
                pipe.writable = true;
            }
            2 => peer.reads = !peer.reads,
            3 => {
                // A spurious event.
                pipe.readable = true;
                pipe.writable = true;
            }
            4..=25 if !pipe.peer_ended => {
                for _ in 0..=self.random.below(6) {
                    let length = match self.random.below(12) {
                        0 => 1 + self.random.below(1_800),
                        1 => 0,
                        _ => 1 + self.random.below(60),
                    };
                    let mut body = vec![self.random.next() as u8; length];
                    if self.random.one_in(600) {
                        // Longer than the protocol allows.
                        body = vec![1; 1_950];
                    }
                    let frame = frame(&body);
                    pipe.to_server.extend(&frame);
                    self.records
                        .borrow_mut()
                        .get_mut(&peer.id)
                        .expect("recorded")
                        .asked
                        .extend(&frame);
                }
                pipe.readable = true;
            }
            _ => {}
        }
    }

    /// The peers that read take some of what has arrived.
    fn peers_read(&mut self, all: bool) {
        for peer in &self.peers {
            let pipe = &mut *peer.pipe.borrow_mut();
            if !peer.reads && !all || pipe.dropped_with_reset {
                continue;
            }
            let count = if all {
                pipe.to_peer.len()
            } else {
                self.random.below(pipe.to_peer.len() + 1)
            };
            let read: Vec<u8> = pipe.to_peer.drain(..count).collect();
            self.records
                .borrow_mut()
                .get_mut(&peer.id)
                .expect("recorded")
                .read
                .extend(read);
            if count > 0 && pipe.wants_room {
                pipe.wants_room = false;
                pipe.writable = true;
            }
        }
    }

    /// One iteration of the loop: some of the events, in any order, and the rest of it.
    fn iterate(&mut self) {
        self.reactor.set_now(*self.now.borrow());
        let mut order: Vec<usize> = (0..self.peers.len()).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.random.below(index + 1));
        }
        for index in order {
            let peer = &self.peers[index];
            let readiness = {
                let pipe = &mut *peer.pipe.borrow_mut();
                if !(pipe.readable || pipe.writable) || self.random.one_in(5) {
                    continue;
                }
                let readable = std::mem::take(&mut pipe.readable);
                Readiness {
                    readable,
                    writable: std::mem::take(&mut pipe.writable),
                    drain_fully: pipe.peer_ended || pipe.reset,
                    error: pipe.reset,
                }
            };
            // Also for connections that are gone: the event is then a stale one.
            // As the event loop does it.
            let is_plain = readiness.readable && !readiness.drain_fully && !readiness.error;
            if !(is_plain && self.reactor.on_plain_input(peer.id.token())) {
                self.reactor.on_event(peer.id.token(), readiness);
            }
        }
        self.reactor.finish_iteration();
        self.reactor.departed().for_each(drop);
        self.check();
    }

    /// What must hold between iterations.
    fn check(&mut self) {
        let records = self.records.borrow();
        for peer in &self.peers {
            let record = &records[&peer.id];
            let pipe = peer.pipe.borrow();
            assert!(record.opened <= 1 && record.half_closed <= 1);
            assert!(
                record.asked.starts_with(&record.delivered),
                "messages come in order, each once"
            );
            let gone = self.reactor.table.get(peer.id).is_none();
            assert_eq!(
                gone, pipe.dropped,
                "a connection lives as long as its socket"
            );
            assert_eq!(
                gone,
                record.closed.is_some() || record.opened == 0,
                "closed when it goes"
            );
            assert!(
                record
                    .evicted_at
                    .is_none_or(|at| at >= pipe.last_heard + IDLE),
                "evicted early"
            );
            let Some(connection) = self.reactor.table.get(peer.id) else {
                continue;
            };
            assert!(connection.output.len() <= OUTPUT_LIMIT);
            assert!(connection.kept() <= INPUT_LIMIT.max(RECEIVE_BUFFER));
            assert_eq!(
                connection.gate.has(crate::connection::Gate::CLOSING),
                connection.phase != Phase::Open
            );
            assert_eq!(connection.cause.is_some(), connection.phase != Phase::Open);
            // The lost wake-up: work that neither an event nor the ready list will bring up.
            assert!(
                connection.queued || !connection.has_work(),
                "{} was forgotten",
                peer.id
            );
            let stuck = !connection.output.is_empty() && !pipe.wants_room && !pipe.writable;
            assert!(!stuck, "{} has output that nobody will send", peer.id);
        }
    }

    /// Lets everything end: peers read, time passes, nothing new begins.
    fn settle(&mut self) {
        for _ in 0..400 {
            *self.now.borrow_mut() += Duration::from_millis(3);
            self.peers_read(true);
            self.iterate();
            if self.reactor.state.ready.is_empty()
                && self.peers.iter().all(|peer| !peer.pipe.borrow().readable)
            {
                break;
            }
        }
    }

    /// Ends all that is left, then balances what was sent against what has arrived.
    fn finish(&mut self, gracefully: bool) {
        self.settle();
        if gracefully {
            self.reactor.begin_drain(Duration::from_millis(500));
            for _ in 0..400 {
                *self.now.borrow_mut() += Duration::from_millis(3);
                self.peers_read(true);
                for peer in &self.peers {
                    let pipe = &mut *peer.pipe.borrow_mut();
                    if pipe.server_ended && !pipe.peer_ended {
                        pipe.peer_ended = true;
                        pipe.readable = true;
                    }
                }
                self.iterate();
            }
            assert!(self.reactor.is_drained());
        }
        self.reactor.stop();
        assert_eq!(
            self.completions.load(Ordering::Relaxed),
            0,
            "every completion is called once"
        );
        assert_eq!(
            self.reactor.state.wheel.len(),
            1 - usize::from(!gracefully || self.drain_is_over())
        );
        let afar = frame(b"from afar");
        for peer in &self.peers {
            let records = self.records.borrow();
            let record = &records[&peer.id];
            let pipe = peer.pipe.borrow();
            if record.opened == 0 {
                continue;
            }
            let reason = record.closed.as_deref().expect("one close for each open");
            let mut read = record.read.clone();
            if !pipe.dropped_with_reset {
                read.extend(&pipe.to_peer);
            }
            let own = without(&read, &afar);
            assert!(
                record.answered.starts_with(&own) || is_cut(&record.answered, &own),
                "{reason}: a hole or a lie"
            );
            let orderly =
                ["Peer", "Local", "Truncated", "Shutdown"].contains(&reason) && gracefully;
            if orderly && !pipe.reset && !pipe.dropped_with_reset && reason != "Shutdown" {
                assert_eq!(
                    own.len(),
                    record.answered.len(),
                    "{reason}: everything arrives"
                );
            }
        }
    }

    fn drain_is_over(&mut self) -> bool {
        // The drain's own deadline is the one timer that may be left.
        self.reactor.state.wheel.is_empty()
    }
}

/// The stream without the frames that others have sent into it.
fn without(stream: &[u8], foreign: &[u8]) -> Vec<u8> {
    let mut own = Vec::new();
    let mut rest = stream;
    while rest.len() >= 2 {
        let length = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let (frame, next) = rest.split_at(length.min(rest.len()));
        if frame != foreign {
            own.extend_from_slice(frame);
        }
        rest = next;
    }
    own.extend_from_slice(rest);
    own
}

/// Whether the last frame of `own` is the beginning of a foreign one.
fn is_cut(answered: &[u8], own: &[u8]) -> bool {
    (0..=11.min(own.len())).any(|tail| {
        let (whole, cut) = own.split_at(own.len() - tail);
        answered.starts_with(whole) && frame(b"from afar").starts_with(cut)
    })
}

fn run(seed: u64) {
    let _blame = Blame(seed);
    let mut world = World::new(seed);
    let steps = 40 + world.random.below(160);
    for _ in 0..steps {
        match world.random.below(12) {
            0 if world.peers.len() < 12 => world.connect(),
            1 => *world.now.borrow_mut() += Duration::from_millis(world.random.below(60) as u64),
            2..=4 => world.peers_read(false),
            5..=8 => world.peer_acts(),
            _ => world.iterate(),
        }
    }
    let gracefully = !world.random.one_in(4);
    world.finish(gracefully);
    drop(world.shared);
}

#[test]
fn every_seed_keeps_the_invariants() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("RINGWHEEL_SEED") {
        return run(seed);
    }
    (0..number("RINGWHEEL_SEEDS").unwrap_or(3_000)).for_each(run);
}

/// Says which seed it was, should the run fail.
struct Blame(u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to see it again: RINGWHEEL_SEED={} cargo test --lib simulation",
                self.0
            );
        }
    }
}
