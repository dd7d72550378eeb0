//! Sends back whatever arrives.
//!
//! Try it: `cargo run --release --example echo`, then `nc 127.0.0.1 1833`. An argument is the address to listen on. With
//! `-- --unix /tmp/echo.sock` it is a Unix socket; then `nc -U /tmp/echo.sock`. With `--proxy-protocol` it is for a proxy on the
//! same machine, and prints the address of each client that the proxy passes on.
//!
//! Over TLS: `cargo run --release --features tls --example echo -- --self-signed`, then
//! `openssl s_client -quiet -connect 127.0.0.1:1833`. With `--tls-cert FILE --tls-key FILE` the certificate is yours, and
//! `SIGHUP` reads it again.

#[path = "support/echo_options.rs"]
mod echo_options;

use echo_options::EchoOptions;
use ringwheel::{Conn, Handler, Server, protocol::Raw};

#[derive(Clone)]
struct Echo {
    prints_clients: bool,
}

impl Handler for Echo {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Raw>) {
        if self.prints_clients {
            println!("client {}", conn.peer_addr());
        }
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
        conn.send(bytes);
    }
}

fn main() -> std::io::Result<()> {
    let options = EchoOptions::read("Sends back whatever arrives.");
    let echo = Echo {
        prints_clients: options.is_behind_proxy(),
    };
    let listen = options.listen(&[])?;
    let server = Server::builder().listen_with(listen, echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
