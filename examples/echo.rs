//! Sends back whatever arrives.
//!
//! Try it: `cargo run --release --example echo`, then `nc 127.0.0.1 1833`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ringwheel::balance::{LeastConnections, RoundRobin, SourceHash};
use ringwheel::protocol::Raw;
use ringwheel::{Conn, Handler, Listen, Server};

/// An echo server: sends back whatever arrives.
#[derive(Parser)]
struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:1833")]
    addr: SocketAddr,
    /// Worker loops, each on a thread of its own [default: one per processor].
    #[arg(long)]
    workers: Option<usize>,
    /// How new connections are spread over the workers.
    #[arg(long, value_enum, default_value_t = Balance::RoundRobin)]
    balance: Balance,
    /// Evict connections that were silent for so many seconds [default: never].
    #[arg(long, value_name = "SECONDS")]
    idle: Option<f64>,
    /// Each worker accepts for itself (SO_REUSEPORT) instead of one acceptor for all.
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
    let mut builder = Server::builder();
    if let Some(workers) = args.workers {
        builder = builder.workers(workers);
    }
    builder = match args.balance {
        Balance::RoundRobin => builder.balance(RoundRobin::default()),
        Balance::LeastConnections => builder.balance(LeastConnections),
        Balance::SourceHash => builder.balance(SourceHash),
    };
    let mut listen = Listen::on(args.addr).reuse_port(args.reuse_port);
    if let Some(seconds) = args.idle {
        listen = listen.idle_timeout(Duration::from_secs_f64(seconds.max(0.0)));
    }
    let builder = builder.listen_with(listen, Echo)?;
    println!("listening on {}", builder.local_addrs()[0]);
    builder.run()
}
