//! Sends back WebSocket messages.
//!
//! Try it: `cargo run --release --features websocket --example websocket_echo`, then connect with any WebSocket client to
//! `ws://127.0.0.1:1833`. An argument is the address to listen on; the options are those of the example `echo`. Over TLS it is
//! `wss://127.0.0.1:1833`: add `,tls` to the features, and `-- --self-signed`.

#[path = "support/echo_options.rs"]
mod echo_options;

use echo_options::EchoOptions;
use ringwheel::websocket::{Message, WebSocket};
use ringwheel::{Conn, Handler, Server};

#[derive(Clone)]
struct Echo {
    prints_clients: bool,
}

impl Handler for Echo {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, WebSocket>) {
        if self.prints_clients {
            println!("client {}", conn.peer_addr());
        }
    }

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
    let options = EchoOptions::read("Sends back WebSocket messages.");
    let echo = Echo {
        prints_clients: options.is_behind_proxy(),
    };
    let listen = options.listen(&["http/1.1"])?;
    let server = Server::builder().listen_with(listen, echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
