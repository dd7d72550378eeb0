//! Floods through what connections share: topics and mailboxes.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, LocalConnections, Server};
use support::scale::{KIB, MIB, is_full, milliseconds, report, sized};
use support::{Child, Client, Hold, TestServer, eventually, listen};

use crate::tally::Counts;
use crate::victim::{self, Victim};

/// `join ROOM` subscribes; anything else is published to the room that was joined.
#[derive(Clone, Default)]
pub(crate) struct Rooms {
    /// Number of publications that were not taken by all workers.
    refused: Arc<AtomicUsize>,
    joined: Arc<AtomicUsize>,
    published: Arc<AtomicUsize>,
}

impl Rooms {
    /// Number of members that have joined a room.
    pub(crate) fn joined(&self) -> usize {
        self.joined.load(Ordering::Relaxed)
    }

    /// Number of lines that members have published.
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Relaxed)
    }
}

impl Handler for Rooms {
    type Protocol = Lines;
    type Session = String;

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) -> String {
        String::new()
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, room: &mut String, line: &str) {
        if let Some(name) = line.strip_prefix("join ") {
            *room = name.to_owned();
            conn.subscribe(name).unwrap();
            self.joined.fetch_add(1, Ordering::Relaxed);
        } else if conn.publish(room, line).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            self.published.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_tick(&mut self, connections: &mut LocalConnections<'_, Self>) {
        connections.for_each(|_conn, _room| {});
    }

    fn on_shutdown(&mut self, conn: &mut Conn<'_, Lines>, _room: &mut String) {
        conn.send("bye");
        conn.close();
    }
}

#[track_caller]
fn join(server: &TestServer, rooms: &Rooms, room: &str, members: usize) -> Vec<Client> {
    let before = rooms.joined.load(Ordering::Relaxed);
    let clients = (0..members)
        .map(|_| {
            let mut client = server.connect();
            client.send(format!("join {room}\n").as_bytes());
            client
        })
        .collect();
    eventually("all have joined", || {
        rooms.joined.load(Ordering::Relaxed) == before + members
    });
    clients
}

/// Lets `flooders` members of a room of 100 publish as fast as they can, and the members of another room talk. Returns the times
/// that messages of the other room took.
fn flood(workers: usize, flooders: usize) -> Vec<Duration> {
    const LISTENERS: usize = 100;
    let each = sized(20_000, 400_000) / flooders;
    let words = sized(200, 2_000);
    let rooms = Rooms::default();
    let builder = Server::builder().workers(workers);
    let server = TestServer::start_on(builder, listen(Lines::new()), rooms.clone());
    let loud = join(&server, &rooms, "loud", LISTENERS);
    let mut quiet = join(&server, &rooms, "quiet", 5);
    let readers: Vec<_> = loud
        .into_iter()
        .enumerate()
        .map(|(number, mut client)| {
            let writer = (number < flooders).then(|| {
                let mut writer = client.second_half();
                thread::spawn(move || writer.send("noise!\n".repeat(each).as_bytes()))
            });
            thread::spawn(move || {
                let heard = client.receive(7 * each * flooders);
                assert!(heard.chunks(7).all(|line| line == b"noise!\n"));
                writer.into_iter().for_each(|writer| writer.join().unwrap());
            })
        })
        .collect();
    let mut times = Vec::new();
    for word in 0..words {
        let line = format!("word {word:06}\n");
        let start = Instant::now();
        quiet[0].send(line.as_bytes());
        for member in &mut quiet {
            assert_eq!(member.receive(line.len()), line.as_bytes());
        }
        times.push(start.elapsed());
    }
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
    assert_eq!(
        rooms.refused.load(Ordering::Relaxed),
        0,
        "publications refused"
    );
    times.sort_unstable();
    times
}

#[test]
fn a_flooded_room_does_not_hold_up_another_and_loses_nothing() {
    for (flooders, most) in [(1, 5), (10, 50)] {
        for workers in [1, 2] {
            let times = flood(workers, flooders);
            let (half, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
            report(
                "rooms",
                format_args!(
                    "beside {flooders} flooders, {workers} workers: a word takes {}, p99 {}",
                    milliseconds(half),
                    milliseconds(p99)
                ),
            );
            assert!(!is_full() || p99 < Duration::from_millis(most), "{p99:?}");
        }
    }
}

/// Lets `flooders` of the 200 members of a room publish as fast as they can. Returns the numbers of their publications that came
/// between those of another member, who publishes one after another.
fn flood_own_room(flooders: usize, words: usize) -> Vec<usize> {
    const MEMBERS: usize = 200;
    let rooms = Rooms::default();
    let builder = Server::builder().workers(1);
    let server = TestServer::start_on(builder, listen(Lines::new()), rooms.clone());
    let mut members = join(&server, &rooms, "loud", MEMBERS);
    let mut speaker = members.pop().unwrap();
    let floods: Vec<_> = members
        .iter_mut()
        .take(flooders)
        .map(|member| {
            let mut writer = member.second_half();
            thread::spawn(move || while writer.try_send(&b"noise!\n".repeat(100)).is_ok() {})
        })
        .collect();
    let listeners: Vec<_> = members
        .into_iter()
        .map(|member| {
            thread::spawn(move || {
                // It ends with the server.
                let _ = std::io::copy(&mut member.stream(), &mut std::io::sink());
            })
        })
        .collect();
    let between = (0..words).map(|_| {
        speaker.send(b"a word\n");
        let lines = std::iter::repeat_with(|| speaker.receive(7));
        lines.take_while(|line| line != b"a word\n").count()
    });
    let between = between.collect();
    drop(server);
    floods.into_iter().for_each(|it| it.join().unwrap());
    listeners.into_iter().for_each(|it| it.join().unwrap());
    assert_eq!(rooms.refused.load(Ordering::Relaxed), 0);
    between
}

/// Each flooder may have 64 publications on their way, but not all of them at one time: where many wait, each waits for its own.
#[test]
fn many_who_flood_a_room_delay_others_little_more_than_one_does() {
    let flooders = sized(20, 100);
    let mut between = flood_own_room(flooders, sized(20, 200));
    between.sort_unstable();
    let half = between[between.len() / 2];
    report(
        "rooms",
        format_args!(
            "beside {flooders} flooders of the same room a word comes behind {half} of theirs, at most {}",
            between[between.len() - 1]
        ),
    );
    assert!(half < 64 * flooders / 3, "{between:?}");
}

#[test]
fn a_shutdown_keeps_its_time_whatever_waits() {
    const TIME: Duration = Duration::from_secs(1);
    let members = sized(50, 1_000);
    let publications = sized(4_000, 65_000);
    let rooms = Rooms::default();
    let builder = Server::builder().workers(1).mailbox_limit(4 * publications);
    let server = TestServer::start_on(builder, listen(Lines::new()), rooms.clone());
    let clients = join(&server, &rooms, "loud", members);
    let all = server.handle().connections_of::<Rooms>().unwrap();
    let grip = Hold::worker(&all, 0);
    for _ in 0..publications {
        all.publish("loud", "x".repeat(100)).unwrap();
    }
    let start = Instant::now();
    server.handle().shutdown(TIME);
    grip.release();
    server.join();
    let time = start.elapsed();
    report(
        "rooms",
        format_args!(
            "a shutdown within 1 s of {members} members and {publications} publications takes {}",
            milliseconds(time)
        ),
    );
    assert!(!is_full() || time < TIME + TIME / 2, "{time:?}");
    drop(clients);
}

/// Bytes of a long line, with its end.
const LONG_LINE: usize = 32 * KIB;

/// Publishes long lines and reads what comes. Joins again when the server has ended its connection, which may be among
/// those that hold most.
fn flood_from(join: impl Fn() -> Client, lines: usize) {
    let line = [vec![b'x'; LONG_LINE - 1], b"\n".to_vec()].concat();
    let mut left = lines;
    while left > 0 {
        let mut writer = join();
        let reader = writer.second_half();
        let reader =
            thread::spawn(move || std::io::copy(&mut reader.stream(), &mut std::io::sink()));
        while left > 0 && writer.try_send(&line).is_ok() {
            left -= 1;
        }
        let _ = writer.stream().shutdown(Shutdown::Write);
        let _ = reader.join().unwrap();
    }
}

/// Members who do not read, and some who publish long lines as fast as they can: publications on their way count towards the
/// mailboxes, those that a member has not taken towards the worker's memory.
#[test]
fn a_flooded_room_takes_no_more_memory_than_the_limits_say() {
    const NAME: &str = "rooms::a_flooded_room_takes_no_more_memory_than_the_limits_say";
    const WORKER_MEMORY: usize = 16 * MIB;
    const MAILBOX_BYTES: usize = 4 * MIB;
    const FLOODERS: usize = 3;
    if Child::is_here() {
        let builder = Server::builder()
            .workers(1)
            .worker_memory(WORKER_MEMORY)
            .mailbox_bytes(MAILBOX_BYTES);
        let builder = builder.listen_with(listen(Lines::new()), Rooms::default());
        return victim::serve(builder.unwrap(), &Counts::default());
    }
    let members = sized(50, 400);
    let lines = sized(400, 8_000);
    let victim = Victim::start(NAME, 1_024);
    let memory = victim.watch_memory();
    let address = victim.addr();
    let join = move || {
        let mut client = Client::connect(address);
        client.send(b"join loud\n");
        client
    };
    let sleepers: Vec<_> = (0..members).map(|_| join()).collect();
    let floods = [0; FLOODERS].map(|_| thread::spawn(move || flood_from(join, lines)));
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    let growth = memory.growth();
    // The rings that a pool keeps at most.
    let besides = 12 * MIB;
    assert!(
        growth <= WORKER_MEMORY + MAILBOX_BYTES + besides,
        "{growth} bytes"
    );
    report(
        NAME,
        format_args!(
            "{FLOODERS} members publish {} MiB each to {members} who do not read, growth {growth} bytes",
            lines * LONG_LINE / MIB
        ),
    );
    drop(sleepers);
    victim.end();
}
