//! Evicts connections that say nothing, and those that do not say their first line soon.
//!
//! Try it: `cargo run --release --example idle_eviction -- --idle 10 --first-message 3`, then `nc 127.0.0.1 1833`. Type
//! nothing, and the server hangs up after 3 seconds; type a line, and it is 10 seconds after the last one.

mod support;

use std::io;
use std::time::Duration;

use clap::Parser;
use ringwheel::protocol::{Lines, LinesError};
use ringwheel::{CloseReason, Conn, Handler, Listen};
use support::{ServerArgs, seconds};

/// Echoes lines, and evicts connections that say nothing.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// How long a connection may be silent.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    idle: Duration,
    /// How long a new connection may take until its first line is whole.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    first_message: Duration,
}

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
    let args = Args::parse();
    let listen = Listen::on(args.server.addr)
        .idle_timeout(args.idle)
        .first_message_timeout(args.first_message);
    let server = args.server.builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
