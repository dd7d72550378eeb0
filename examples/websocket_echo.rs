//! Echoes WebSocket messages. Try it: `cargo run --release --features deflate --example websocket_echo`, then connect with
//! any WebSocket client to ws://127.0.0.1:1833.

mod support;

use std::io;

use ringwheel::websocket::{Message, WebSocket};
use ringwheel::{Conn, Handler, Limits, Listen};

/// The longest message; Autobahn sends up to 16 MiB.
const MAX_MESSAGE: usize = 64 << 20;

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    server: support::ServerArgs,
    /// Compress messages for clients that offer it (permessage-deflate).
    #[cfg(feature = "deflate")]
    #[arg(long)]
    deflate: bool,
}

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
    let args: Args = clap::Parser::parse();
    let protocol = WebSocket::new().max_message(MAX_MESSAGE);
    #[cfg(feature = "deflate")]
    let protocol = match args.deflate {
        true => protocol.deflate(ringwheel::websocket::Deflate::new()),
        false => protocol,
    };
    let listen =
        Listen::with(protocol, args.server.addr).limits(Limits::default().output(2 * MAX_MESSAGE));
    let server = args.server.builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
