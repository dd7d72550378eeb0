//! The memory that the connections of a worker hold together: what is counted, and what happens at its limit.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ringwheel::protocol::{
    Decode, Encode, LengthPrefixed, Lines, Output, PackError, Protocol, Raw, UnpackContext,
    Unpacked,
};
use ringwheel::{ConnHandle, Connections, Limits, Listen, SendStatus, Server, ServerHandle};
use support::{Client, DEADLINE, Event, Events, Hold, Recorder, TestServer, eventually, listen};

const KIB: usize = 1024;
/// The lowest limit that there is.
const LEAST: usize = 1024 * KIB;

fn held(server: &TestServer) -> usize {
    server.handle().memory_per_worker()[0]
}

#[test]
fn kept_input_and_pending_output_count_until_they_are_gone() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder.on_message(
        |conn, _| {
            while conn.send(&[0; 8000]) == SendStatus::Queued {}
        },
    );
    let listen = listen(LengthPrefixed::u32_be()).send_buffer_size(16 * KIB);
    let server = TestServer::start(listen, recorder);
    assert_eq!(held(&server), 0);
    let mut client = server.connect();
    let mut begun = (100_000u32).to_be_bytes().to_vec();
    begun.resize(50_000, 0);
    client.send(&begun);
    eventually("the beginning counts", || held(&server) >= 50_000);
    let mut other = Client::connect_narrow(server.addr());
    other.send(b"\0\0\0\x02go");
    let high_water = Limits::default().high_water;
    eventually("output counts", || held(&server) >= 50_000 + high_water);
    drop(client);
    other.finish();
    assert!(other.receive_rest().len() > high_water);
    eventually("nothing is left", || held(&server) == 0);
    server.finish(&events);
}

/// Letters to many peers in one iteration leave output pending, before the kernel was asked to take it.
#[test]
fn letters_to_peers_that_read_end_nobody() {
    const PEERS: usize = 300;
    const LETTER: usize = 6 * KIB;
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let (handles, opened) = channel();
    let recorder = recorder
        .on_open(move |conn| handles.send(conn.handle()).unwrap())
        .on_message(move |_, _| hold.enter());
    let builder = Server::builder().workers(1).worker_memory(LEAST);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let mut clients: Vec<Client> = (0..PEERS).map(|_| server.connect()).collect();
    let handles: Vec<_> = (0..PEERS)
        .map(|_| opened.recv_timeout(DEADLINE).unwrap())
        .collect();
    clients[0].send(b"wait");
    grip.wait();
    let letter = Bytes::from(vec![7; LETTER]);
    for handle in &handles {
        handle.send(letter.clone()).unwrap();
    }
    grip.release();
    for client in &mut clients {
        assert!(client.receive(LETTER) == letter);
    }
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 0);
    server.finish(&events);
}

/// Obeys: `sub NAME`, `unsub NAME`, and `hoard NAME`, which subscribes to 256 topics whose names begin with it.
fn subscriber() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        let line = std::str::from_utf8(line).expect("a line");
        let (command, name) = line.split_once(' ').expect("a command");
        match command {
            "sub" => assert_eq!(conn.subscribe(name), Ok(true)),
            "unsub" => assert!(conn.unsubscribe(name)),
            _ => {
                for topic in 0..256 {
                    conn.subscribe(&format!("{name}-{topic:05}")).unwrap();
                }
            }
        }
        conn.send("done");
    });
    (recorder, events)
}

#[track_caller]
fn command(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.receive(5), b"done\n");
}

/// What a subscription to a topic with a short name counts: 288 bytes and the name, in multiples of 64.
const SUBSCRIPTION: usize = 320;

/// 256 topics of its own cost a server 700 KB for each connection, which nobody counted.
#[test]
fn subscriptions_count_until_they_end() {
    let (subscriber, events) = subscriber();
    let server = TestServer::start(listen(Lines::new()), subscriber);
    let (mut hoarder, mut other) = (server.connect(), server.connect());
    let counts = |bytes| eventually("it counts", || held(&server) == bytes);
    command(&mut other, "sub news");
    counts(SUBSCRIPTION);
    let long = "a-name-of-more-than-thirty-two-letters";
    command(&mut hoarder, &format!("sub {long}"));
    counts(2 * SUBSCRIPTION + 64);
    command(&mut hoarder, &format!("unsub {long}"));
    command(&mut hoarder, "sub news");
    counts(2 * SUBSCRIPTION);
    command(&mut hoarder, "unsub news");
    counts(SUBSCRIPTION);
    command(&mut hoarder, "hoard 0000");
    counts(257 * SUBSCRIPTION);
    drop(hoarder);
    counts(SUBSCRIPTION);
    drop(other);
    counts(0);
    server.finish(&events);
}

#[test]
fn those_who_subscribe_to_most_are_ended_and_nobody_else() {
    const HOARDERS: usize = 40;
    let (subscriber, events) = subscriber();
    let builder = Server::builder().workers(1).worker_memory(LEAST);
    let server = TestServer::start_on(builder, listen(Lines::new()), subscriber);
    let mut modest = server.connect();
    command(&mut modest, "sub news");
    let mut hoarders = Vec::new();
    for number in 0..HOARDERS {
        let mut hoarder = server.connect();
        hoarder.send(format!("hoard {number:04}\n").as_bytes());
        hoarders.push(hoarder);
    }
    let most_left = LEAST / (256 * SUBSCRIPTION);
    let is_victim =
        |event: &Event| matches!(event, Event::Close(_, ending) if ending.reason == "WorkerMemory");
    eventually("the hoarders are ended", || {
        events.count(is_victim) >= HOARDERS - most_left
    });
    assert!(held(&server) <= LEAST, "{} bytes", held(&server));
    command(&mut modest, "sub weather");
    let is_other = |event: &Event| matches!(event, Event::Close(..)) && !is_victim(event);
    assert_eq!(events.count(is_other), 0);
    drop(hoarders);
    drop(modest);
    eventually("nothing is left", || held(&server) == 0);
    server.finish(&events);
}

/// Answers each line, which is a number, with so many lines of ten bytes. Each has a completion that captures [`CAPTURED`] bytes
/// and counts itself among `called`.
fn completing(called: &Arc<AtomicUsize>) -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let called = called.clone();
    let recorder = recorder.without_messages().on_message(move |conn, line| {
        let answers = std::str::from_utf8(line).unwrap().parse().unwrap();
        for _ in 0..answers {
            let (called, captured) = (called.clone(), [1_u8; CAPTURED]);
            conn.send_then("an answer", move |_| {
                called.fetch_add(usize::from(captured[0]), Ordering::Relaxed);
            });
        }
    });
    (recorder, events)
}

/// Bytes that each completion captures beside the place in which it is counted.
const CAPTURED: usize = 192;

/// Limits that let the output of all answers wait.
fn roomy() -> Listen<Lines> {
    let limits = Limits::default().output(8192 * KIB).high_water(4096 * KIB);
    listen(Lines::new())
        .limits(limits)
        .send_buffer_size(16 * KIB)
}

/// A peer that sends short requests and does not read cost 10 MB of completions, which nobody counted.
#[test]
fn completions_count_until_they_are_called() {
    const REQUESTS: usize = 40_000;
    // What the kernel takes for a peer that does not read is less than half of the answers.
    const WAITING: usize = REQUESTS / 2;
    let called = Arc::default();
    let (completing, events) = completing(&called);
    let server = TestServer::start(roomy(), completing);
    let ask = || {
        let mut client = Client::connect_narrow(server.addr());
        client.send(&b"1\n".repeat(REQUESTS));
        let least = WAITING * (24 + CAPTURED + 32);
        eventually("completions count", || held(&server) >= least);
        client
    };
    let mut reader = ask();
    reader.receive(REQUESTS * 10);
    eventually("all are called", || held(&server) == 0);
    reader.send(b"1\n");
    reader.receive(10);
    eventually("a single one is called", || held(&server) == 0);
    ask().reset();
    eventually("all are dropped", || held(&server) == 0);
    let calls = called.load(Ordering::Relaxed);
    assert!((REQUESTS + 1..=2 * REQUESTS + 1).contains(&calls));
    server.finish(&events);
}

#[test]
fn those_with_most_completions_are_ended_and_nobody_else() {
    let called = Arc::default();
    let (completing, events) = completing(&called);
    let builder = Server::builder().workers(1).worker_memory(LEAST);
    let server = TestServer::start_on(builder, roomy(), completing);
    let mut modest = server.connect();
    modest.send(b"1\n");
    modest.receive(10);
    let mut greedy = Client::connect_narrow(server.addr());
    greedy.send(b"40000\n");
    assert_eq!(events.close_reason(), "WorkerMemory");
    eventually("nothing is left", || held(&server) == 0);
    modest.send(b"1\n");
    modest.receive(10);
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 1);
    server.finish(&events);
    assert_eq!(called.load(Ordering::Relaxed), 40_002);
}

/// A protocol that notes the memory of the worker each time that it writes a message.
#[derive(Clone, Default)]
struct Watched {
    server: Arc<OnceLock<ServerHandle>>,
    most: Arc<AtomicUsize>,
}

struct Deaf;

impl Protocol for Watched {
    type Decoder = Deaf;
    type Encoder = Watched;

    fn open(&self) -> (Deaf, Watched) {
        (Deaf, self.clone())
    }
}

impl Decode for Deaf {
    type Encoder = Watched;
    type Message<'a> = &'a [u8];
    type Error = Infallible;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, Watched>,
    ) -> Result<Unpacked<&'a [u8]>, Infallible> {
        let consumed = input.len();
        Ok(Unpacked::Skip { consumed })
    }
}

impl Encode for Watched {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        output.put_slice(item);
        let held = self.server.get().unwrap().memory_per_worker()[0];
        self.most.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }
}

/// Mail that reaches many connections stays within the limit while it is carried out, and not only afterwards.
#[track_caller]
fn assert_bounded(mail: impl Fn(&Connections<Recorder<Watched>>, &[ConnHandle<Watched>], Bytes)) {
    const PEERS: usize = 200;
    const MESSAGE: usize = 128 * KIB;
    let (recorder, events) = Recorder::<Watched>::new();
    let (handles, opened) = channel();
    let recorder = recorder.on_open(move |conn| {
        conn.subscribe("news").unwrap();
        handles.send(conn.handle()).unwrap();
    });
    let protocol = Watched::default();
    let builder = Server::builder().workers(1).worker_memory(LEAST);
    let listen = listen(protocol.clone()).send_buffer_size(16 * KIB);
    let server = TestServer::start_on(builder, listen, recorder);
    protocol.server.set(server.handle().clone()).unwrap();
    let clients: Vec<Client> = (0..PEERS)
        .map(|_| Client::connect_narrow(server.addr()))
        .collect();
    let handles: Vec<_> = (0..PEERS)
        .map(|_| opened.recv_timeout(DEADLINE).unwrap())
        .collect();
    let all = server
        .handle()
        .connections_of::<Recorder<Watched>>()
        .unwrap();
    mail(&all, &handles, vec![7; MESSAGE].into());
    eventually("the mail is carried out", || {
        let ended = events.count(|event| matches!(event, Event::Close(..)));
        held(&server) > 0 && (PEERS - ended) * MESSAGE / 2 <= LEAST
    });
    let most = protocol.most.load(Ordering::Relaxed);
    assert!((LEAST / 2..=LEAST + 2 * MESSAGE).contains(&most), "{most}");
    let is_other =
        |event: &Event| matches!(event, Event::Close(_, ending) if ending.reason != "WorkerMemory");
    assert_eq!(events.count(is_other), 0);
    drop(clients);
    server.finish(&events);
}

#[test]
fn a_visit_to_peers_that_do_not_read_stays_within_the_limit() {
    assert_bounded(|all, _, message| {
        all.visit(move |conn, _| _ = conn.send(&message)).unwrap();
    });
}

#[test]
fn a_publication_to_peers_that_do_not_read_stays_within_the_limit() {
    assert_bounded(|all, _, message| all.publish("news", message).unwrap());
}

#[test]
fn letters_to_peers_that_do_not_read_stay_within_the_limit() {
    assert_bounded(|_, handles, message| {
        for handle in handles {
            handle.send(message.clone()).unwrap();
        }
    });
}
