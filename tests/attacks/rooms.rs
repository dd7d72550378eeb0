//! Floods through what connections share: topics and mailboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Server};
use support::scale::{is_full, milliseconds, report, sized};
use support::{Client, Hold, TestServer, eventually, listen};

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
    let (hold, grip) = Hold::new();
    all.on_worker(0, move |_, _| hold.enter()).unwrap();
    grip.wait();
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
