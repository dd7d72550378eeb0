//! The options of a server.

use crate::load::Framing;

/// Options that a scenario asks of a server, besides the address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// How its clients' messages are told apart; raw bytes by default.
    pub framing: Framing,
    /// Event loops or threads; 1 by default.
    pub workers: usize,
    /// Timers that run besides; 0 by default.
    pub timers: usize,
    /// Whether each message goes to all connections rather than back (WebSocket); not by default.
    pub broadcast: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            framing: Framing::Raw,
            workers: 1,
            timers: 0,
            broadcast: false,
        }
    }
}

impl ServerOptions {
    /// The defaults, but for the framing.
    pub fn framed(framing: Framing) -> Self {
        Self {
            framing,
            ..Self::default()
        }
    }
}
