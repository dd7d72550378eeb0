//! The floor: the minimum of an echo server on mio.
//!
//! One thread, one buffer. Interest is registered once, edge-triggered; a short read counts as drained. A reply is
//! written directly from the read buffer, and only the bytes that a full socket refuses are kept.

use std::process::ExitCode;

use clap::Parser;
use ringwheel_peers::echo::{EchoStream, READ_BUFFER};
use ringwheel_peers::options::TcpOptions;
use ringwheel_peers::{mio_loop, start};

/// The floor on mio: a bare loop on one thread. Every framing is echoed as bytes.
#[derive(Parser)]
#[command(name = "peer-mio")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
}

fn main() -> ExitCode {
    start::run(|Options { tcp }: Options| {
        mio_loop::serve(tcp.addr, vec![0; READ_BUFFER], |stream| {
            Ok(EchoStream::new(stream))
        })
    })
}
