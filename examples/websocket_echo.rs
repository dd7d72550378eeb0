//! Sends back WebSocket messages.
//!
//! Try it: `cargo run --release --features websocket --example websocket_echo`, then connect with any WebSocket client to
//! `ws://127.0.0.1:1833`. An argument is the address to listen on.

use ringwheel::websocket::{Message, WebSocket};
use ringwheel::{Conn, Handler, Server};

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

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    let server = Server::builder().listen(address, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
