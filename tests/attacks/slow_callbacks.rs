//! Callbacks that take long: completions, closures, ends of publications, openings, ends of connections. They must not make others
//! wait for all that one peer has caused at once.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, LinesError};
use ringwheel::{CloseReason, Conn, ConnHandle, Connections, Handler, Server, SourceStep};
use support::{Client, DEADLINE, TestServer, eventually, listen};

/// The callback that a line of the attacker leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A completion of an answer.
    Completion,
    /// A closure for its own connection.
    OwnClosure,
    /// A closure for a connection on another worker.
    ForeignClosure,
    /// The end of a publication.
    Published,
    /// None: the opening of each connection takes long.
    Opening,
    /// A completion of an answer on a connection that ends at once, with all its answers.
    Lost,
    /// None: the end of each connection takes long.
    Closing,
    /// None: the first message of each connection takes long.
    First,
    /// None: a message of each connection takes long, after four that do not. They all come from another address.
    Known,
}

/// The callbacks so far, and the question that comes amid them.
#[derive(Default)]
struct Shared {
    called: AtomicUsize,
    /// Callbacks that had been called when the question was handled.
    called_before_answer: OnceLock<usize>,
    is_asked: AtomicBool,
    asker: OnceLock<ConnHandle<Lines>>,
}

impl Shared {
    /// A callback that takes `time`. The first one goes on until the question is in the server's socket.
    fn call(&self, time: Duration) {
        let begin = Instant::now();
        if self.called.fetch_add(1, Ordering::SeqCst) == 0 {
            while !self.is_asked.load(Ordering::SeqCst) && begin.elapsed() < DEADLINE {
                thread::yield_now();
            }
        }
        spin(time.saturating_sub(begin.elapsed()));
    }
}

/// Keeps the worker busy, as a callback that takes long does.
fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {}
}

struct Busy {
    kind: Kind,
    time: Duration,
    shared: Arc<Shared>,
    all: Connections<Busy>,
}

impl Handler for Busy {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {
        if self.kind == Kind::Opening && self.shared.asker.get().is_some() {
            self.shared.call(self.time);
        }
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        let (shared, time) = (self.shared.clone(), self.time);
        match (line, self.kind) {
            ("hello", _) => _ = shared.asker.set(conn.handle()),
            ("?", _) => {
                let called = shared.called.load(Ordering::SeqCst);
                _ = shared.called_before_answer.set(called);
            }
            (_, Kind::Completion) => _ = conn.send_then("a", move |_| shared.call(time)),
            (_, Kind::OwnClosure) => {
                let posted = conn.handle().run(move |_| shared.call(time));
                posted.expect("the mailbox has room");
            }
            (_, Kind::ForeignClosure) => {
                let asker = shared.asker.get().expect("it came first").clone();
                let posted = asker.run(move |_| shared.call(time));
                posted.expect("the mailbox has room");
            }
            (_, Kind::Published) => {
                let posted = self
                    .all
                    .publish_then("nobody", "", move |_| shared.call(time));
                posted.expect("the mailbox has room");
            }
            (count, Kind::Lost) => {
                for _ in 0..count.parse().expect("a number") {
                    let shared = shared.clone();
                    conn.send_then("a", move |_| shared.call(time));
                }
                return conn.abort();
            }
            ("x", Kind::First | Kind::Known) => shared.call(time),
            (_, Kind::Opening | Kind::Closing | Kind::First | Kind::Known) => {}
        }
        if line != "x" {
            conn.send("!");
        }
    }

    fn on_close(&mut self, conn: &Conn<'_, Lines>, _session: (), _reason: CloseReason<LinesError>) {
        let is_asker = self
            .shared
            .asker
            .get()
            .is_some_and(|it| it.id() == conn.id());
        if self.kind == Kind::Closing && !is_asker {
            self.shared.call(self.time);
        }
    }
}

/// Sends the four messages after which a connection is known to be light.
fn become_known(client: &mut Client) {
    for _ in 0..4 {
        client.send(b"hello\n");
        assert_eq!(client.receive(2), b"!\n");
    }
}

fn connect_for(kind: Kind, server: &TestServer) -> Client {
    match kind {
        Kind::Known => Client::connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), server.addr()),
        _ => server.connect(),
    }
}

/// One peer causes so many callbacks of `time` at once while another one asks. Returns the number of those that were called before
/// the question was handled.
fn called_before_answer(kind: Kind, callbacks: usize, time: Duration) -> usize {
    let shared = Arc::new(Shared::default());
    let workers = if kind == Kind::ForeignClosure { 2 } else { 1 };
    let of_handlers = shared.clone();
    let builder = Server::builder().workers(workers);
    let builder = builder.listen_with_factory(listen(Lines::new()), move |start| Busy {
        kind,
        time,
        shared: of_handlers.clone(),
        all: start.server().connections_of().unwrap(),
    });
    let server = TestServer::spawn(builder.expect("a free port"));
    let mut asker = server.connect();
    become_known(&mut asker);
    let mut attackers = vec![server.connect()];
    match kind {
        Kind::Opening => attackers.extend((0..callbacks).map(|_| server.connect())),
        Kind::Lost => attackers[0].send(format!("{callbacks}\n").as_bytes()),
        Kind::Closing => {
            attackers.extend((1..callbacks).map(|_| server.connect()));
            for attacker in &mut attackers {
                attacker.send(b"!\n");
                assert_eq!(attacker.receive(2), b"!\n");
            }
            // A callback that takes long delays the events of all these ends, so that they come together.
            attackers.clear();
        }
        Kind::First | Kind::Known => {
            attackers.extend((1..callbacks).map(|_| connect_for(kind, &server)));
            if kind == Kind::Known {
                attackers[0] = connect_for(kind, &server);
                attackers.iter_mut().for_each(become_known);
            }
            attackers
                .iter_mut()
                .for_each(|attacker| attacker.send(b"x\n"));
        }
        _ => attackers[0].send("x\n".repeat(callbacks).as_bytes()),
    }
    eventually("the first callback", || {
        shared.called.load(Ordering::SeqCst) > 0
    });
    asker.send(b"?\n");
    shared.is_asked.store(true, Ordering::SeqCst);
    assert_eq!(asker.receive(2), b"!\n");
    *shared.called_before_answer.get().expect("it was answered")
}

/// The work of all these callbacks was charged to nobody, and all of a turn, or of a mailbox, came before the next event.
#[test]
fn callbacks_that_take_long_make_others_wait_for_few_of_them() {
    const MICROS_100: Duration = Duration::from_micros(100);
    const MICROS_1000: Duration = Duration::from_millis(1);
    for (kind, callbacks, time, most) in [
        // The time of one in 32 is measured, until one is slow.
        (Kind::Completion, 400, MICROS_100, 150),
        (Kind::OwnClosure, 250, MICROS_100, 100),
        (Kind::ForeignClosure, 64, MICROS_1000, 30),
        (Kind::Published, 64, MICROS_1000, 30),
        (Kind::Opening, 120, MICROS_1000, 60),
        (Kind::Lost, 400, MICROS_100, 100),
        (Kind::Closing, 120, MICROS_1000, 30),
        (Kind::First, 120, MICROS_1000, 30),
        (Kind::Known, 120, MICROS_1000, 60),
    ] {
        let called = called_before_answer(kind, callbacks, time);
        println!("{kind:?}: {called} of {callbacks} callbacks before the answer");
        assert!(called <= most, "{kind:?}: {called} callbacks came first");
    }
}

/// Counts connections that are open for the handler, and takes long for each message, or for each end.
#[derive(Clone)]
struct Leaving {
    of_message: Duration,
    of_end: Duration,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Handler for Leaving {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
    }

    fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {
        spin(self.of_message);
    }

    fn on_close(&mut self, _: &Conn<'_, Lines>, _session: (), _: CloseReason<LinesError>) {
        spin(self.of_end);
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Opens so many connections that send `line` and leave, without pause. Returns the largest number that was open at once.
fn most_open(connections: usize, line: &[u8], of_message: Duration, of_end: Duration) -> usize {
    let counts: [Arc<AtomicUsize>; 3] = Default::default();
    let [open, most, closed] = counts.clone();
    let builder = Server::builder().workers(1);
    let handler = Leaving {
        of_message,
        of_end,
        open,
        most,
        closed,
    };
    let builder = builder.listen_with(listen(Lines::new()), handler);
    let server = TestServer::spawn(builder.expect("a free port"));
    for _ in 0..connections {
        server.connect().send(line);
    }
    let [_, most, closed] = counts;
    eventually("all ends", || closed.load(Ordering::SeqCst) == connections);
    let most = most.load(Ordering::SeqCst);
    println!("{most} of {connections} connections were open at once");
    most
}

/// A client that connects and leaves without pause is accepted no faster than `on_close` is called for its connections: ended
/// connections keep their descriptors until then.
#[test]
fn connections_whose_ends_take_long_do_not_pile_up() {
    let most = most_open(2_000, b"", Duration::ZERO, Duration::from_millis(1));
    assert!(most < 500, "{most} connections were open at once");
}

/// The same for connections whose messages take long: 1,024 of them may wait for a turn, before others come no faster than these go.
#[test]
fn connections_whose_messages_take_long_do_not_pile_up() {
    let most = most_open(4_000, b"x\n", Duration::from_millis(1), Duration::ZERO);
    assert!(most < 2_000, "{most} connections were open at once");
}

/// Answers each line with a source of messages whose completions take long, and notes the most that waited.
#[derive(Clone, Default)]
struct Drawn {
    sent: Arc<AtomicUsize>,
    completed: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

const DRAWN: usize = 2_000;

impl Handler for Drawn {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {
        let drawn = self.clone();
        let source = move |conn: &mut Conn<'_, Lines>| {
            let sent = drawn.sent.fetch_add(1, Ordering::SeqCst) + 1;
            let waiting = sent - drawn.completed.load(Ordering::SeqCst);
            drawn.most.fetch_max(waiting, Ordering::SeqCst);
            let completed = drawn.completed.clone();
            conn.send_then("a", move |_| {
                spin(Duration::from_micros(200));
                completed.fetch_add(1, Ordering::SeqCst);
            });
            match sent < DRAWN {
                true => SourceStep::More,
                false => SourceStep::Done,
            }
        };
        conn.send_from(source);
    }
}

/// A source that sends messages with slow completions is not called again while completions of the last ones wait. Without that the
/// completions became ever more, and a drain waited for all of them.
#[test]
fn a_source_waits_for_the_completions_of_its_messages() {
    let handler = Drawn::default();
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(listen(Lines::new()), handler.clone());
    let server = TestServer::spawn(builder.expect("a free port"));
    let mut peer = server.connect();
    peer.send(b"?\n");
    assert_eq!(peer.receive(2 * DRAWN), "a\n".repeat(DRAWN).as_bytes());
    let most = handler.most.load(Ordering::SeqCst);
    println!("{most} of {DRAWN} completions waited at once");
    assert!(most < DRAWN / 4, "{most} completions waited at once");
}
