//! Mail and publications that the protocol cannot express: the sender has an `Ok`, and the log has a warning.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use log::{Level, LevelFilter, Log, Metadata, Record};
use ringwheel::protocol::Lines;
use ringwheel::{Conn, Connections, Handler, Listen, Server};
use support::{Client, DEADLINE, LOCAL, TestServer};

/// The only reason that counts: no other test of this binary mails a line break.
const REASON: &str = "it contains a line break";
const BROKEN: &str = "two\nlines";

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

/// Counts the warnings with that reason.
struct Counter;

impl Log for Counter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Warn && record.args().to_string().contains(REASON) {
            WARNINGS.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

/// Subscribes each client to a topic, and publishes a broken line when it is asked to.
#[derive(Clone)]
struct Room;

impl Handler for Room {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
        conn.subscribe("room").unwrap();
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        match line {
            "publish" => conn.publish("room", BROKEN).unwrap(),
            "others" => conn.publish_to_others("room", BROKEN).unwrap(),
            "send" => assert!(!conn.send(BROKEN).is_queued()),
            _ => {}
        }
        conn.send(line);
    }
}

/// Has each way tried by two clients, and returns the number of warnings.
fn warnings_of(way: impl FnOnce(&mut Client, &Connections<Room>)) -> usize {
    let before = WARNINGS.load(Ordering::SeqCst);
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(Listen::<Lines>::on(LOCAL), Room);
    let server = TestServer::spawn(builder.unwrap());
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.send(b"ready\n");
        assert_eq!(client.receive(6), b"ready\n");
    }
    let all = server.handle().connections_of::<Room>().unwrap();
    way(&mut clients[0], &all);
    // What is broadcast behind it arrives, and nothing before.
    all.broadcast("end").unwrap();
    for client in &mut clients {
        assert_eq!(client.receive(4), b"end\n");
    }
    drop(clients);
    server.handle().shutdown(DEADLINE);
    server.join();
    WARNINGS.load(Ordering::SeqCst) - before
}

/// Has the first client ask for something.
fn asked(line: &'static str) -> impl FnOnce(&mut Client, &Connections<Room>) {
    move |client, _| {
        client.send(format!("{line}\n").as_bytes());
        let answer = client.receive(line.len() + 1);
        assert_eq!(answer, format!("{line}\n").as_bytes());
    }
}

/// The sender learns nothing, so that messages vanished in silence.
#[test]
fn a_message_that_cannot_be_packed_when_it_is_delivered_is_logged() {
    log::set_logger(&Counter).unwrap();
    log::set_max_level(LevelFilter::Warn);
    assert_eq!(warnings_of(asked("publish")), 1);
    assert_eq!(warnings_of(asked("others")), 1);
    assert_eq!(
        warnings_of(|_, all| all.publish("room", BROKEN).unwrap()),
        1
    );
    assert_eq!(warnings_of(|_, all| all.broadcast(BROKEN).unwrap()), 1);
    // Here the sender is told.
    assert_eq!(warnings_of(asked("send")), 0);
    let told = warnings_of(|_, all| {
        let (tell, told) = channel();
        let done = move |published| tell.send(published).unwrap();
        all.publish_then("room", BROKEN, done).unwrap();
        assert_eq!(told.recv_timeout(DEADLINE).unwrap().dropped, 2);
    });
    assert_eq!(told, 1, "the number does not say why");
}
