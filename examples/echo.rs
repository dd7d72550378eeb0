//! Sends back whatever arrives.
//!
//! Try it: `cargo run --release --example echo`, then `nc 127.0.0.1 1833`. An argument is the address to listen on.

use ringwheel::{Conn, Handler, Server, protocol::Raw};

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
        conn.send(bytes);
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    let server = Server::builder().listen(address, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
