//! Members of a room who read slowly, or not at all, beside one who publishes as fast as it can.

use std::io::Read;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringwheel::protocol::Lines;
use ringwheel::{Limits, Listen, SendError, Server, ServerBuilder};
use support::scale::{KIB, milliseconds, report, sized};
use support::{Client, DEADLINE, TestServer, eventually, listen, take};

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

/// Publishes lines from this thread, as fast as the mailboxes take them. Returns the number of those that were refused.
fn publish_from_thread(server: &TestServer, lines: &[u8]) -> usize {
    let all = server.handle().connections_of::<Rooms>().expect("it runs");
    let lines = lines.chunks(LINE);
    let text = lines.map(|line| std::str::from_utf8(&line[..LINE - 1]).expect("digits"));
    let refused = text.filter(|line| match all.publish("room", *line) {
        Ok(()) => false,
        Err(SendError::Full(())) => true,
        Err(error) => panic!("{error}"),
    });
    refused.count()
}

/// What a thread publishes waits for a member who reads, as long as there is room for it.
#[test]
fn what_a_thread_publishes_waits_for_those_who_read() {
    // A quarter of the places, at which nothing waits any more, is more.
    let count = 10_000;
    let (server, rooms) = start(Server::builder().workers(1), DEADLINE);
    let member = join(&server, &rooms, 1).remove(0);
    let reader = read_slowly(member, count);
    assert_eq!(publish_from_thread(&server, &lines(count)), 0);
    drop(reader.join().expect("it has got all lines"));
}

/// A member who does not read filled the mailboxes with what waited for it: the thread's further publications were refused, and
/// nobody got them.
#[test]
fn a_member_who_does_not_read_shuts_no_thread_out() {
    let builder = Server::builder().workers(1).mailbox_limit(1_000);
    let (server, rooms) = start(builder, 2 * DEADLINE);
    let mut sleeper = join(&server, &rooms, 1);
    let mut member = join(&server, &rooms, 1).remove(0);
    let all = server.handle().connections_of::<Rooms>().expect("it runs");
    let (told, done) = channel();
    let mut heard = 0;
    for part in lines(sized(10_000, 100_000)).chunks(100 * LINE) {
        assert_eq!(publish_from_thread(&server, part), 0);
        assert!(member.receive(part.len()) == part);
        heard += part.len();
        // The worker looks after laggards behind the delivery. A busy machine may hold it up in between.
        let told = told.clone();
        let answer = all.on_worker(0, move |_, _| _ = told.send(()));
        answer.expect("there is room for one closure");
        take(&done);
    }
    assert!(heard > 0);
    sleeper[0].expect_reset();
}

/// A member who reads, but more slowly than the others publish, is waited for no longer than the patience says: it held up the
/// whole room for as long as it read at some pace.
#[test]
fn a_member_who_reads_too_slowly_is_ended_and_the_others_get_everything() {
    const LONG: usize = 4 * KIB;
    let each = sized(200, 2_000);
    let (server, rooms) = start(Server::builder().workers(1), Duration::from_secs(2));
    let dawdler = join(&server, &rooms, 1).remove(0);
    let members: Vec<_> = (0..4)
        .map(|_| {
            let mut member = server.connect();
            member.send(b"join room\n");
            member
        })
        .collect();
    eventually("all have joined", || rooms.joined() == 5);
    let all = members.len() * each * LONG;
    // 80 KiB in a second, of 1 MiB that the others may have on its way.
    let dawdles = thread::spawn(move || {
        let mut buffer = vec![0; 4 * KIB];
        let mut heard = 0;
        while let Ok(count @ 1..) = dawdler.stream().read(&mut buffer) {
            heard += count;
            thread::sleep(Duration::from_millis(50));
        }
        heard
    });
    let flood = |mut member: Client| {
        let mut writer = member.second_half();
        let line = ["x".repeat(LONG - 1), "\n".into()].concat();
        let writer = thread::spawn(move || (0..each).for_each(|_| writer.send(line.as_bytes())));
        thread::spawn(move || {
            drop(member.receive(all));
            writer.join().expect("all is sent");
        })
    };
    let floods: Vec<_> = members.into_iter().map(flood).collect();
    let heard = dawdles.join().expect("it is ended");
    assert!(heard < all, "it is waited for");
    floods
        .into_iter()
        .for_each(|flood| flood.join().expect("it gets everything"));
}

/// A publication that only a slow member has not got counts an eighth: one member who lagged again and again slowed each publisher
/// of its room to 64 messages in a second, in all that it sent.
#[test]
fn a_member_who_lags_slows_publishers_little() {
    let (server, rooms) = start(Server::builder().workers(1), 2 * DEADLINE);
    let sleeper = join(&server, &rooms, 1);
    let mut publisher = join(&server, &rooms, 1).remove(0);
    // Enough to fill what the kernel takes for the sleeper, and its output, one answer at a time.
    let long = [vec![b'x'; 4 * KIB - 1], vec![b'\n']].concat();
    for _ in 0..40 {
        publisher.send(&long);
        drop(publisher.receive(long.len()));
    }
    for line in lines(400).chunks(LINE) {
        publisher.send(line);
        assert!(publisher.receive(LINE) == line);
    }
    drop(sleeper);
}

/// Code that runs with a member and sends nothing must not bring what waits for it: it drove readers past their limit.
#[test]
fn visits_that_send_nothing_drive_nobody_out() {
    let count = sized(10_000, 100_000);
    let rooms = Rooms::default();
    let listen = narrow(DEADLINE).tick_every(Duration::from_millis(1));
    let server = TestServer::start_on(Server::builder().workers(1), listen, rooms.clone());
    flood_all(join(&server, &rooms, 9), count);
}

/// Other mail that fills the mailboxes for a moment costs no subscriber the patience with it: those who read slowly were driven past
/// their limit.
#[test]
fn mail_of_others_drives_nobody_out() {
    let builder = Server::builder().workers(1).mailbox_limit(1_000);
    let (server, rooms) = start(builder, DEADLINE);
    let members = join(&server, &rooms, 9);
    let all = server.handle().connections_of::<Rooms>().expect("it runs");
    let ended = Arc::new(AtomicBool::new(false));
    let is_ended = ended.clone();
    let crowd = thread::spawn(move || {
        while !is_ended.load(Ordering::Relaxed) {
            // Half of the mailbox, as soon as there is room.
            let _ = all.on_worker(0, |_, _| {});
        }
    });
    flood_all(members, sized(10_000, 100_000));
    ended.store(true, Ordering::Relaxed);
    crowd.join().expect("it ends");
}

/// A shutdown answers all that a publisher has sent, although publications wait for a member who does not read: the publisher was
/// held back until the deadline, and reset.
#[test]
fn a_shutdown_holds_no_publisher_back() {
    let (server, rooms) = start(Server::builder().workers(1), 2 * DEADLINE);
    let sleeper = join(&server, &rooms, 1);
    let mut publisher = server.connect();
    publisher.send(b"join room\n");
    eventually("it has joined", || rooms.joined() == 2);
    let count = 2_000;
    publisher.send(&lines(count));
    let heard = thread::spawn(move || publisher.receive_rest());
    eventually("it is held back", || {
        let before = rooms.published();
        thread::sleep(Duration::from_millis(50));
        before > 0 && rooms.published() == before
    });
    assert!(rooms.published() < count);
    server.handle().shutdown(DEADLINE / 4);
    let heard = heard.join().expect("an end of stream, not a reset");
    assert!(heard == [lines(count), b"bye\n".to_vec()].concat());
    drop(sleeper);
    server.join();
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
