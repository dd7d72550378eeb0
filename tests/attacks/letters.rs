//! Floods of letters from one connection to another.

use std::io::Read;
use std::net::Shutdown;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use ringwheel::protocol::Lines;
use ringwheel::{Conn, ConnId, Handler, Limits, Server};
use support::scale::{KIB, sized};
use support::{Client, TestServer, eventually, listen};

use crate::rooms::Rooms;

/// Sends the lines of all others to the first connection that says `me`.
#[derive(Clone, Default)]
struct Direct {
    to: Arc<OnceLock<ConnId>>,
}

impl Handler for Direct {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        match self.to.get() {
            Some(to) => conn.send_to(*to, line).expect("the mailbox has room"),
            None => _ = self.to.set(conn.id()),
        }
    }
}

/// A connection that wrote to another was not slowed down, so that any member could end any other who read at less than full
/// speed.
#[test]
fn a_flooder_of_letters_is_slowed_to_the_pace_of_the_one_who_reads() {
    const LINE: usize = 101;
    let count = sized(10_000, 100_000);
    let limits = Limits::default()
        .low_water(16 * KIB)
        .high_water(32 * KIB)
        .output(64 * KIB)
        .publications(64, 16 * KIB);
    for workers in [1, 2] {
        let direct = Direct::default();
        let to = direct.to.clone();
        let listen = listen(Lines::new())
            .limits(limits)
            .send_buffer_size(16 * KIB);
        let server = TestServer::start_on(Server::builder().workers(workers), listen, direct);
        let mut reader = Client::connect_narrow(server.addr());
        reader.send(b"me\n");
        eventually("the reader is known", || to.get().is_some());
        let mut flooder = server.connect();
        let lines: Vec<u8> = (0..count)
            .flat_map(|number| format!("{number:0width$}\n", width = LINE - 1).into_bytes())
            .collect();
        let sent = lines.clone();
        let flood = thread::spawn(move || flooder.send(&sent));
        let mut read = 0;
        let mut buffer = vec![0; 4 * KIB];
        while read < lines.len() {
            let length = reader.stream().read(&mut buffer).expect("it is not ended");
            assert!(length > 0, "it is ended after {read} bytes");
            assert!(buffer[..length] == lines[read..read + length]);
            read += length;
            thread::sleep(Duration::from_millis(1));
        }
        flood.join().expect("all is sent");
    }
}

/// Connections that published and left kept the mailboxes full of what waited for a slow member, and everybody else's publications
/// were refused.
#[test]
fn publishers_that_leave_shut_nobody_out() {
    const LINES: usize = 20;
    let rooms = Rooms::default();
    let limits = Limits::default()
        .low_water(16 * KIB)
        .high_water(32 * KIB)
        .patience(Duration::from_secs(60));
    let builder = Server::builder().workers(1).mailbox_limit(1_000);
    let listen = listen(Lines::new())
        .limits(limits)
        .send_buffer_size(16 * KIB);
    let server = TestServer::start_on(builder, listen, rooms.clone());
    let join = |room: &str| {
        let mut client = Client::connect_narrow(server.addr());
        let before = rooms.joined();
        client.send(format!("join {room}\n").as_bytes());
        eventually("it has joined", || rooms.joined() > before);
        client
    };
    let sleeper = join("crowded");
    let mut honest = join("quiet");
    // So little on its way holds no visitor back.
    let line = ["z".repeat(699), "\n".into()].concat();
    for visit in 0..sized(100, 600) {
        let published = rooms.published();
        let mut visitor = join("crowded");
        visitor.send(line.repeat(LINES).as_bytes());
        eventually("it has published", || {
            rooms.published() >= published + LINES
        });
        let _ = visitor.stream().shutdown(Shutdown::Both);
        let word = format!("word {visit}\n");
        honest.send(word.as_bytes());
        assert_eq!(honest.receive(word.len()), word.as_bytes());
    }
    drop(sleeper);
}
