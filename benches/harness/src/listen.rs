//! What every peer server shares: the `--addr` option and the line that says that it listens.

use std::io::Write;
use std::net::SocketAddr;

use clap::Parser;

/// The command line of a peer server.
#[derive(Debug, Parser)]
#[command(about = "A peer echo server of the ringwheel harness")]
struct ListenArguments {
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:1833")]
    addr: SocketAddr,
}

/// The address to listen on, from the command line.
pub fn address() -> SocketAddr {
    ListenArguments::parse().addr
}

/// Says on standard output that the server accepts on `address`.
///
/// # Errors
/// Fails when standard output cannot be written.
pub fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening on {address}")?;
    out.flush()
}
