//! Command lines: the options of every server, and durations.

use std::net::SocketAddr;
use std::time::Duration;

use ringwheel::{Server, ServerBuilder};

// Not a doc comment: clap would show it in place of the application's own.
#[derive(clap::Parser)]
pub struct ServerArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// Worker loops, each on a thread of its own [default: one per processor].
    #[arg(long)]
    pub workers: Option<usize>,
}

impl ServerArgs {
    /// A server with as many workers as were asked for.
    pub fn builder(&self) -> ServerBuilder {
        let builder = Server::builder();
        match self.workers {
            Some(workers) => builder.workers(workers),
            None => builder,
        }
    }
}

/// Reads a number of seconds such as `30` or `0.5`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
