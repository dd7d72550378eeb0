//! Members of a room who read slowly, or not at all, beside one who publishes as fast as it can.

use std::io::Read;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringwheel::protocol::Lines;
use ringwheel::{Limits, Listen, SendError, Server, ServerBuilder};
use support::scale::{KIB, milliseconds, report, sized};
use support::{Client, DEADLINE, TestServer, eventually, listen};

use crate::rooms::Rooms;

/// Bytes of each line, with its end.
const LINE: usize = 101;

/// Small marks and buffers, so that few lines fill the output of a member who does not read.
fn narrow(patience: Duration) -> Listen<Lines> {
    let limits = Limits::default()
        .low_water(16 * KIB)
        .high_water(32 * KIB)
        .output(64 * KIB)
        .patience(patience);
    listen(Lines::new())
        .limits(limits)
        .send_buffer_size(16 * KIB)
}

fn start(builder: ServerBuilder, patience: Duration) -> (TestServer, Rooms) {
    let rooms = Rooms::default();
    let server = TestServer::start_on(builder, narrow(patience), rooms.clone());
    (server, rooms)
}

/// Lets clients with small buffers join the room.
#[track_caller]
fn join(server: &TestServer, rooms: &Rooms, members: usize) -> Vec<Client> {
    let before = rooms.joined();
    let join = |_| {
        let mut client = Client::connect_narrow(server.addr());
        client.send(b"join room\n");
        client
    };
    let clients = (0..members).map(join).collect();
    eventually("all have joined", || rooms.joined() == before + members);
    clients
}

/// The lines with these numbers.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| format!("{number:0width$}\n", width = LINE - 1).into_bytes())
        .collect()
}

/// Reads a little at a time, more slowly than a server publishes. Checks that all lines arrive, in order.
fn read_slowly(client: Client, count: usize) -> JoinHandle<Client> {
    thread::spawn(move || {
        let expected = lines(count);
        let mut read = 0;
        let mut buffer = vec![0; 4 * KIB];
        while read < expected.len() {
            let length = client.stream().read(&mut buffer).expect("it is not ended");
            assert!(length > 0, "it is ended after {read} bytes");
            assert!(buffer[..length] == expected[read..read + length]);
            read += length;
            thread::sleep(Duration::from_millis(1));
        }
        client
    })
}

/// Publishes lines as fast as the server reads them, and reads its own.
fn flood(mut client: Client, count: usize) -> JoinHandle<Client> {
    let mut writer = client.second_half();
    let writer = thread::spawn(move || writer.send(&lines(count)));
    thread::spawn(move || {
        assert!(client.receive(count * LINE) == lines(count));
        writer.join().expect("all is sent");
        client
    })
}

/// Lets the last member flood the others, which read slowly, and waits until each has got all lines.
fn flood_all(mut members: Vec<Client>, count: usize) {
    let flooder = flood(members.pop().expect("a member has joined"), count);
    let readers: Vec<_> = members
        .into_iter()
        .map(|member| read_slowly(member, count))
        .collect();
    for reader in readers.into_iter().chain([flooder]) {
        reader.join().expect("it has got all lines");
    }
}

/// The flooder waits for the slowest who reads, and drives nobody out.
#[test]
fn a_flooder_is_slowed_to_the_pace_of_those_who_read() {
    let count = sized(10_000, 200_000);
    for workers in [1, 2] {
        let (server, rooms) = start(Server::builder().workers(workers), DEADLINE);
        let members = join(&server, &rooms, 9);
        let start = Instant::now();
        flood_all(members, count);
        report(
            "laggards",
            format_args!(
                "{count} lines by a flooder to 8 slow members, {workers} workers: {}",
                milliseconds(start.elapsed())
            ),
        );
    }
}

/// A member who does not read delays the others once, and is ended; they get everything.
#[test]
fn a_member_who_does_not_read_is_ended_and_the_others_get_everything() {
    let count = sized(10_000, 200_000);
    let (server, rooms) = start(Server::builder().workers(1), Duration::from_secs(3));
    let mut sleeper = join(&server, &rooms, 1);
    let members = join(&server, &rooms, 5);
    flood_all(members, count);
    sleeper[0].expect_reset();
}

/// A publisher that no gate holds back finds the mailboxes full instead, while a member reads slowly.
#[test]
fn a_thread_that_publishes_waits_for_those_who_read() {
    let count = sized(4_000, 50_000);
    let builder = Server::builder().workers(1).mailbox_limit(100);
    let (server, rooms) = start(builder, DEADLINE);
    let member = join(&server, &rooms, 1).remove(0);
    let reader = read_slowly(member, count);
    let all = server.handle().connections_of::<Rooms>().expect("it runs");
    let (delivered, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut refused = 0;
    for line in lines(count).chunks(LINE) {
        let line = std::str::from_utf8(&line[..LINE - 1]).expect("digits");
        loop {
            let (delivered, dropped) = (delivered.clone(), dropped.clone());
            let done = move |published: ringwheel::Published| {
                // One that was refused has reached nobody.
                delivered.fetch_add(published.delivered, Ordering::Relaxed);
                dropped.fetch_add(published.dropped, Ordering::Relaxed);
            };
            match all.publish_then("room", line, done) {
                Ok(()) => break,
                Err(SendError::Full(())) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            let (told, room) = channel();
            all.when_room(move || told.send(()).expect("it is awaited"));
            room.recv_timeout(DEADLINE).expect("there is room in time");
        }
    }
    let client = reader.join().expect("it has got all lines");
    eventually("all publications are done", || {
        delivered.load(Ordering::Relaxed) == count as u64
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    assert!(refused > 0, "the mailbox was full");
    drop(client);
}

/// A shutdown tells the others at once, however long the server would wait for a member who does not read.
#[test]
fn a_shutdown_waits_for_nobody_who_lags() {
    let (server, rooms) = start(Server::builder().workers(1), 2 * DEADLINE);
    let sleeper = join(&server, &rooms, 1);
    let mut members = join(&server, &rooms, 2);
    let mut reader = members.pop().expect("two have joined");
    let mut flooder = members.pop().expect("two have joined");
    let flood = thread::spawn(move || {
        // It is held back before it has sent all.
        while flooder.try_send(&lines(1_000)).is_ok() {}
    });
    eventually("the flooder is held back", || {
        let before = rooms.published();
        thread::sleep(Duration::from_millis(50));
        before > 0 && rooms.published() == before
    });
    let heard = thread::spawn(move || reader.receive_rest());
    server.handle().shutdown(DEADLINE / 4);
    let heard = heard.join().expect("an end of stream, not a reset");
    let told = heard.strip_suffix(b"bye\n");
    assert!(told.is_some_and(|lines| lines.len() % LINE == 0));
    for client in &sleeper {
        let _ = client.stream().shutdown(Shutdown::Both);
    }
    drop(sleeper);
    server.join();
    flood.join().expect("it ends with the server");
}
