//! Sends back frames: each is a length (u32, big-endian) and as many bytes.
//!
//! Try it: `cargo run --release --example framed_echo`, then
//! `printf '\0\0\0\5hello' | nc -N 127.0.0.1 1833 | xxd`.

mod support;

use std::io;

use clap::Parser;
use ringwheel::protocol::LengthPrefixed;
use ringwheel::{Conn, Handler, Listen};
use support::ServerArgs;

/// Sends back frames: each is a length (u32, big-endian) and as many bytes.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Bytes of a frame without its length, at most; a longer one ends the connection.
    #[arg(long, value_name = "BYTES", default_value_t = LengthPrefixed::DEFAULT_MAX_LENGTH)]
    max_length: usize,
}

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = LengthPrefixed;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, LengthPrefixed>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, LengthPrefixed>, _session: &mut (), body: &[u8]) {
        conn.send(body);
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let protocol = LengthPrefixed::u32_be().max_length(args.max_length);
    let listen = Listen::with(protocol, args.server.addr);
    let server = args.server.builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
