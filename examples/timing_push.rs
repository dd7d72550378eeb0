//! The server speaks without being asked: it pushes the time to all clients on a schedule.
//!
//! Try it: `cargo run --release --example timing_push -- --every 500`, then `nc 127.0.0.1 1833` in a few terminals.

mod support;

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Limits, Listen, Overflow};
use support::Options;

#[derive(Clone)]
struct Clock;

impl Handler for Clock {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "Pushes the time to every client, in seconds since 1970.",
        &[(
            "--every",
            "MILLISECONDS",
            "The time between two pushes [default: 1000]",
        )],
    );
    // A client that does not keep up misses some pushes, and nothing else: an old time is of no use to it.
    let limits = Limits::default()
        .low_water(1024)
        .high_water(4096)
        .output(4096)
        .overflow(Overflow::DropMessage);
    let listen = Listen::on(options.addr()).limits(limits);
    let server = options.builder().listen_with(listen, Clock)?.build()?;

    let every = Duration::from_millis(options.get("--every").unwrap_or(1000));
    // One task for all clients. For a timer of a single connection see `Conn::set_timer`.
    let clients = server.handle().connections_of::<Clock>()?;
    server.handle().run_every(every, move || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        if let Err(error) = clients.broadcast(format!("{now:.3}")) {
            eprintln!("a push did not reach all: {error}");
        }
    });

    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
