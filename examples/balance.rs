//! Spreads connections over the workers in a way of your choice, and sends back what arrives.
//!
//! Try it: `cargo run --release --example balance -- --balance least-connections`, then `nc 127.0.0.1 1833` in a few
//! terminals. Each connection is told which worker it belongs to.

mod support;

use std::io;

use ringwheel::balance::{LeastConnections, RoundRobin, SourceHash};
use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Listen, current_worker};
use support::Options;

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
        let worker = current_worker().expect("callbacks run on a worker");
        conn.send(&format!("worker {worker}"));
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        conn.send(line);
    }
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "Spreads connections over the workers, and echoes lines.",
        &[(
            "--balance",
            "NAME",
            "round-robin (default), least-connections, source-hash, or kernel (SO_REUSEPORT)",
        )],
    );
    let balance: Option<String> = options.get("--balance");
    let balance = balance.unwrap_or("round-robin".into());
    let builder = match &*balance {
        "least-connections" => options.builder().balance(LeastConnections),
        "source-hash" => options.builder().balance(SourceHash::default()),
        "round-robin" | "kernel" => options.builder().balance(RoundRobin::default()),
        unknown => {
            return Err(io::Error::other(format!(
                "no balance is called {unknown:?}"
            )));
        }
    };
    // With SO_REUSEPORT each worker accepts for itself, and no balancer is asked.
    let listen = Listen::on(options.addr()).reuse_port(balance == "kernel");
    let server = builder.listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
