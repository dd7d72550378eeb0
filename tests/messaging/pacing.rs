//! Connections that make their handler post: each is paced by its own mail, and nobody waits for the mail of another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, current_worker};
use ringwheel::{ConnHandle, ConnId, Connections, Handler, SendError, Server, ServerBuilder};
use ringwheel::{Limits, Listen};
use support::{
    Client, DEADLINE, Hold, Recorder, TestServer, eventually, lending, listen, take, worker_of,
};

/// `join` subscribes to the words, `shout` broadcasts, `post` sends a letter to the other worker, and `where` asks for the worker's
/// index. `lend` names the connection through which each `borrow` publishes a word. Anything else is published as a word, and one
/// that begins with `count` is counted.
struct Square {
    all: Connections<Square>,
    posted: Arc<AtomicUsize>,
    lent: Arc<OnceLock<ConnId>>,
}

impl Handler for Square {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _: &mut (), line: &str) {
        let here = current_worker().expect("a worker");
        match line {
            "join" => {
                conn.subscribe("words").unwrap();
                conn.send("joined");
            }
            // A handler that does not care whether it is heard.
            "shout" => _ = self.all.broadcast("!"),
            "post" => {
                self.posted.fetch_add(1, Ordering::Relaxed);
                self.all.on_worker(1 - here, |_, _| {}).unwrap();
            }
            "where" => _ = conn.send(&here.to_string()),
            "lend" => self.lent.set(conn.id()).unwrap(),
            "borrow" => {
                let (lent, posted) = (*self.lent.get().unwrap(), self.posted.clone());
                let publish = move |_: &mut Square, conn: &mut Conn<'_, Lines>, _: &mut ()| {
                    posted.fetch_add(1, Ordering::Relaxed);
                    conn.publish("words", "word").unwrap();
                };
                self.all.run(lent, publish).unwrap();
            }
            word => {
                if word.starts_with("count ") {
                    self.posted.fetch_add(1, Ordering::Relaxed);
                }
                let _ = conn.publish("words", word);
            }
        }
    }
}

fn square(builder: ServerBuilder) -> (TestServer, Arc<AtomicUsize>) {
    square_on(builder, listen(Lines::new()))
}

fn square_on(builder: ServerBuilder, listen: Listen<Lines>) -> (TestServer, Arc<AtomicUsize>) {
    let posted = Arc::new(AtomicUsize::new(0));
    let (counter, lent) = (posted.clone(), Arc::<OnceLock<ConnId>>::default());
    let builder = builder
        .listen_with_factory(listen, move |start| Square {
            all: start.server().connections_of().unwrap(),
            posted: counter.clone(),
            lent: lent.clone(),
        })
        .unwrap();
    (TestServer::spawn(builder), posted)
}

/// Sends a line again and again, as fast as the server reads, until it is told to stop.
fn flood(mut client: Client, line: &str, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (lines, stop) = (line.repeat(1_000), stop.clone());
    thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            sent = (sent + client.fill(&lines.as_bytes()[sent..])) % lines.len();
            thread::yield_now();
        }
    })
}

/// Receives lines until this one comes. False if that takes too long.
fn hears(client: &mut Client, heard: &mut Vec<u8>, line: &[u8]) -> bool {
    let start = Instant::now();
    loop {
        if let Some(at) = heard.windows(line.len()).position(|it| it == line) {
            heard.drain(..at + line.len());
            return true;
        }
        // What is behind the last line may be the beginning of this one.
        heard.drain(..heard.len().saturating_sub(line.len()));
        if start.elapsed() > DEADLINE {
            return false;
        }
        heard.extend(client.receive_some(64 * 1024));
    }
}

/// The flooders' broadcasts fill the mailbox, and most are refused. They must not be served faster for that than somebody who
/// publishes a word now and then.
#[test]
fn a_flood_of_broadcasts_does_not_shut_out_a_publisher() {
    const MEMBERS: usize = 40;
    for workers in [1, 2] {
        let builder = Server::builder().workers(workers).mailbox_limit(1_000);
        let (server, _) = square(builder);
        let stop = Arc::new(AtomicBool::new(false));
        let read = |mut client: Client| thread::spawn(move || _ = client.drain());
        let mut readers: Vec<_> = (0..MEMBERS).map(|_| read(server.connect())).collect();
        let mut listener = server.connect();
        listener.send(b"join\n");
        let mut heard = Vec::new();
        assert!(hears(&mut listener, &mut heard, b"joined\n"));
        let flooders: Vec<_> = (0..3)
            .map(|_| {
                let client = server.connect();
                readers.push(read(client.second_half()));
                flood(client, "shout\n", &stop)
            })
            .collect();
        assert!(hears(&mut listener, &mut heard, b"!\n"));
        let mut publisher = server.connect();
        readers.push(read(publisher.second_half()));
        for number in 0..40 {
            let word = format!("word {number}\n");
            publisher.send(word.as_bytes());
            let is_heard = hears(&mut listener, &mut heard, word.as_bytes());
            assert!(is_heard, "{word} was not heard, with {workers} workers");
        }
        stop.store(true, Ordering::Relaxed);
        flooders.into_iter().for_each(|it| it.join().unwrap());
        server.handle().stop();
        readers.into_iter().for_each(|it| it.join().unwrap());
    }
}

#[test]
fn a_connection_is_not_read_while_much_of_its_mail_is_on_its_way() {
    const LETTERS: usize = 5_000;
    let (server, posted) = square(Server::builder().workers(2));
    let mut poster = server.connect();
    let here = worker_of(&mut poster);
    let mut other = server.connect_to_worker(here);
    let all = server.handle().connections_of::<Square>().unwrap();
    let grip = Hold::worker(&all, 1 - here);
    poster.send("post\n".repeat(LETTERS).as_bytes());
    eventually("the first letters are posted", || {
        posted.load(Ordering::Relaxed) > 0
    });
    // Each answer takes an iteration, in which the poster would have a turn.
    for _ in 0..100 {
        assert_eq!(worker_of(&mut other), here);
    }
    let count = posted.load(Ordering::Relaxed);
    assert!(count < LETTERS / 2, "{count} letters are posted");
    grip.release();
    eventually("all letters are posted", || {
        posted.load(Ordering::Relaxed) == LETTERS
    });
}

/// Each publisher has far less on its way than it may, so that a subscriber which reads at a few hundred kilobytes per second would have to be
/// given up, if they were many.
#[test]
fn publishers_wait_together_while_much_waits_for_a_slow_subscriber() {
    const PUBLISHERS: usize = 8;
    const WORDS: usize = 30;
    const LENGTH: usize = 20_000;
    let limits = Limits::default().patience(DEADLINE);
    let listen = listen(Lines::new())
        .limits(limits)
        .send_buffer_size(16 * 1024);
    let (server, posted) = square_on(Server::builder().workers(1), listen);
    let mut slow = Client::connect_narrow(server.addr());
    slow.send(b"join\n");
    assert_eq!(slow.receive(7), b"joined\n");
    let word =
        |publisher, number| format!("count {publisher} {number:0width$}\n", width = LENGTH - 9);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut client = server.connect();
            let words: String = (0..WORDS).map(|number| word(publisher, number)).collect();
            thread::spawn(move || {
                client.send(words.as_bytes());
                client
            })
        })
        .collect();
    // The high-water mark, what the kernel takes, and what may wait.
    let few = || posted.load(Ordering::Relaxed) >= 12;
    eventually("words wait", few);
    // Each answer takes an iteration, in which the publishers would have turns.
    let mut other = server.connect();
    (0..200).for_each(|_| _ = worker_of(&mut other));
    let count = posted.load(Ordering::Relaxed);
    assert!(count < 60, "{count} words are published");
    let mut heard = [0; PUBLISHERS];
    for _ in 0..PUBLISHERS * WORDS {
        let line = slow.receive(LENGTH);
        let publisher = usize::from(line[6] - b'0');
        assert!(line == word(publisher, heard[publisher]).as_bytes());
        heard[publisher] += 1;
    }
    assert_eq!(heard, [WORDS; PUBLISHERS]);
    publishers
        .into_iter()
        .for_each(|it| drop(it.join().unwrap()));
}

/// A closure publishes through another connection. The publication counts as mail of the connection that has posted the closure.
#[test]
fn what_posted_code_publishes_counts_with_its_poster() {
    const LETTERS: usize = 5_000;
    for lent_on in [0, 1] {
        let (server, published) = square(Server::builder().workers(3));
        let mut poster = server.connect_to_worker(0);
        let mut lent = server.connect_to_worker(lent_on);
        let mut other = server.connect_to_worker(0);
        lent.send(b"lend\nword\n");
        assert_eq!(worker_of(&mut lent), lent_on);
        let all = server.handle().connections_of::<Square>().unwrap();
        let grip = Hold::worker(&all, 2);
        poster.send("borrow\n".repeat(LETTERS).as_bytes());
        eventually("the first words are published", || {
            published.load(Ordering::Relaxed) > 0
        });
        // Each answer takes an iteration, in which the poster would have a turn.
        for _ in 0..50 {
            lent.send(b"word\n");
            worker_of(&mut lent);
            worker_of(&mut other);
            if published.load(Ordering::Relaxed) > LETTERS / 2 {
                break;
            }
        }
        let count = published.load(Ordering::Relaxed);
        assert!(count < LETTERS / 2, "{count} words, lent on {lent_on}");
        grip.release();
        eventually("all words are published", || {
            published.load(Ordering::Relaxed) == LETTERS
        });
    }
}

/// What a connection publishes does not wait behind the letters of a thread, which may be half of the mailboxes.
#[test]
fn a_publication_overtakes_the_letters_of_threads() {
    const LETTERS: usize = 5_000;
    let (server, _) = square(Server::builder().workers(2));
    let mut publisher = server.connect();
    let here = worker_of(&mut publisher);
    let mut member = server.connect_to_worker(1 - here);
    member.send(b"join\n");
    assert_eq!(member.receive(7), b"joined\n");
    let all = server.handle().connections_of::<Square>().unwrap();
    let grip = Hold::worker(&all, 1 - here);
    // More than an iteration carries out.
    let put = |count: usize| (0..count).for_each(|_| all.on_worker(1 - here, |_, _| {}).unwrap());
    put(LETTERS);
    let (hold, second) = Hold::new();
    all.on_worker(1 - here, move |_, _| hold.enter()).unwrap();
    put(LETTERS);
    publisher.send(b"word\n");
    // The answer comes behind the publication.
    assert_eq!(worker_of(&mut publisher), here);
    grip.release();
    assert_eq!(member.receive(5), b"word\n");
    second.wait();
    second.release();
}

/// Puts in letters until one is refused, on a worker that is held up and has three connections. Returns their number.
fn fill(
    put: impl Fn(&Connections<Recorder<Raw>>, &[ConnHandle<Raw>]) -> Result<(), SendError<()>>,
) -> usize {
    let (recorder, _events) = Recorder::<Raw>::new();
    let (recorder, lent) = lending(recorder);
    let builder = Server::builder().workers(1).mailbox_limit(6_000);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let _clients = [server.connect(), server.connect(), server.connect()];
    let handles = [take(&lent), take(&lent), take(&lent)];
    let all = server.handle().connections_of().unwrap();
    let (hold, grip) = Hold::new();
    handles[0].run(move |_| hold.enter()).unwrap();
    grip.wait();
    let mut count = 0;
    while put(&all, &handles).is_ok() {
        count += 1;
    }
    grip.release();
    server.handle().stop();
    count
}

/// A thread that broadcasts holds up the letters of others no longer than one that sends: half of the places, by connections
/// that are reached.
#[test]
fn a_letter_takes_a_place_for_each_connection_that_it_reaches() {
    let hello = || Bytes::from_static(b"hello");
    assert_eq!(fill(|_, handles| handles[0].run(|_| {})), 3_000);
    assert_eq!(
        fill(|all, handles| all.run(handles[0].id(), |_, _, _| {})),
        3_000
    );
    assert_eq!(fill(|all, _| all.publish("topic", hello())), 3_000);
    assert_eq!(fill(|all, _| all.count_subscribers("topic", drop)), 3_000);
    assert_eq!(fill(|all, _| all.broadcast(hello())), 1_000);
    assert_eq!(fill(|all, _| all.visit(|_, _| {})), 1_000);
    assert_eq!(fill(|all, _| all.on_worker(0, |_, _| {})), 1_000);
    assert_eq!(fill(|all, _| all.on_each_worker(|_, _| {})), 1_000);
    let two = |handles: &[ConnHandle<Raw>]| [handles[0].id(), handles[1].id()];
    assert_eq!(
        fill(|all, handles| all.send_to_all_of(&two(handles), hello())),
        1_500
    );
}
