//! The options of a server.

use crate::certificates::Key;
use crate::load::Framing;

/// The options of a server in a scenario, besides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The framing of its clients' messages; raw bytes by default.
    pub framing: Framing,
    /// Event loops or threads; 1 by default.
    pub workers: usize,
    /// Further running timers; 0 by default.
    pub timers: usize,
    /// True if each message goes to all connections instead of back to its sender (WebSocket); false by default.
    pub broadcast: bool,
    /// The key of the certificate for TLS; `None` without TLS, which is the default.
    pub tls: Option<Key>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            framing: Framing::Raw,
            workers: 1,
            timers: 0,
            broadcast: false,
            tls: None,
        }
    }
}

impl ServerOptions {
    /// The defaults with another framing.
    pub fn framed(framing: Framing) -> Self {
        Self {
            framing,
            ..Self::default()
        }
    }
}
