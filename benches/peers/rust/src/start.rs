//! Starts a peer, announces its address, and reports failures.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Parses the command line, raises the limit of descriptors as far as the system allows, and serves. A failure is
/// printed as one line on standard error, with exit code 1.
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

/// Prints on standard output that the server accepts on `address`.
///
/// # Errors
/// Fails if standard output cannot be written.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening on {address}")?;
    out.flush()
}

/// Adds the address to the error of a listener that cannot be opened.
pub fn cannot_listen(address: SocketAddr) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
