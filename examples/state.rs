//! State without locks: lines are counted for each connection in its session, and for each worker in its handler.
//!
//! Try it: `cargo run --release --example state`, then `nc 127.0.0.1 1833` in a few terminals. Each line is answered with
//! its number, and the line `workers` with the counts of all workers. An argument is the address to listen on.

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Connections, Handler, Listen, Server};

/// The handler of one worker.
struct Counter {
    /// Lines that this worker has read. No other thread touches it, so it needs no lock.
    lines: u64,
    /// The connections of all workers, and by them the other workers' handlers.
    all: Connections<Counter>,
}

impl Handler for Counter {
    type Protocol = Lines;
    /// Lines of one connection.
    type Session = u64;

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) -> u64 {
        0
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, own_lines: &mut u64, line: &str) {
        self.lines += 1;
        *own_lines += 1;
        if line != "workers" {
            conn.send(&format!("line {own_lines}"));
            return;
        }
        // Each worker runs this closure with its own handler, between two callbacks, and answers by itself.
        let asker = conn.handle();
        let asked = self.all.on_each_worker(move |counter, connections| {
            let (worker, lines) = (connections.worker(), counter.lines);
            // An error says that the asker has gone.
            let _ = asker.send(format!("worker {worker}: {lines} lines"));
        });
        if let Err(error) = asked {
            conn.send(&format!("not every worker was asked: {error}"));
        }
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    let server = Server::builder()
        .listen_with_factory(Listen::on(address), |start| Counter {
            lines: 0,
            all: start.server().connections_of().expect("it has a listener"),
        })?
        .build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
