//! Sends back frames: each is a length (u32, big-endian) and as many bytes.
//!
//! Try it: `cargo run --release --example framed_echo`, then
//! `printf '\0\0\0\5hello' | nc -N 127.0.0.1 1833 | xxd`. An argument is the address to listen on.

use ringwheel::protocol::{LengthPrefixed, LengthPrefixedError};
use ringwheel::{CloseReason, Conn, Handler, Listen, Server};

/// Bytes of a frame without its length, at most; a longer one ends the connection.
const MAX_LENGTH: usize = 64 * 1024;

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = LengthPrefixed;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, LengthPrefixed>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, LengthPrefixed>, _session: &mut (), body: &[u8]) {
        conn.send(body);
    }

    fn on_close(
        &mut self,
        conn: &Conn<'_, LengthPrefixed>,
        _session: (),
        reason: CloseReason<LengthPrefixedError>,
    ) {
        println!("{}: {reason}", conn.peer_addr());
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    let protocol = LengthPrefixed::u32_be().max_length(MAX_LENGTH);
    let listen = Listen::with(protocol, address);
    let server = Server::builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
