//! SIGINT (Ctrl-C) and SIGTERM end the server in order: no new connection is accepted, every line that has arrived is
//! answered, and the connections close, all within a deadline. A second signal ends it at once.
//!
//! Try it: `cargo run --release --example graceful_shutdown`, then `nc 127.0.0.1 1833`, and press Ctrl-C at the server.

mod support;

use std::io;
use std::time::Duration;

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Listen, ServerHandle};
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

    /// All that the client has sent is answered by now.
    fn on_shutdown(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut ()) {
        conn.send("the server shuts down");
        conn.close();
    }
}

/// Waits for signals on a thread of its own.
#[cfg(unix)]
fn end_on_signals(server: ServerHandle, deadline: Duration) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        let mut signals = signals.forever();
        signals.next();
        println!("draining");
        server.shutdown(deadline);
        signals.next();
        println!("stopping at once");
        server.stop();
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)?;
    Ok(())
}

#[cfg(not(unix))]
fn end_on_signals(_server: ServerHandle, _deadline: Duration) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this example waits for Unix signals",
    ))
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "Echoes lines until a signal comes, and then ends in order.",
        &[(
            "--deadline",
            "SECONDS",
            "The time until connections that are left are dropped [default: 10]",
        )],
    );
    let deadline = options.seconds("--deadline");
    let deadline = deadline.unwrap_or(Duration::from_secs(10));
    // A client that is slow to take its answers may do so until the server's deadline.
    let listen = Listen::on(options.addr()).close_timeout(deadline);
    let server = options.builder().listen_with(listen, Echo)?.build()?;
    end_on_signals(server.handle(), deadline)?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()?;
    println!("all connections are closed");
    Ok(())
}
