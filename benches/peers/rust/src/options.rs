//! The command lines. Each peer combines the options that its library supports.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};

/// The options of every TCP peer.
#[derive(Clone, Debug, Args)]
pub struct TcpOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// The framing of messages
    #[arg(long, value_enum, default_value_t = Framing::Raw)]
    pub framing: Framing,
}

/// The options of every WebSocket peer.
#[derive(Clone, Debug, Args)]
pub struct WebSocketOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// Send every message to all connections, the sender's too, instead of back
    #[arg(long)]
    pub broadcast: bool,
    /// Number of threads that serve.
    #[command(flatten)]
    pub threads: Threads,
}

/// The option of libraries that can use several threads.
#[derive(Clone, Copy, Debug, Args)]
pub struct Threads {
    /// Number of threads that serve
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    pub workers: NonZeroUsize,
}

/// The option of libraries that have timers.
#[derive(Clone, Copy, Debug, Args)]
pub struct Timers {
    /// Further timers to keep running, of 5 to 65 seconds, each set again when it fires
    #[arg(long, default_value_t = 0)]
    pub timers: usize,
}

/// The framing of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// Bytes as they arrive.
    Raw,
    /// A payload after its length, a big-endian u32.
    LengthPrefixed,
    /// Bytes up to a line feed, which belongs to the message; all other byte values are allowed.
    Lines,
}
