//! One connection floods its worker while many others ping.

use std::io::{Read, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Decode, Encode, Lines, Protocol, Raw};
use ringwheel::{Conn, Handler, Server};
use support::scale::{is_full, report, sized};
use support::{Client, TestServer, listen};

use crate::measure::Times;

/// The number of threads that ping.
const PINGERS: usize = 3;
const LIMIT: Duration = Duration::from_millis(5);

/// Echoes every message.
struct Echo<P>(PhantomData<fn() -> P>);

impl<P> Clone for Echo<P> {
    fn clone(&self) -> Self {
        Echo(PhantomData)
    }
}

impl<P, M> Handler for Echo<P>
where
    M: ?Sized + 'static,
    P: Protocol,
    P::Decoder: for<'a> Decode<Message<'a> = &'a M>,
    P::Encoder: for<'a> Encode<Item<'a> = &'a M>,
{
    type Protocol = P;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, P>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, P>, _session: &mut (), message: &M) {
        conn.send(message);
    }
}

/// Sends without a pause and reads the echo, until `over`. The returned function joins, and returns the bytes sent.
fn flood(client: Client, byte: u8, over: &Arc<AtomicBool>) -> impl FnOnce() -> u64 {
    let flooded = Arc::new(AtomicU64::new(0));
    let (mut writer, reader) = (client.second_half(), client.second_half());
    let (over, counter) = (over.clone(), flooded.clone());
    let writing = thread::spawn(move || {
        let bytes = vec![byte; 256 * 1024];
        while !over.load(Ordering::Relaxed) && writer.try_send(&bytes).is_ok() {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        writer.finish();
    });
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        let mut reader = reader.stream();
        while reader.read(&mut buffer).expect("the flood is echoed") > 0 {}
    });
    move || {
        writing.join().expect("it floods");
        reading.join().expect("it reads");
        drop(client);
        flooded.load(Ordering::Relaxed)
    }
}

/// Pings over each of its clients in turn.
fn ping(mut clients: Vec<Client>, rounds: usize) -> Times {
    let mut times = Times::default();
    for _ in 0..rounds {
        for client in &mut clients {
            let start = Instant::now();
            let mut stream = client.stream();
            stream.write_all(b"ping\n").expect("the server reads");
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).expect("the server answers");
            times.add(start.elapsed());
            assert_eq!(&answer, b"ping\n");
        }
    }
    times
}

/// Pings many connections of a server while one connection floods it with `byte`. `pings` is the small size: the
/// connections of each pinger, and its pings on each of them.
fn ping_beside_a_flood(name: &str, server: TestServer, byte: u8, pings: (usize, usize)) {
    let (each, rounds) = sized(pings, (333, 30));
    let over = Arc::new(AtomicBool::new(false));
    let end_of_flood = flood(server.connect(), byte, &over);
    let pingers: Vec<_> = (0..PINGERS)
        .map(|_| {
            let clients = (0..each).map(|_| server.connect()).collect();
            thread::spawn(move || ping(clients, rounds))
        })
        .collect();
    let mut times = Times::default();
    for pinger in pingers {
        times.append(pinger.join().expect("it is answered"));
    }
    over.store(true, Ordering::Relaxed);
    let flooded = end_of_flood();
    server.handle().stop();
    server.join();
    assert_eq!(times.count(), PINGERS * each * rounds);
    let [half, most] = [50.0, 99.0].map(|percent| times.percentile(percent));
    if is_full() {
        assert!(most < LIMIT, "p99 {most:?}");
    }
    report(
        name,
        format_args!(
            "{} pings of {} connections beside a flood of {} MB: p50 {half:.0?}, p99 {most:.0?}",
            times.count(),
            PINGERS * each,
            flooded / 1_000_000
        ),
    );
}

#[test]
fn neighbours_of_a_flood_are_answered() {
    let server = TestServer::start(listen(Raw), Echo(PhantomData));
    ping_beside_a_flood("one flooding neighbour", server, b'f', (33, 5));
}

#[test]
fn neighbours_of_a_flood_of_the_smallest_messages_are_answered() {
    // Each byte is a message: an empty line.
    let server = TestServer::start(listen(Lines::new()), Echo(PhantomData));
    ping_beside_a_flood(
        "one neighbour flooding with empty lines",
        server,
        b'\n',
        (5, 2),
    );
}

/// Answers pings, and ignores all other lines.
#[derive(Clone)]
struct AnswersPings;

impl Handler for AnswersPings {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        if line == "ping" {
            conn.send(line);
        }
    }
}

/// Keeps the receive buffers of many connections full of short lines, until `over`. Returns the bytes sent.
fn flood_all(clients: &[Client], over: &AtomicBool) -> usize {
    let lines = b"nineteen letters...\n".repeat(3_000);
    let mut flooded = 0;
    // The next byte of each connection's flood.
    let mut places = vec![0; clients.len()];
    while !over.load(Ordering::Relaxed) {
        for (client, place) in clients.iter().zip(&mut places) {
            let mut stream = client.stream();
            // An error means that the connection takes no more for now.
            let taken = stream.write(&lines[*place..]).unwrap_or(0);
            *place = (*place + taken) % lines.len();
            flooded += taken;
        }
        thread::yield_now();
    }
    flooded
}

#[test]
fn a_neighbour_of_many_floods_is_answered() {
    const LIMIT: Duration = Duration::from_millis(100);
    let (floods, rounds) = sized((100, 50), (1_000, 1_000));
    let builder = Server::builder().workers(1);
    let server = TestServer::start_on(builder, listen(Lines::new()), AnswersPings);
    let clients: Vec<Client> = (0..floods).map(|_| server.connect()).collect();
    for client in &clients {
        client.stream().set_nonblocking(true).unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let flooding = thread::spawn(move || flood_all(&clients, &until));
    let mut times = ping(vec![server.connect()], rounds);
    over.store(true, Ordering::Relaxed);
    let flooded = flooding.join().expect("it floods");
    server.handle().stop();
    server.join();
    let [half, most] = [50.0, 99.0].map(|percent| times.percentile(percent));
    if is_full() {
        assert!(most < LIMIT, "p99 {most:?}");
    }
    report(
        "many flooding neighbours",
        format_args!(
            "{rounds} pings beside {floods} floods of {} MB together: p50 {half:.0?}, p99 {most:.0?}",
            flooded / 1_000_000
        ),
    );
}
