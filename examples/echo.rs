//! Sends back whatever arrives.
//!
//! Try it: `cargo run --release --example echo`, then `nc 127.0.0.1 1833`.

mod support;

use std::io;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ringwheel::balance::{LeastConnections, RoundRobin, SourceHash};
use ringwheel::protocol::Raw;
use ringwheel::{Conn, Handler, Listen};
use support::{ServerArgs, seconds};

/// An echo server: sends back whatever arrives.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// How new connections are spread over the workers.
    #[arg(long, value_enum, default_value_t = Balance::RoundRobin)]
    balance: Balance,
    /// Evict connections that were silent for so long [default: never].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    idle: Option<Duration>,
    /// Each worker accepts for itself (SO_REUSEPORT), and the kernel spreads the connections.
    #[arg(long)]
    reuse_port: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Balance {
    RoundRobin,
    LeastConnections,
    SourceHash,
}

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
        conn.send(bytes);
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let builder = match args.balance {
        Balance::RoundRobin => args.server.builder().balance(RoundRobin::default()),
        Balance::LeastConnections => args.server.builder().balance(LeastConnections),
        Balance::SourceHash => args.server.builder().balance(SourceHash),
    };
    let mut listen = Listen::on(args.server.addr).reuse_port(args.reuse_port);
    if let Some(idle) = args.idle {
        listen = listen.idle_timeout(idle);
    }
    let server = builder.listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
