//! Defects that were found once, each in its smallest form.

#[path = "regressions/hold.rs"]
mod hold;

#[path = "regressions/connections.rs"]
mod connections;
#[path = "regressions/deliveries.rs"]
mod deliveries;
#[path = "regressions/outputs.rs"]
mod outputs;
#[path = "regressions/shutdown.rs"]
mod shutdown;
#[path = "regressions/timeouts.rs"]
mod timeouts;
#[path = "regressions/workers.rs"]
mod workers;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ringwheel::balance::Workers;
use ringwheel::protocol::{Protocol, Raw};
use ringwheel::{Builder, Conn, Remote, Server};
use support::{Client, DEADLINE, Events, Recorder, TestServer, eventually};

const SHORT: Duration = Duration::from_millis(150);

fn take<T>(channel: &Receiver<T>) -> T {
    channel.recv_timeout(DEADLINE).expect("it comes in time")
}

/// Lends the test a handle to each connection.
fn lending<P: Protocol>(recorder: Recorder<P>) -> (Recorder<P>, Receiver<Remote<P>>) {
    let (remotes, lent) = channel();
    (
        recorder.on_open(move |conn| remotes.send(conn.remote()).unwrap()),
        lent,
    )
}

fn raw_echo() -> (Recorder<Raw>, Events) {
    let (recorder, events) = Recorder::<Raw>::new();
    let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
        conn.send(bytes);
    };
    (recorder.on_message(echo), events)
}

/// A server whose acceptor gives all connections to the first of two workers, and is there while that one is held up.
fn behind_an_acceptor() -> Builder {
    Server::builder()
        .workers(2)
        .balance(|_: SocketAddr, _: Workers<'_>| 0)
}

/// Waits until a draining server takes no more connections: its workers are told right after.
fn wait_until_draining(server: &TestServer) {
    eventually("nobody is accepted", || {
        Client::try_connect(server.addr()).is_err()
    });
}
