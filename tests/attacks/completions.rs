//! Completions as a hoard: short requests, whose answers have a completion each, by peers that do not read.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Limits, Server, ServerHandle};
use support::scale::{KIB, MIB, report, sized};
use support::{Child, Client, DEADLINE, TestServer, listen};

use crate::tally::Counts;
use crate::victim::{self, Victim};

/// Requests of each peer.
const REQUESTS: usize = 40_000;
/// Bytes that each completion captures.
const CAPTURED: usize = 192;
/// The least that the waiting completions of a peer take, where the kernel takes half of the answers.
const LEAST: usize = REQUESTS / 2 * CAPTURED;

/// Answers each line with a completion, and `?` with the number of the other lines and the memory that the worker counts.
#[derive(Clone, Default)]
struct Completing {
    answered: usize,
    server: Arc<OnceLock<ServerHandle>>,
}

impl Handler for Completing {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        if line == "?" {
            let held = self.server.get().unwrap().memory_per_worker()[0];
            conn.send(&format!("{:010} {held:010}", self.answered));
            return;
        }
        self.answered += 1;
        let captured = [1_u8; CAPTURED];
        conn.send_then("an answer", move |_| assert_eq!(captured[0], 1));
    }
}

/// Serves in the child process.
fn serve() {
    let handler = Completing::default();
    let server = handler.server.clone();
    let limits = Limits::default().output(8 * MIB).high_water(4 * MIB);
    let listen = listen(Lines::new())
        .limits(limits)
        .send_buffer_size(16 * KIB);
    let running = TestServer::start_on(Server::builder().workers(1), listen, handler);
    server.set(running.handle().clone()).unwrap();
    victim::serve_on(running, &Counts::default());
}

/// Asks for the number of lines that were answered, and the memory that the worker counts.
fn ask(client: &mut Client) -> (usize, usize) {
    client.send(b"?\n");
    let answer = String::from_utf8(client.receive(22)).unwrap();
    let (answered, held) = answer.trim_end().split_once(' ').unwrap();
    (answered.parse().unwrap(), held.parse().unwrap())
}

/// Completions of 10.8 MB for each peer were counted as 0.3 MB.
#[test]
fn completions_take_no_more_than_their_connections_are_charged_with() {
    const NAME: &str =
        "completions::completions_take_no_more_than_their_connections_are_charged_with";
    if Child::is_here() {
        return serve();
    }
    let peers = sized(4, 40);
    let victim = Victim::start(NAME, 4_096);
    let mut watcher = victim.connect();
    ask(&mut watcher);
    let memory = victim.watch_memory();
    let clients: Vec<_> = (0..peers)
        .map(|_| {
            let mut client = Client::connect_narrow(victim.addr());
            client.send(&b"1\n".repeat(REQUESTS));
            client
        })
        .collect();
    let start = Instant::now();
    while ask(&mut watcher).0 < peers * REQUESTS {
        assert!(start.elapsed() < DEADLINE, "the requests are not answered");
    }
    // The turn that has answered the last of them is over.
    let (_, charged) = ask(&mut watcher);
    let growth = memory.growth();
    assert!(growth >= peers * LEAST, "{growth} bytes are no attack");
    // A ring and a queue while they grow.
    let besides = 2 * MIB;
    assert!(
        growth <= charged + besides,
        "{growth} bytes, charged are {charged}"
    );
    drop(clients);
    victim.end();
    report(
        NAME,
        format_args!(
            "{peers} peers with {REQUESTS} requests each, growth {growth} bytes, charged {charged}"
        ),
    );
}
