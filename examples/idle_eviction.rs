//! Evicts connections that are silent, and connections whose first line does not come soon.
//!
//! Try it: `cargo run --release --example idle_eviction -- --idle 10 --first-message 3`, then `nc 127.0.0.1 1833`. Type
//! nothing, and the server hangs up after 3 seconds; type a line, and it is 10 seconds after the last one.

mod support;

use std::io;
use std::time::Duration;

use ringwheel::protocol::{Lines, LinesError};
use ringwheel::{CloseReason, Conn, Handler, Listen};
use support::Options;

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        conn.send(line);
    }

    fn on_close(&mut self, conn: &Conn<'_, Lines>, _session: (), reason: CloseReason<LinesError>) {
        if let CloseReason::Timeout(timeout) = reason {
            println!("evicted {}: {timeout}", conn.peer_addr());
        }
    }
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "Echoes lines, and evicts connections that say nothing.",
        &[
            (
                "--idle",
                "SECONDS",
                "The time for which a connection may be silent [default: 30]",
            ),
            (
                "--first-message",
                "SECONDS",
                "The time until the first line of a connection must be whole [default: 5]",
            ),
        ],
    );
    let idle = options.seconds("--idle").unwrap_or(Duration::from_secs(30));
    let first_message = options.seconds("--first-message");
    let listen = Listen::on(options.addr())
        .idle_timeout(idle)
        .first_message_timeout(first_message.unwrap_or(Duration::from_secs(5)));
    let server = options.builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
