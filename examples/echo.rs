//! Sends back whatever arrives.
//!
//! Try it: `cargo run --release --example echo`, then `nc 127.0.0.1 1833`. An argument is the address to listen on. With
//! `-- --unix /tmp/echo.sock` it is a Unix socket; then `nc -U /tmp/echo.sock`. With `--proxy-protocol` it is for a proxy on the
//! same machine, and prints the address of each client that the proxy passes on.

use ringwheel::{Conn, Handler, Listen, Server, TrustedNetworks, protocol::Raw};

const USAGE: &str = "\
Sends back whatever arrives.

Usage: echo [--proxy-protocol] [ADDRESS | --unix PATH]

  ADDRESS           Address to listen on; port 0 takes a free one [default: 127.0.0.1:1833]
  --unix PATH       Listen on a Unix socket at this path instead
  --proxy-protocol  Take connections only from proxies on this machine, each of which begins with a PROXY header, and print
                    the address of each client";

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_behind_proxy = arguments.first() == Some(&"--proxy-protocol");
    if is_behind_proxy {
        arguments.remove(0);
    }
    let mut listen = match arguments[..] {
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        [] => Listen::on("127.0.0.1:1833"),
        #[cfg(unix)]
        ["--unix", path] => Listen::unix(path),
        [address] if !address.starts_with('-') => Listen::on(address),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2)
        }
    };
    if is_behind_proxy {
        let this_machine = TrustedNetworks::of(["127.0.0.0/8", "::1"])?.with_unix_sockets();
        listen = listen.proxy_protocol(this_machine);
    }
    let echo = Echo {
        prints_clients: is_behind_proxy,
    };
    let server = Server::builder().listen_with(listen, echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
