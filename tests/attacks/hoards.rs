//! Many peers that each stay within the limits of a connection, and together make a worker hold too much.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ringwheel::protocol::LengthPrefixed;
use ringwheel::websocket::WebSocket;
use ringwheel::{Server, ServerBuilder};
use support::scale::{KIB, MIB, report, sized};
use support::websocket::{Frame, Peer, from_client};
use support::{Child, Client, TestServer, eventually, listen};

use crate::tally::Counts;
use crate::victim::{self, Victim};

const BOUND: usize = 8 * MIB;
/// Bytes that each hoarder makes the server hold, at least.
const HOARD: usize = 180 * KIB;
/// What a worker may hold beyond its bound while a turn is under way.
const TURN: usize = MIB;

/// The ways to make a server hold memory.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A message whose end does not come.
    Input,
    /// Fragments of a message whose last one does not come.
    Fragments,
    /// Answers that are not read.
    Output,
}

const KINDS: [Kind; 3] = [Kind::Input, Kind::Fragments, Kind::Output];

fn serve(counts: &Counts) -> ServerBuilder {
    let plain = listen(LengthPrefixed::u32_be()).send_buffer_size(16 * KIB);
    let builder = Server::builder().workers(1).worker_memory(BOUND);
    let builder = builder.listen_with(plain, counts.echo()).unwrap();
    let websocket = listen(WebSocket::new());
    builder.listen_with(websocket, counts.echo()).unwrap()
}

impl Kind {
    /// Connects and has the server hold as much as it can, or until it ends the connection.
    fn hoard(self, [plain, websocket]: [SocketAddr; 2]) -> Client {
        match self {
            Kind::Input => {
                let mut client = Client::connect(plain);
                let mut begun = (MIB as u32).to_be_bytes().to_vec();
                begun.resize(HOARD, b'x');
                let _ = client.try_send(&begun);
                client
            }
            Kind::Fragments => {
                let client = Client::connect(websocket);
                let mut client = Peer::open_over(client).client;
                let fragment = |frame: Frame| from_client(&[frame.fragment()]);
                let _ = client.try_send(&fragment(Frame::binary(vec![1; HOARD / 2])));
                let _ = client.try_send(&fragment(Frame::continuation(vec![2; HOARD / 2])));
                client
            }
            Kind::Output => {
                let mut client = Client::connect_narrow(plain);
                let mut question = (32 * KIB as u32).to_be_bytes().to_vec();
                question.resize(4 + 32 * KIB, b'?');
                for _ in 0..8 {
                    let _ = client.try_send(&question);
                }
                client
            }
        }
    }
}

fn held(server: &TestServer) -> usize {
    server.handle().memory_per_worker()[0]
}

/// Asks and is answered until the end, and notes the most that the worker holds meanwhile. Returns the number of answers.
fn ask_until(stop: &AtomicBool, server: &TestServer, most: &AtomicUsize) -> usize {
    let mut client = server.connect();
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) || answers == 0 {
        let question = b"\0\0\0\x0bhow are you";
        assert_eq!(client.ask(question), question);
        most.fetch_max(held(server), Ordering::Relaxed);
        answers += 1;
        thread::sleep(Duration::from_millis(1));
    }
    answers
}

/// Sets a flag when it is dropped, also by a failing test.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn hoarders_are_ended_and_nobody_else() {
    let of_each_kind = sized(60, 1000);
    let counts = Counts::default();
    let server = TestServer::spawn(serve(&counts));
    let addresses = [0, 1].map(|listener| server.addr_of(listener));
    // It is within a message all the time, as the hoarders are, but within its share, too.
    let mut modest = server.connect();
    modest.send(b"\0\0\0\x06mod");

    let (stop, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (answers, hoarders) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask_until(&stop, &server, &most));
        let stopping = Stop(&stop);
        let kinds = KINDS.iter().cycle().take(of_each_kind * KINDS.len());
        let hoarders: Vec<Client> = kinds.map(|kind| kind.hoard(addresses)).collect();
        let left = |count: usize| count * HOARD <= BOUND;
        eventually("the hoarders are ended", || {
            left(hoarders.len() - counts.ended("WorkerMemory") as usize)
        });
        drop(stopping);
        (asking.join().unwrap(), hoarders)
    });
    let most = most.load(Ordering::Relaxed);
    assert!((BOUND / 2..=BOUND + TURN).contains(&most), "{most} bytes");
    let ended = counts.ended("WorkerMemory");
    eventually("only hoarders have ended, and the one that asked", || {
        counts.closed() == counts.ended("WorkerMemory") + 1
    });
    modest.send(b"est");
    assert_eq!(modest.receive(10), b"\0\0\0\x06modest");

    let count = hoarders.len();
    drop(hoarders);
    eventually("the rest is let go", || held(&server) == 0);
    counts.finish(server);
    report(
        "hoarders_are_ended_and_nobody_else",
        format_args!(
            "{count} hoarders of {HOARD} bytes, {ended} ended, at most {most} bytes held, limit {BOUND}, {answers} answers meanwhile"
        ),
    );
}

/// True if the server has ended the connection, of a peer that is sent nothing.
fn has_ended(client: &Client) -> bool {
    let mut stream = client.stream();
    stream.set_nonblocking(true).expect("a socket");
    let outcome = stream.read(&mut [0]);
    !outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The account of the worker's memory agrees with the kernel's.
#[test]
fn the_process_takes_little_more_than_the_bound() {
    const NAME: &str = "hoards::the_process_takes_little_more_than_the_bound";
    if Child::is_here() {
        let counts = Counts::default();
        return victim::serve(serve(&counts), &counts);
    }
    let of_each_kind = sized(150, 500);
    let victim = Victim::start(NAME, 2048);
    let addresses = [0, 1].map(|listener| victim.addr_of(listener));
    let memory = victim.watch_memory();
    let kinds = [Kind::Input, Kind::Fragments];
    let kinds = kinds.iter().cycle().take(of_each_kind * kinds.len());
    let hoarders: Vec<Client> = kinds.map(|kind| kind.hoard(addresses)).collect();
    eventually("the hoarders are ended", || {
        let left = hoarders.iter().filter(|client| !has_ended(client));
        left.count() * HOARD <= BOUND
    });
    let growth = memory.growth();
    // Freed memory stays with the allocator where other memory lies behind it.
    assert!((BOUND / 2..=3 * BOUND).contains(&growth), "{growth} bytes");
    let count = hoarders.len();
    drop(hoarders);
    let (counts, ..) = victim.end();
    assert!(counts.ended("WorkerMemory") > 0);
    report(
        NAME,
        format_args!("{count} hoarders of {HOARD} bytes, growth {growth} bytes, limit {BOUND}"),
    );
}
