//! The reasons for which a connection fails to open.

use std::fmt;
use std::io;

use crate::accept::admission::FailedOpening;
use crate::io::proxy_header::error::ProxyHeaderError;

/// The reason for which a connection fails to open. It is logged, and counted in the server's statistics.
#[derive(Debug)]
pub(super) enum OpeningFailure {
    /// The listener takes PROXY headers, and the peer is not trusted to send one.
    Untrusted,
    /// The PROXY header is malformed.
    Header(ProxyHeaderError),
    /// The client that the PROXY header names has as many connections as an IP address may have.
    TooManyOfClient,
    /// The stages were not done in time.
    Late,
    /// The handshake has refused the peer's bytes, or could not begin.
    Handshake(io::Error),
    /// The handshake's code has panicked, with this text.
    Panic(String),
    /// The peer has sent this many bytes, and the handshake wants more.
    TooLong(usize),
    /// Others have taken the place, of which a worker has only so many.
    GaveWay,
    /// The peer has ended or reset its stream.
    Abandoned(Option<io::Error>),
}

impl OpeningFailure {
    /// The counter for this failure; `None` if admission has counted it already.
    pub(super) fn counter(&self) -> Option<FailedOpening> {
        match self {
            OpeningFailure::Untrusted | OpeningFailure::Header(_) => Some(FailedOpening::Header),
            OpeningFailure::TooManyOfClient => None,
            OpeningFailure::Late => Some(FailedOpening::Late),
            OpeningFailure::Handshake(_)
            | OpeningFailure::Panic(_)
            | OpeningFailure::TooLong(_) => Some(FailedOpening::Handshake),
            OpeningFailure::GaveWay => Some(FailedOpening::GaveWay),
            OpeningFailure::Abandoned(_) => Some(FailedOpening::Abandoned),
        }
    }
}

impl fmt::Display for OpeningFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpeningFailure::Untrusted => {
                f.write_str("the peer is not trusted to send a PROXY header")
            }
            OpeningFailure::Header(error) => write!(f, "its PROXY header is refused: {error}"),
            OpeningFailure::TooManyOfClient => {
                f.write_str("the client's IP address has too many connections")
            }
            OpeningFailure::Late => f.write_str("it was not open in time"),
            OpeningFailure::Handshake(error) => write!(f, "the handshake has failed: {error}"),
            OpeningFailure::Panic(text) => write!(f, "the handshake has panicked: {text}"),
            OpeningFailure::TooLong(bytes) => {
                write!(f, "the handshake is not done after {bytes} bytes")
            }
            OpeningFailure::GaveWay => f.write_str("it has given way to others"),
            OpeningFailure::Abandoned(None) => f.write_str("the peer has ended its stream"),
            OpeningFailure::Abandoned(Some(error)) => write!(f, "the stream has failed: {error}"),
        }
    }
}
