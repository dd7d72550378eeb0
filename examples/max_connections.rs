//! Limits the number of connections, in all and from one IP address. Further ones are closed at once, and counted.
//!
//! Try it: `cargo run --release --example max_connections -- --max-per-ip 2`, then run `nc 127.0.0.1 1833` in three
//! terminals: the third ends at once. When one of the others ends, its place is free again.

mod support;

use std::io;
use std::time::Duration;

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Handler};
use support::Options;

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
    let options = Options::read(
        "An echo server with a limited number of connections.",
        &[
            (
                "--max",
                "COUNT",
                "Connections that may be open at one time [default: 1000]",
            ),
            (
                "--max-per-ip",
                "COUNT",
                "Connections that may be open at one time from one IP address [default: 10]",
            ),
            (
                "--report",
                "SECONDS",
                "The time between two looks at the counters [default: 1]",
            ),
        ],
    );
    let server = options
        .builder()
        .max_connections(options.get("--max").unwrap_or(1000))
        .max_connections_per_ip(options.get("--max-per-ip").unwrap_or(10))
        .listen(options.addr(), Echo)?
        .build()?;

    let handle = server.handle();
    let mut reported = handle.stats();
    let period = options.seconds("--report");
    let period = period.unwrap_or(Duration::from_secs(1));
    server.handle().run_every(period, move || {
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
