//! The command lines. Each peer puts together what its library can do.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};

/// What every TCP peer understands.
#[derive(Clone, Debug, Args)]
pub struct TcpOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// What a message is
    #[arg(long, value_enum, default_value_t = Framing::Raw)]
    pub framing: Framing,
}

/// What every WebSocket peer understands.
#[derive(Clone, Debug, Args)]
pub struct WebSocketOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// Send every message to all connections, the sender's too, instead of back
    #[arg(long)]
    pub broadcast: bool,
    /// Threads that serve.
    #[command(flatten)]
    pub threads: Threads,
}

/// For the libraries that can use several threads.
#[derive(Clone, Copy, Debug, Args)]
pub struct Threads {
    /// Threads that serve
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    pub workers: NonZeroUsize,
}

/// For the libraries that have timers.
#[derive(Clone, Copy, Debug, Args)]
pub struct Timers {
    /// Timers to keep running besides, of 5 to 65 seconds, each set again when it fires
    #[arg(long, default_value_t = 0)]
    pub timers: usize,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// Bytes as they come.
    Raw,
    /// A payload after its length, a big-endian u32.
    LengthPrefixed,
    /// Bytes up to a line feed; it belongs to the message, and any other byte may, too.
    Lines,
}
