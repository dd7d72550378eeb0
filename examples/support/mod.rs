//! What the example servers have in common: the options `--addr` and `--workers`, and durations on the command line.

use std::net::SocketAddr;
use std::time::Duration;

use ringwheel::{Server, ServerBuilder};

// Not a doc comment: clap would show it in place of the example's own.
#[derive(clap::Parser)]
pub(crate) struct ServerArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub(crate) addr: SocketAddr,
    /// Worker loops, each on a thread of its own [default: one per processor].
    #[arg(long)]
    pub(crate) workers: Option<usize>,
}

impl ServerArgs {
    /// A server with as many workers as were asked for.
    pub(crate) fn builder(&self) -> ServerBuilder {
        let builder = Server::builder();
        match self.workers {
            Some(workers) => builder.workers(workers),
            None => builder,
        }
    }
}

/// Understands a number of seconds such as `30` or `0.5`.
#[allow(dead_code, reason = "not every example takes a duration")]
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
