//! The floor on io_uring: multishot accept into direct descriptors, multishot receive into a ring of provided buffers,
//! and sends directly from these buffers.
//!
//! The ring has the settings that the documentation recommends for one thread: a single issuer, and completion work
//! deferred until the thread asks for completions.

mod buffers;
mod connection;
mod requests;
mod server;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use clap::Parser;
use io_uring::IoUring;
use ringwheel_peers::options::TcpOptions;
use ringwheel_peers::start::{self, announce, cannot_listen};
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use server::Server;

/// The most requests that are submitted together.
const SUBMISSIONS: u32 = 4096;
/// The most waiting completions; a multishot submission has several.
const COMPLETIONS: u32 = 4 * SUBMISSIONS;
/// The most connections.
const MAX_DESCRIPTORS: u32 = 64 * 1024;

/// The floor on io_uring: one thread, multishot requests, provided buffers. Every framing is echoed as bytes.
#[derive(Parser)]
#[command(name = "peer-io-uring")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
}

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(Options { tcp }: Options) -> io::Result<()> {
    let listener = TcpListener::bind(tcp.addr).map_err(cannot_listen(tcp.addr))?;
    // Accepted sockets inherit this from their listener.
    sockopt::set_tcp_nodelay(&listener, true)?;
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(COMPLETIONS)
        .build(SUBMISSIONS)
        .map_err(refused)?;
    let descriptors = getrlimit(Resource::Nofile)
        .current
        .and_then(|limit| u32::try_from(limit).ok())
        .map_or(MAX_DESCRIPTORS, |limit| limit.min(MAX_DESCRIPTORS));
    ring.submitter()
        .register_files_sparse(descriptors)
        .map_err(refused)?;
    let (submitter, submissions, completions) = ring.split();
    let mut server = Server::new(&listener, submitter, submissions).map_err(refused)?;
    announce(listener.local_addr()?)?;
    let failure = server.run(completions);
    // Sends may be in progress, and the kernel may read their bytes until the process has ended.
    std::mem::forget(server);
    Err(failure)
}

fn refused(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the kernel refuses io_uring, or one of the features needed: {error}"),
    )
}
