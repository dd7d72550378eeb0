//! Sends back WebSocket messages of up to 64 MiB, compressed for clients that offer it (permessage-deflate).
//!
//! Try it: `cargo run --release --features deflate --example websocket_deflate`, then connect with any WebSocket client to
//! `ws://127.0.0.1:1833`. The Autobahn suite runs against it: see `tests/autobahn/run --help`.

mod support;

use std::io;

use ringwheel::websocket::{Deflate, Message, WebSocket};
use ringwheel::{Conn, Handler, Limits, Listen};
use support::Options;

/// The longest message; Autobahn sends up to 16 MiB.
const MAX_MESSAGE: usize = 64 << 20;

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {}

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket>,
        _session: &mut (),
        message: Message<'_>,
    ) {
        conn.send(message);
    }
}

fn main() -> io::Result<()> {
    let options = Options::read("Echoes WebSocket messages, compressed.", &[]);
    let protocol = WebSocket::new()
        .max_message(MAX_MESSAGE)
        .deflate(Deflate::new());
    let listen =
        Listen::with(protocol, options.addr()).limits(Limits::default().output(2 * MAX_MESSAGE));
    let server = options.builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
