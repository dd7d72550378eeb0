//! Takes so many connections and no more, in all and from one IP address. Those beyond are closed at once, and counted.
//!
//! Try it: `cargo run --release --example max_connections -- --max-per-ip 2`, then run `nc 127.0.0.1 1833` in three
//! terminals: the third ends at once. When one of the others ends, its place is free again.

mod support;

use std::io;
use std::time::Duration;

use clap::Parser;
use ringwheel::protocol::Raw;
use ringwheel::{Conn, Handler};
use support::{ServerArgs, seconds};

/// An echo server that takes so many connections and no more.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Connections that may be open at one time.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    max: usize,
    /// Connections that may be open at one time from one IP address.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    max_per_ip: usize,
    /// How often to look whether there is something to report.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    report: Duration,
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
    let server = args
        .server
        .builder()
        .max_connections(args.max)
        .max_connections_per_ip(args.max_per_ip)
        .listen(args.server.addr, Echo)?
        .build()?;

    let handle = server.handle();
    let mut reported = handle.stats();
    server.handle().run_every(args.report, move || {
        let stats = handle.stats();
        if (stats.refused, stats.refused_per_ip) != (reported.refused, reported.refused_per_ip) {
            println!(
                "{} open, refused: {} beyond the maximum, {} beyond that of their address",
                stats.connections, stats.refused, stats.refused_per_ip
            );
            reported = stats;
        }
    });

    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
