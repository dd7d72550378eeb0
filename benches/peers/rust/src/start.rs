//! How a peer starts, says that it listens, and fails.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Parses the command line, allows as many descriptors as the system lets us, and serves. A failure becomes one line on
/// standard error and exit code 1.
pub fn run<O: Parser>(serve: impl FnOnce(O) -> io::Result<()>) -> ExitCode {
    let options = O::parse();
    match raise_descriptor_limit().and_then(|()| serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", O::command().get_name());
            ExitCode::FAILURE
        }
    }
}

fn raise_descriptor_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// Says on standard output that the server accepts on `address`.
///
/// # Errors
/// Fails when standard output cannot be written.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening on {address}")?;
    out.flush()
}

/// Names the address in the error of a listener that cannot be had.
pub fn cannot_listen(address: SocketAddr) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
