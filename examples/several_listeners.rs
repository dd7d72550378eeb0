//! Three services on the same workers: an echo, a line service, and commands for the administrator. Each has an address,
//! a protocol and a handler of its own.
//!
//! Try it: `cargo run --release --example several_listeners`, then `nc 127.0.0.1 1833` for the echo, port 1834 to count
//! characters, and port 1835 for the commands `connections`, `stats` and `shutdown`.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Handler, ServerHandle};
use support::Options;

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

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

#[derive(Clone)]
struct Count;

impl Handler for Count {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        conn.send(&format!("{} characters", line.chars().count()));
    }
}

#[derive(Clone)]
struct Admin {
    /// The server that this handler is a part of; known once it is built.
    server: Arc<OnceLock<ServerHandle>>,
}

impl Handler for Admin {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
        conn.send("commands: connections, stats, shutdown");
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), command: &str) {
        let Some(server) = self.server.get() else {
            return;
        };
        match command.trim() {
            "connections" => {
                for (worker, connections) in server.connections_per_worker().into_iter().enumerate()
                {
                    conn.send(&format!("worker {worker}: {connections}"));
                }
            }
            "stats" => {
                conn.send(&format!("{:?}", server.stats()));
            }
            "shutdown" => {
                conn.send("shutting down");
                server.shutdown(SHUTDOWN_DEADLINE);
            }
            _ => {
                conn.send("unknown command");
            }
        }
    }
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "An echo, a character count and admin commands, each on an address of its own.",
        &[
            (
                "--lines-addr",
                "ADDRESS",
                "Address of the character count [default: 127.0.0.1:1834]",
            ),
            (
                "--admin-addr",
                "ADDRESS",
                "Address of the admin commands, which ask for no password [default: 127.0.0.1:1835]",
            ),
        ],
    );
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let lines_addr = options.get("--lines-addr").unwrap_or(local(1834));
    let admin_addr = options.get("--admin-addr").unwrap_or(local(1835));
    let handle = Arc::new(OnceLock::new());
    let admin = Admin {
        server: handle.clone(),
    };
    let server = options
        .builder()
        .listen(options.addr(), Echo)?
        .listen(lines_addr, Count)?
        .listen(admin_addr, admin)?
        .build()?;
    handle.get_or_init(|| server.handle());
    for (address, service) in server.local_addrs().iter().zip(["echo", "lines", "admin"]) {
        println!("listening on {address} ({service})");
    }
    server.run()
}
