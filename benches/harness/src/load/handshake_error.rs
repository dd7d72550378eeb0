//! Reasons for which a WebSocket handshake fails.

use std::fmt;
use std::io::{self, ErrorKind};

use super::PATIENCE;

/// Longest head of an answer to the handshake, in bytes; a longer one is [`HandshakeError::HeadTooLong`].
pub const MAX_HEAD: usize = 8 * 1024;

/// Why the server's answer to the handshake was refused.
#[derive(Debug)]
pub enum HandshakeError {
    /// It is not an HTTP answer.
    Malformed(httparse::Error),
    /// Its status is not 101.
    Status {
        /// The status.
        code: u16,
        /// The words behind it.
        reason: String,
    },
    /// This field is missing, or does not say what it must (4.1).
    Field(&'static str),
    /// `Sec-WebSocket-Accept` is not what follows from the key.
    WrongAccept {
        /// What follows from the key.
        expected: String,
        /// What the server said; empty when it said nothing.
        found: String,
    },
    /// An extension or a subprotocol that was not asked for.
    NotAskedFor(&'static str),
    /// It does not agree to permessage-deflate without context takeover.
    NoDeflate {
        /// The extensions that it agrees to; may be empty.
        found: String,
    },
    /// The head does not end within [`MAX_HEAD`] bytes.
    HeadTooLong,
    /// The head does not end within [`PATIENCE`].
    TimedOut,
    /// The server closed the connection before the head's end.
    Closed,
    /// Any other failure.
    Io(io::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "its answer is not HTTP: {error}"),
            Self::Status { code, reason } => write!(f, "it answered {code} {reason}"),
            Self::Field(name) => write!(f, "{name} is missing in its answer, or wrong"),
            Self::WrongAccept { expected, found } => {
                write!(f, "Sec-WebSocket-Accept is {found:?} and not {expected:?}")
            }
            Self::NotAskedFor(name) => write!(f, "{name} was not asked for"),
            Self::NoDeflate { found } => write!(
                f,
                "it agreed to the extensions {found:?} and not to permessage-deflate without context takeover"
            ),
            Self::HeadTooLong => write!(f, "the head of its answer is over {MAX_HEAD} bytes"),
            Self::TimedOut => write!(
                f,
                "the head of its answer did not end within {} s",
                PATIENCE.as_secs()
            ),
            Self::Closed => write!(f, "it closed the connection"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A read that times out is one or the other, by the system.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
