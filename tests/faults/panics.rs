//! A panic anywhere in the user's code ends the connection in which it happened, and no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ringwheel::protocol::{
    Decode, Encode, ErrorOf, Farewell, Lines, LinesError, Output, PackError, Parting, Protocol,
    UnpackContext, Unpacked,
};
use ringwheel::{CloseReason, Conn, ConnHandle, Handler, Limits, Server, TimerId};
use support::scale::{report, sized};
use support::{Client, DEADLINE, TestServer, deliberate_panic, eventually, listen};

/// The place where the user's code panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    ProtocolOpen,
    Greet,
    Unpack,
    EndTurn,
    IsWithinMessage,
    NextDeadline,
    OnDeadline,
    Pack,
    PackOwned,
    Farewell,
    OnOpen,
    OnMessage,
    OnDrained,
    OnTimer,
    OnHalfClose,
    OnShutdown,
    OnClose,
    DropOfSession,
    DropOfDecoder,
    DropOfEncoder,
}

/// Makes the next call that passes a chosen place panic there.
#[derive(Clone, Default)]
struct Trap(Arc<AtomicUsize>);

impl Trap {
    fn set(&self, place: Place) {
        self.0.store(place as usize, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst) != Place::Nowhere as usize
    }

    fn pass(&self, place: Place) {
        let (here, nowhere) = (place as usize, Place::Nowhere as usize);
        let sprung = self
            .0
            .compare_exchange(here, nowhere, Ordering::SeqCst, Ordering::SeqCst);
        if sprung.is_ok() {
            deliberate_panic();
        }
    }
}

/// The protocol of lines, which can panic in each of its callbacks.
#[derive(Clone)]
struct Fragile(Trap);

struct FragileDecoder {
    lines: <Lines as Protocol>::Decoder,
    trap: Trap,
    deadline: Option<Duration>,
}

struct FragileEncoder {
    lines: Lines,
    trap: Trap,
}

impl Protocol for Fragile {
    type Decoder = FragileDecoder;
    type Encoder = FragileEncoder;

    fn open(&self) -> (FragileDecoder, FragileEncoder) {
        self.0.pass(Place::ProtocolOpen);
        let trap = self.0.clone();
        let (decoder, lines) = Lines::new().open();
        let decoder = FragileDecoder {
            lines: decoder,
            trap: trap.clone(),
            deadline: None,
        };
        (decoder, FragileEncoder { lines, trap })
    }
}

impl Decode for FragileDecoder {
    type Encoder = FragileEncoder;
    type Message<'a> = &'a str;
    type Error = LinesError;
    const HAS_DEADLINES: bool = true;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, FragileEncoder>,
    ) -> Result<Unpacked<&'a str>, LinesError> {
        self.trap.pass(Place::Unpack);
        let mut output = Output::detached();
        let mut lines = context.encoder.lines;
        let unpacked = self
            .lines
            .unpack(input, &mut UnpackContext::detached(&mut output, &mut lines));
        if let Ok(Unpacked::Message {
            message: "deadline",
            ..
        }) = unpacked
        {
            self.deadline = Some(context.now);
        }
        unpacked
    }

    fn end_turn(&mut self) {
        self.trap.pass(Place::EndTurn);
    }

    fn is_within_message(&self) -> bool {
        self.trap.pass(Place::IsWithinMessage);
        self.lines.is_within_message()
    }

    fn next_deadline(&mut self, _: &mut FragileEncoder, _: Duration) -> Option<Duration> {
        self.trap.pass(Place::NextDeadline);
        self.deadline
    }

    fn on_deadline(&mut self, _: &mut UnpackContext<'_, FragileEncoder>) -> Result<(), LinesError> {
        self.deadline = None;
        self.trap.pass(Place::OnDeadline);
        Ok(())
    }
}

impl Drop for FragileDecoder {
    fn drop(&mut self) {
        self.trap.pass(Place::DropOfDecoder);
    }
}

impl Encode for FragileEncoder {
    type Item<'a> = &'a str;
    type Owned = Arc<str>;

    fn borrow(owned: &Arc<str>) -> &str {
        owned
    }

    fn owned_size(owned: &Arc<str>) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &str, output: &mut Output) -> Result<(), PackError> {
        // Half of the item is written before the panic.
        output.put_slice(b"half of ");
        self.trap.pass(Place::Pack);
        self.lines.pack(item, output)
    }

    fn pack_owned(&mut self, item: &Arc<str>, output: &mut Output) -> Result<(), PackError> {
        self.trap.pass(Place::PackOwned);
        self.lines.pack(item, output)
    }

    fn greet(&mut self, _: &mut Output) {
        self.trap.pass(Place::Greet);
    }

    fn farewell(&mut self, _: Farewell, _: &mut Output) -> Parting {
        self.trap.pass(Place::Farewell);
        Parting::AtOnce
    }
}

impl Drop for FragileEncoder {
    fn drop(&mut self) {
        self.trap.pass(Place::DropOfEncoder);
    }
}

/// A handler that answers lines, obeys some of them, and can panic in each callback.
#[derive(Clone)]
struct Nervous {
    trap: Trap,
    opened: Arc<AtomicUsize>,
    handles: Sender<ConnHandle<Fragile>>,
    closed: Sender<String>,
}

struct Session(Trap);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.pass(Place::DropOfSession);
    }
}

impl Handler for Nervous {
    type Protocol = Fragile;
    type Session = Session;

    fn on_open(&mut self, _conn: &mut Conn<'_, Fragile>) -> Session {
        self.trap.pass(Place::OnOpen);
        self.opened.fetch_add(1, Ordering::SeqCst);
        Session(self.trap.clone())
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Fragile>, _: &mut Session, line: &str) {
        self.trap.pass(Place::OnMessage);
        match line {
            "close" => conn.close(),
            "deadline" => {}
            "timer" => drop(conn.set_timer(Duration::ZERO, 1).expect("the first")),
            "flood" => {
                let part = "x".repeat(32 * 1024);
                while conn.send(&part) == ringwheel::SendStatus::Queued {}
            }
            "handle" => self.handles.send(conn.handle()).expect("a test"),
            "subscribe" => {
                conn.subscribe("topic").expect("the first");
                conn.send(line);
            }
            line => drop(conn.send(line)),
        }
    }

    fn on_close(
        &mut self,
        _conn: &Conn<'_, Fragile>,
        _session: Session,
        reason: CloseReason<ErrorOf<Fragile>>,
    ) {
        self.closed.send(format!("{reason:?}")).expect("a test");
        self.trap.pass(Place::OnClose);
    }

    fn on_drained(&mut self, _conn: &mut Conn<'_, Fragile>, _: &mut Session) {
        self.trap.pass(Place::OnDrained);
    }

    fn on_timer(&mut self, _conn: &mut Conn<'_, Fragile>, _: &mut Session, _: TimerId, _: u64) {
        self.trap.pass(Place::OnTimer);
    }

    fn on_half_close(&mut self, conn: &mut Conn<'_, Fragile>, _: &mut Session) {
        self.trap.pass(Place::OnHalfClose);
        conn.close();
    }

    fn on_shutdown(&mut self, conn: &mut Conn<'_, Fragile>, _: &mut Session) {
        self.trap.pass(Place::OnShutdown);
        conn.close();
    }
}

/// A server with nervous handlers, and one connection that must not be affected.
struct Ward {
    server: TestServer,
    trap: Trap,
    handles: Receiver<ConnHandle<Fragile>>,
    closed: Receiver<String>,
    opened: Arc<AtomicUsize>,
    bystander: Client,
}

impl Ward {
    fn open() -> Self {
        let trap = Trap::default();
        let (lend, handles) = channel();
        let (close, closed) = channel();
        let opened = Arc::default();
        let handler = Nervous {
            trap: trap.clone(),
            opened: Arc::clone(&opened),
            handles: lend,
            closed: close,
        };
        let listen = listen(Fragile(trap.clone()))
            .send_buffer_size(16 * 1024)
            // With this timeout the protocol is asked in each turn if it is within a message.
            .message_timeout(10 * DEADLINE)
            .limits(Limits::default().low_water(16 * 1024).high_water(64 * 1024));
        // A single worker: an uncontained panic would end all connections.
        let server = TestServer::start_on(Server::builder().workers(1), listen, handler);
        let mut bystander = server.connect();
        greet(&mut bystander);
        Ward {
            server,
            trap,
            handles,
            closed,
            opened,
            bystander,
        }
    }

    /// Connects and checks that the connection is served.
    fn connect(&self) -> Client {
        let mut client = self.server.connect();
        greet(&mut client);
        client
    }

    fn handle_of(&self, client: &mut Client) -> ConnHandle<Fragile> {
        client.send(b"handle\n");
        self.handles.recv_timeout(DEADLINE).expect("a handle")
    }

    /// Sets the trap on a new connection, and springs it with `lead`. The connection must end.
    #[track_caller]
    fn lead(&self, place: Place, lead: impl FnOnce(&mut Client)) {
        let mut client = self.connect();
        self.trap.set(place);
        lead(&mut client);
        client.expect_ended();
    }

    /// Sets the trap, and connects. The connection must end while it opens.
    #[track_caller]
    fn lead_in(&self, place: Place) {
        self.trap.set(place);
        self.server.connect().expect_ended();
    }
}

/// Checks that the connection is served.
#[track_caller]
fn greet(client: &mut Client) {
    client.send(b"ping\n");
    assert_eq!(client.receive(13), b"half of ping\n");
}

/// An action that panics on one connection, and the close reason that the handler gets; `None` if `on_open` did not
/// return.
type Case = (fn(&Ward), Option<&'static str>);

/// Sets the trap, and springs it by sending `line`.
fn say(ward: &Ward, place: Place, line: &[u8]) {
    ward.lead(place, |client| client.send(line));
}

const CASES: &[Case] = &[
    (|ward| ward.lead_in(Place::ProtocolOpen), None),
    (|ward| ward.lead_in(Place::Greet), None),
    (|ward| ward.lead_in(Place::OnOpen), None),
    // This connection had opened, so the handler gets its end.
    (|ward| ward.lead_in(Place::NextDeadline), Some("Panic")),
    (|ward| say(ward, Place::Unpack, b"ping\n"), Some("Panic")),
    (|ward| say(ward, Place::OnMessage, b"ping\n"), Some("Panic")),
    (|ward| say(ward, Place::Pack, b"ping\n"), Some("Panic")),
    (|ward| say(ward, Place::EndTurn, b"ping\n"), Some("Panic")),
    // After a message, at the end of a turn without one, and at the peer's end of stream. The last two once ended the
    // worker.
    (
        |ward| say(ward, Place::IsWithinMessage, b"ping\n"),
        Some("Panic"),
    ),
    (
        |ward| say(ward, Place::IsWithinMessage, b"begun"),
        Some("Panic"),
    ),
    (
        |ward| ward.lead(Place::IsWithinMessage, Client::finish),
        Some("Panic"),
    ),
    (
        |ward| say(ward, Place::NextDeadline, b"ping\n"),
        Some("Panic"),
    ),
    (
        |ward| say(ward, Place::OnDeadline, b"deadline\n"),
        Some("Panic"),
    ),
    (|ward| say(ward, Place::OnTimer, b"timer\n"), Some("Panic")),
    (
        |ward| say(ward, Place::OnDrained, b"flood\n"),
        Some("Panic"),
    ),
    (|ward| say(ward, Place::Farewell, b"close\n"), Some("Panic")),
    (
        |ward| ward.lead(Place::OnHalfClose, Client::finish),
        Some("Panic"),
    ),
    (
        |ward| ward.lead(Place::Farewell, Client::finish),
        Some("Panic"),
    ),
    // These callbacks run after the connection's end.
    (
        |ward| ward.lead(Place::OnClose, Client::finish),
        Some("Peer"),
    ),
    (
        |ward| ward.lead(Place::DropOfSession, Client::finish),
        Some("Peer"),
    ),
    (
        |ward| ward.lead(Place::DropOfDecoder, Client::finish),
        Some("Peer"),
    ),
    (
        |ward| ward.lead(Place::DropOfEncoder, Client::finish),
        Some("Peer"),
    ),
    // Calls from other threads.
    (
        |ward| {
            ward.lead(Place::Nowhere, |client| {
                let handle = ward.handle_of(client);
                handle.run(|_| deliberate_panic()).unwrap();
            })
        },
        Some("Panic"),
    ),
    (
        |ward| {
            let mut client = ward.connect();
            let handle = ward.handle_of(&mut client);
            ward.trap.set(Place::NextDeadline);
            handle.run(|_| {}).unwrap();
            client.expect_ended();
        },
        Some("Panic"),
    ),
    (
        |ward| {
            let mut client = ward.connect();
            let handle = ward.handle_of(&mut client);
            ward.trap.set(Place::PackOwned);
            handle.send("owned").unwrap();
            client.expect_ended();
        },
        Some("Panic"),
    ),
    (
        |ward| {
            ward.lead(Place::Nowhere, |client| {
                let handle = ward.handle_of(client);
                handle.send_then("x", |_| deliberate_panic()).unwrap();
            })
        },
        Some("Panic"),
    ),
    (
        |ward| {
            ward.lead(Place::Nowhere, |client| {
                let victim = ward.handle_of(client).id();
                let connections = ward.server.handle().connections_of::<Nervous>().unwrap();
                let visit = move |conn: &mut Conn<'_, Fragile>, _: &mut Session| {
                    if conn.id() == victim {
                        deliberate_panic();
                    }
                };
                connections.visit(visit).unwrap();
            })
        },
        Some("Panic"),
    ),
    (
        |ward| {
            let mut client = ward.connect();
            client.send(b"subscribe\n");
            client.receive(18);
            ward.trap.set(Place::PackOwned);
            let connections = ward.server.handle().connections_of::<Nervous>().unwrap();
            connections.publish("topic", "news").unwrap();
            client.expect_ended();
        },
        Some("Panic"),
    ),
];

#[test]
fn panics_everywhere_in_a_row_end_only_their_own_connections() {
    let panics = sized(CASES.len() * 15, 10_000);
    let mut ward = Ward::open();
    for case in 0..panics {
        let (happen, reason) = CASES[case % CASES.len()];
        happen(&ward);
        if let Some(reason) = reason {
            let closed = ward.closed.recv_timeout(DEADLINE);
            assert_eq!(closed.as_deref(), Ok(reason), "case {}", case % CASES.len());
        }
        eventually("the trap has sprung", || !ward.trap.is_set());
        greet(&mut ward.bystander);
    }
    eventually("only the bystander is left", || {
        ward.server.handle().stats().connections == 1
    });
    // Every connection that opened has closed exactly once.
    assert!(ward.closed.try_recv().is_err());
    let known = (0..panics).filter(|case| CASES[case % CASES.len()].1.is_some());
    assert_eq!(ward.opened.load(Ordering::SeqCst), known.count() + 1);
    ward.server.handle().stop();
    ward.server.join();
    report(
        "panics in a row",
        format_args!(
            "{panics} panics in {} places, a bystander answered after each",
            CASES.len()
        ),
    );
}

#[test]
fn a_panic_in_on_shutdown_does_not_affect_other_connections() {
    let ward = Ward::open();
    let mut clients: Vec<Client> = (0..10).map(|_| ward.connect()).collect();
    ward.trap.set(Place::OnShutdown);
    ward.server.handle().shutdown(DEADLINE);
    clients.iter_mut().for_each(Client::expect_eof);
    drop((clients, ward.bystander));
    ward.server.join();
    let mut reasons: Vec<String> = ward.closed.try_iter().collect();
    reasons.sort();
    assert_eq!(reasons[0], "Panic");
    assert_eq!(reasons[1..], ["Shutdown"; 10]);
    report("a panic in on_shutdown", "the other 10 closed in order");
}

#[test]
fn panics_of_tasks_and_publication_callbacks_end_no_connection() {
    let panics = sized(200, 10_000);
    let mut ward = Ward::open();
    let (ran, has_run) = channel();
    let connections = ward.server.handle().connections_of::<Nervous>().unwrap();
    for _ in 0..panics {
        let ran = ran.clone();
        ward.server.handle().run_after(Duration::ZERO, move || {
            ran.send(()).expect("a test");
            deliberate_panic();
        });
        connections
            .publish_then("nobody", "news", |_| deliberate_panic())
            .unwrap();
        has_run.recv_timeout(DEADLINE).expect("it runs");
    }
    greet(&mut ward.bystander);
    ward.server.handle().stop();
    ward.server.join();
    report(
        "panics in tasks and completions",
        format_args!("{} panics, no connection ended", 2 * panics),
    );
}
