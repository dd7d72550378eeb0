//! Many timers at once: none fires early, none is lost, and connections are served while they fire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{
    Decode, Encode, ErrorOf, Output, PackError, Protocol, Raw, UnpackContext, Unpacked,
};
use ringwheel::{CloseReason, Conn, Handler, Limits, TimerId};
use support::scale::{is_full, report, sized};
use support::{Client, DEADLINE, Random, TestServer, eventually, listen};

use crate::measure::{Times, thread_processor_time};

/// Longest time that other connections may wait while timers fire.
const LONGEST_STALL: Duration = Duration::from_millis(25);

/// The expected and observed times of all timers, by the clock of the loop, from which their delays count.
struct Ledger {
    /// The due time of each timer in nanoseconds; [`FIRED`] after it has fired.
    due: Vec<AtomicU64>,
    fired: AtomicUsize,
    early: AtomicUsize,
    twice: AtomicUsize,
    /// The longest delay of any timer, in nanoseconds.
    latest: AtomicU64,
}

const FIRED: u64 = u64::MAX;

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("less than five centuries")
}

impl Ledger {
    fn new(timers: usize) -> Self {
        Ledger {
            due: (0..timers).map(|_| AtomicU64::new(0)).collect(),
            fired: AtomicUsize::new(0),
            early: AtomicUsize::new(0),
            twice: AtomicUsize::new(0),
            latest: AtomicU64::new(0),
        }
    }

    fn fire(&self, timer: u64, now: Duration) {
        let now = nanoseconds(now);
        match self.due[timer as usize].swap(FIRED, Ordering::Relaxed) {
            FIRED => drop(self.twice.fetch_add(1, Ordering::Relaxed)),
            due if now < due => drop(self.early.fetch_add(1, Ordering::Relaxed)),
            due => drop(self.latest.fetch_max(now - due, Ordering::Relaxed)),
        }
        self.fired.fetch_add(1, Ordering::Relaxed);
    }

    fn fired(&self) -> usize {
        self.fired.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn check(&self) -> Duration {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!(
            self.fired(),
            self.due.len(),
            "some timers were lost, or fired twice"
        );
        assert_eq!(count(&self.early), 0, "early");
        assert_eq!(count(&self.twice), 0, "fired twice");
        Duration::from_nanos(self.latest.load(Ordering::Relaxed))
    }
}

/// A handler that echoes, records its timers in the ledger, and measures the processor time between two echoes.
#[derive(Clone)]
struct Clockwork {
    ledger: Arc<Ledger>,
    measuring: Arc<AtomicBool>,
    /// The worker's processor time at the last echo.
    last: Option<Duration>,
    /// The longest processor time between two echoes, in nanoseconds. Processor time leaves out the time in which the
    /// system did not run the worker.
    longest: Arc<AtomicU64>,
}

impl Handler for Clockwork {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
        conn.send(bytes);
        if self.measuring.load(Ordering::Relaxed) {
            let now = thread_processor_time();
            if let Some(last) = self.last.replace(now) {
                let between = u64::try_from((now - last).as_nanos()).expect("not so long");
                self.longest.fetch_max(between, Ordering::Relaxed);
            }
        }
    }

    fn on_timer(&mut self, conn: &mut Conn<'_, Raw>, _: &mut (), _: TimerId, token: u64) {
        self.ledger.fire(token, conn.now());
    }
}

/// A server and its connections, with an equal number of timers on each.
struct Clocks {
    server: TestServer,
    clockwork: Clockwork,
    clients: Vec<Client>,
    each: usize,
}

impl Clocks {
    fn start(connections: usize, each: usize) -> Self {
        let clockwork = Clockwork {
            ledger: Arc::new(Ledger::new(connections * each)),
            measuring: Arc::default(),
            last: None,
            longest: Arc::default(),
        };
        let limits = Limits::default().timers(each);
        let server = TestServer::start(listen(Raw).limits(limits), clockwork.clone());
        let clients = (0..connections).map(|_| server.connect()).collect();
        eventually("all connections are open", || {
            server.handle().connections_per_worker() == [connections]
        });
        Clocks {
            server,
            clockwork,
            clients,
            each,
        }
    }

    /// Sets all timers in one iteration of the loop, each to the delay that `after` returns. Returns once they are set.
    fn set(&self, mut after: impl FnMut() -> Duration) {
        let ledger = &self.clockwork.ledger;
        let delays: Arc<Vec<Duration>> = Arc::new(ledger.due.iter().map(|_| after()).collect());
        let (next, each, timers) = (AtomicUsize::new(0), self.each, ledger.clone());
        let (set, is_set) = channel();
        let total = delays.len();
        let visit = move |conn: &mut Conn<'_, Raw>, _: &mut ()| {
            let first = next.fetch_add(each, Ordering::Relaxed);
            for timer in first..first + each {
                let due = nanoseconds(conn.now() + delays[timer]);
                timers.due[timer].store(due, Ordering::Relaxed);
                conn.set_timer(delays[timer], timer as u64)
                    .expect("as many as are allowed");
            }
            if first + each == total {
                set.send(()).expect("a test");
            }
        };
        let connections = self.server.handle().connections_of::<Clockwork>().unwrap();
        connections.visit(visit).expect("a server");
        is_set.recv_timeout(DEADLINE).expect("all timers are set");
    }

    /// Pings without a pause until all timers have fired. Returns the time that each ping took.
    fn ping_until_all_have_fired(&mut self) -> Times {
        self.clockwork.measuring.store(true, Ordering::Relaxed);
        let start = Instant::now();
        let mut times = Times::default();
        let total = self.clockwork.ledger.due.len();
        loop {
            let all_had_fired = self.clockwork.ledger.fired() >= total;
            let sent = Instant::now();
            assert_eq!(self.clients[0].ask(b"ping"), b"ping");
            times.add(sent.elapsed());
            if all_had_fired {
                return times;
            }
            let fired = self.clockwork.ledger.fired();
            assert!(
                start.elapsed() < 6 * DEADLINE,
                "only {fired} of {total} have fired"
            );
        }
    }

    /// Checks that no timer was early or lost, and reports the longest stalls of the worker and of a ping.
    #[track_caller]
    fn end(self, name: &str, mut times: Times) {
        let latest = self.clockwork.ledger.check();
        let stall = Duration::from_nanos(self.clockwork.longest.load(Ordering::Relaxed));
        let timers = self.clockwork.ledger.due.len();
        if is_full() {
            assert!(stall < LONGEST_STALL, "{stall:?}");
        }
        self.server.handle().stop();
        self.server.join();
        report(
            name,
            format_args!(
                "{timers} timers, none early, none lost, the latest by {latest:.1?}; {} pings meanwhile: longest stall \
                 {stall:.1?} of the worker, {:.1?} for a client, p99 {:.1?}",
                times.count(),
                times.percentile(100.0),
                times.percentile(99.0)
            ),
        );
    }
}

#[test]
fn a_hundred_thousand_timers_in_one_tick_do_not_stall_other_connections() {
    let mut clocks = Clocks::start(sized(100, 1000), 100);
    let soon = sized(Duration::from_millis(100), Duration::from_millis(500));
    clocks.set(|| soon);
    let times = clocks.ping_until_all_have_fired();
    clocks.end("timers in one tick", times);
}

#[test]
fn a_million_timers_are_served_after_a_stall_of_the_worker() {
    let mut clocks = Clocks::start(sized(100, 5000), 200);
    let (spread, stall) = sized((300, 100), (4000, 1000));
    let mut random = Random::new(6);
    clocks.set(|| Duration::from_millis(random.below(spread) as u64));
    let (begun, has_begun) = channel();
    let stalled = Duration::from_millis(stall);
    clocks.server.handle().run_after(Duration::ZERO, move || {
        begun.send(()).expect("a test");
        thread::sleep(stalled);
    });
    has_begun.recv_timeout(DEADLINE).expect("it stalls");
    let times = clocks.ping_until_all_have_fired();
    clocks.end(
        &format!("timers with a worker that stalls for {stall} ms"),
        times,
    );
}

/// A protocol that checks that the time it is given never goes back. A message is one byte.
#[derive(Clone, Default)]
struct Watching {
    /// The latest time on any connection of the worker, in nanoseconds.
    latest: Arc<AtomicU64>,
    told: Arc<AtomicUsize>,
    back: Arc<AtomicUsize>,
}

impl Watching {
    fn tell(&self, now: Duration) {
        let now = u64::try_from(now.as_nanos()).expect("less than five centuries");
        self.told.fetch_add(1, Ordering::Relaxed);
        if self.latest.fetch_max(now, Ordering::Relaxed) > now {
            self.back.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct WatchingEncoder;

impl Protocol for Watching {
    type Decoder = Watching;
    type Encoder = WatchingEncoder;

    fn open(&self) -> (Watching, WatchingEncoder) {
        (self.clone(), WatchingEncoder)
    }
}

impl Decode for Watching {
    type Encoder = WatchingEncoder;
    type Message<'a> = u8;
    type Error = std::convert::Infallible;
    const HAS_DEADLINES: bool = true;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, WatchingEncoder>,
    ) -> Result<Unpacked<u8>, Self::Error> {
        self.tell(context.now);
        Ok(Unpacked::Message {
            message: input[0],
            consumed: 1,
        })
    }

    fn next_deadline(&mut self, _: &mut WatchingEncoder, now: Duration) -> Option<Duration> {
        self.tell(now);
        Some(now + Duration::from_millis(1))
    }

    fn on_deadline(
        &mut self,
        context: &mut UnpackContext<'_, WatchingEncoder>,
    ) -> Result<(), Self::Error> {
        self.tell(context.now);
        Ok(())
    }
}

impl Encode for WatchingEncoder {
    type Item<'a> = u8;
    type Owned = u8;

    fn borrow(owned: &u8) -> u8 {
        *owned
    }

    fn owned_size(owned: &u8) -> usize {
        size_of_val(owned)
    }

    fn pack(&mut self, item: u8, output: &mut Output) -> Result<(), PackError> {
        output.put_u8(item);
        Ok(())
    }
}

#[derive(Clone)]
struct Sleepy;

impl Handler for Sleepy {
    type Protocol = Watching;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Watching>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Watching>, _session: &mut (), message: u8) {
        if message == b'z' {
            thread::sleep(Duration::from_millis(5));
        }
        conn.send(message);
    }

    fn on_close(&mut self, _: &Conn<'_, Watching>, _: (), _: CloseReason<ErrorOf<Watching>>) {}
}

#[test]
fn the_clock_of_a_worker_never_goes_backwards() {
    let rounds = sized(100, 2000);
    let watching = Watching::default();
    let server = TestServer::start(listen(watching.clone()), Sleepy);
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for round in 0..rounds {
        let message = if round % 10 == 0 { b"abz" } else { b"abc" };
        clients.iter_mut().for_each(|client| client.send(message));
        for client in &mut clients {
            assert_eq!(client.receive(3), message);
        }
    }
    server.handle().stop();
    server.join();
    assert_eq!(watching.back.load(Ordering::Relaxed), 0);
    report(
        "the clock never goes back",
        format_args!(
            "read {} times, never less than before",
            watching.told.load(Ordering::Relaxed)
        ),
    );
}
