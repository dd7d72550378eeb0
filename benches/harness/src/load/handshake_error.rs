//! The error of a WebSocket handshake.

use std::fmt;
use std::io::{self, ErrorKind};

use super::PATIENCE;

/// Longest head of an answer, in bytes; a longer one is [`HandshakeError::HeadTooLong`].
pub const MAX_HEAD: usize = 8 * 1024;

/// The reason why the server's answer to the handshake was refused.
#[derive(Debug)]
pub enum HandshakeError {
    /// The answer is not HTTP.
    Malformed(httparse::Error),
    /// The status is not 101.
    Status {
        /// The status code.
        code: u16,
        /// The reason phrase.
        reason: String,
    },
    /// This field is missing, or does not have the required value (4.1).
    Field(&'static str),
    /// `Sec-WebSocket-Accept` does not match the key.
    WrongAccept {
        /// The value that matches the key.
        expected: String,
        /// The server's value; empty if there is none.
        found: String,
    },
    /// The answer contains this field, an extension or a subprotocol, which was not requested.
    NotAskedFor(&'static str),
    /// The answer does not accept permessage-deflate without context takeover.
    NoDeflate {
        /// The extensions that it accepts; may be empty.
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
            Self::NotAskedFor(name) => write!(f, "{name} was not requested"),
            Self::NoDeflate { found } => write!(
                f,
                "it accepted the extensions {found:?} instead of permessage-deflate without context takeover"
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
            // A read timeout is one or the other of these, depending on the system.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
