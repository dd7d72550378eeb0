//! Many threads send to connections that come and go: no message may reach another connection, and the counts must add
//! up.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use ringwheel::protocol::{ErrorOf, Raw};
use ringwheel::{CloseReason, Conn, ConnHandle, Handler, SendError, SendOutcome, Server};
use support::scale::{report, sized};
use support::{Client, Random, TestServer, eventually, listen};

use crate::measure::source;

const SENDERS: u64 = 8;
/// Connections that are open at a time.
const CLIENTS: usize = 32;
/// Messages sent to one connection before it is closed.
const LIFE: u64 = 2000;
/// Length of a message: the number of the connection that it is for.
const MESSAGE: usize = 8;

/// A connection as the sending threads see it.
struct Target {
    /// Unique for the whole test, unlike slots and descriptors.
    number: u64,
    handle: ConnHandle<Raw>,
    sent: AtomicU64,
    /// The number of its messages that were handed to the kernel.
    written: Arc<AtomicU64>,
}

/// The open connections. May briefly contain closed ones.
#[derive(Clone, Default)]
struct Targets {
    open: Arc<Mutex<Vec<Arc<Target>>>>,
    opened: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

/// A handler that sends each connection its number, and lends its handle to the senders.
#[derive(Clone)]
struct Lender(Targets);

impl Handler for Lender {
    type Protocol = Raw;
    type Session = Arc<Target>;

    fn on_open(&mut self, conn: &mut Conn<'_, Raw>) -> Arc<Target> {
        let number = self.0.opened.fetch_add(1, Ordering::Relaxed);
        conn.send(&number.to_le_bytes());
        let target = Arc::new(Target {
            number,
            handle: conn.handle(),
            sent: AtomicU64::new(0),
            written: Arc::default(),
        });
        self.0.open.lock().unwrap().push(target.clone());
        target
    }

    fn on_message(&mut self, _: &mut Conn<'_, Raw>, _: &mut Arc<Target>, _: &[u8]) {}

    fn on_close(&mut self, _: &Conn<'_, Raw>, target: Arc<Target>, _: CloseReason<ErrorOf<Raw>>) {
        let mut open = self.0.open.lock().unwrap();
        open.retain(|other| !Arc::ptr_eq(other, &target));
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts of the outcomes of sends.
#[derive(Default)]
struct Tally {
    attempted: AtomicU64,
    taken: AtomicU64,
    closed: AtomicU64,
    full: AtomicU64,
    written: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// The number of sends whose outcome was reported.
    fn completed(&self) -> u64 {
        Self::of(&self.written) + Self::of(&self.refused) + Self::of(&self.lost)
    }
}

/// Makes `sends` sends to random connections. A connection that has got [`LIFE`] messages is closed.
fn send(targets: &Targets, tally: &Arc<Tally>, sends: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut target = None::<Arc<Target>>;
    for _ in 0..sends {
        // Keeps one connection for a while, even after it has closed.
        if target.is_none() || random.below(16) == 0 {
            target = pick(targets, &mut random).or(target);
        }
        let Some(target) = &target else {
            thread::yield_now();
            continue;
        };
        Tally::add(&tally.attempted);
        let (told, written) = (tally.clone(), target.written.clone());
        let done = move |delivery| match delivery {
            SendOutcome::Written => {
                Tally::add(&told.written);
                Tally::add(&written);
            }
            SendOutcome::Refused(_) => Tally::add(&told.refused),
            SendOutcome::Lost => Tally::add(&told.lost),
        };
        let message = Bytes::copy_from_slice(&target.number.to_le_bytes());
        match target.handle.send_then(message, done) {
            Ok(()) => Tally::add(&tally.taken),
            Err(SendError::Full(_)) => {
                Tally::add(&tally.full);
                thread::yield_now();
            }
            Err(_) => Tally::add(&tally.closed),
        }
        match target.sent.fetch_add(1, Ordering::Relaxed) {
            // Half of the connections are closed in order, the others by a reset.
            LIFE if target.number % 2 == 0 => drop(target.handle.close()),
            LIFE => drop(target.handle.abort()),
            _ => {}
        }
    }
}

fn pick(targets: &Targets, random: &mut Random) -> Option<Arc<Target>> {
    let open = targets.open.lock().unwrap();
    match open.len() {
        0 => None,
        count => Some(open[random.below(count)].clone()),
    }
}

/// Connects again and again, and checks that every message is for this connection. Returns the number of messages
/// received.
fn come_and_go(address: SocketAddr, client: usize, over: &AtomicBool) -> u64 {
    let mut messages = 0;
    let mut random = Random::new(client as u64);
    let mut round = client;
    while !over.load(Ordering::Relaxed) {
        let client = Client::connect_from(source(round).into(), address);
        round += CLIENTS;
        // One in four clients closes by itself after some bytes.
        let leaves_after = match random.below(4) {
            0 => random.below(1000),
            _ => usize::MAX,
        };
        messages += read_own(client.stream(), leaves_after, over);
        if random.below(2) == 0 {
            client.reset();
        }
    }
    messages
}

fn read_own(mut stream: &TcpStream, leaves_after: usize, over: &AtomicBool) -> u64 {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < leaves_after {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}, over: {over:?}"),
        }
    }
    let messages: Vec<&[u8]> = bytes.chunks_exact(MESSAGE).collect();
    let Some(own) = messages.first() else {
        return 0;
    };
    assert!(
        messages.iter().all(|message| message == own),
        "a message for another connection arrived"
    );
    messages.len() as u64 - 1
}

#[test]
fn sends_by_many_threads_to_connections_that_come_and_go_add_up() {
    let sends = sized(200_000, 10_000_000) / SENDERS;
    let targets = Targets::default();
    let server = TestServer::start_on(
        // A small mailbox, so that most letters find their connection still open.
        Server::builder().workers(2).mailbox_limit(1024),
        listen(Raw),
        Lender(targets.clone()),
    );
    let (tally, over) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let address = server.addr();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let over = over.clone();
            thread::spawn(move || come_and_go(address, client, &over))
        })
        .collect();
    eventually("some connections have opened", || {
        !targets.open.lock().unwrap().is_empty()
    });
    let senders: Vec<_> = (0..SENDERS)
        .map(|seed| {
            let (targets, tally) = (targets.clone(), tally.clone());
            thread::spawn(move || send(&targets, &tally, sends, seed))
        })
        .collect();
    for sender in senders {
        sender.join().expect("it sends");
    }
    over.store(true, Ordering::Relaxed);
    server.handle().shutdown(support::DEADLINE);
    let received: u64 = clients
        .into_iter()
        .map(|client| client.join().expect("the client got only its own messages"))
        .sum();
    server.join();

    let of = Tally::of;
    let attempted = of(&tally.attempted);
    assert_eq!(
        attempted,
        of(&tally.taken) + of(&tally.closed) + of(&tally.full)
    );
    // Every attempt had exactly one outcome.
    assert_eq!(attempted, tally.completed());
    assert!(received <= of(&tally.written));
    let (opened, closed) = (of(&targets.opened), of(&targets.closed));
    assert_eq!(opened, closed);
    report(
        "sends by 8 threads to connections that come and go",
        format_args!(
            "{attempted} sends to {opened} connections: {} written, {} refused, {} lost, {} to those that had gone, {} that \
             found the mailbox full; {received} received, none by another",
            of(&tally.written),
            of(&tally.refused),
            of(&tally.lost) - of(&tally.closed) - of(&tally.full),
            of(&tally.closed),
            of(&tally.full),
        ),
    );
}
