//! Sends back whatever arrives.
//!
//! Try it: `cargo run --release --example echo`, then `nc 127.0.0.1 1833`. An argument is the address to listen on. With
//! `-- --unix /tmp/echo.sock` it is a Unix socket; then `nc -U /tmp/echo.sock`.

use ringwheel::{Conn, Handler, Server, protocol::Raw};

const USAGE: &str = "\
Sends back whatever arrives.

Usage: echo [ADDRESS | --unix PATH]

  ADDRESS      Address to listen on; port 0 takes a free one [default: 127.0.0.1:1833]
  --unix PATH  Listen on a Unix socket at this path instead";

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let builder = match arguments[..] {
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        [] => Server::builder().listen("127.0.0.1:1833", Echo)?,
        #[cfg(unix)]
        ["--unix", path] => Server::builder().listen_with(ringwheel::Listen::unix(path), Echo)?,
        [address] if !address.starts_with('-') => Server::builder().listen(address, Echo)?,
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2)
        }
    };
    let server = builder.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
