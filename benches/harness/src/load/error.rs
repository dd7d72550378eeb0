//! The error that ends a load run early.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::answer_error::AnswerError;
use super::handshake_error::HandshakeError;

/// The error that ends a load run early. Connections are named by their number, from 0.
#[derive(Debug)]
pub enum LoadError {
    /// The connection could not be opened: nothing listens, or nothing answers in time.
    Connect {
        /// The server's address.
        address: SocketAddr,
        /// Number of the connection.
        connection: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The system has no free local port left to connect from.
    OutOfPorts {
        /// The server's address.
        address: SocketAddr,
    },
    /// The TLS handshake failed.
    Tls {
        /// Number of the connection.
        connection: usize,
        /// The fault of the handshake.
        source: io::Error,
    },
    /// The server did a full TLS handshake although the client had offered a ticket, or has given no ticket.
    NotResumed {
        /// Number of the connection.
        connection: usize,
    },
    /// The server did not turn the connection into a WebSocket.
    Handshake {
        /// Number of the connection.
        connection: usize,
        /// The fault of the handshake.
        cause: HandshakeError,
    },
    /// The server ended a connection whose answers were not complete.
    Closed {
        /// Number of the connection.
        connection: usize,
        /// Answers still missing.
        outstanding: usize,
    },
    /// The server ended a WebSocket connection with a close frame in place of a message.
    CloseFrame {
        /// Number of the connection.
        connection: usize,
        /// The server's status code (RFC 6455, 7.4), if there was one.
        code: Option<u16>,
        /// The server's reason.
        reason: String,
    },
    /// A received byte differs from the messages sent.
    WrongByte {
        /// Number of the connection.
        connection: usize,
        /// Offset of the byte in the connection's input, not counting a handshake.
        position: u64,
        /// The expected byte.
        expected: u8,
        /// The received byte.
        found: u8,
    },
    /// An answer that is not the deflated document it should be.
    WrongAnswer {
        /// Number of the connection.
        connection: usize,
        /// Number of the answer on this connection, from 0.
        message: u64,
        /// The fault of the answer.
        cause: AnswerError,
    },
    /// More bytes were received than sent.
    Surplus {
        /// Number of the connection.
        connection: usize,
        /// The number of surplus bytes.
        bytes: u64,
    },
    /// No connection received an answer for longer than [`super::PATIENCE`].
    Stalled {
        /// Time since the last answer.
        silence: Duration,
        /// Answers still missing on all connections.
        outstanding: u64,
    },
    /// No operation was completed within the window.
    NothingDone {
        /// Length of the window.
        window: Duration,
    },
    /// The server, or the generator, cannot hold an open-loop rate: too many answers are missing.
    Overrun {
        /// The requested messages per second.
        rate: u64,
        /// Answers missing when the run was given up.
        outstanding: u64,
    },
    /// Some connections did not receive a published message within [`super::PATIENCE`].
    Undelivered {
        /// Number of the message, from 0.
        message: u64,
        /// Time since it should have been published.
        age: Duration,
        /// Connections that did not receive it.
        lacking: usize,
    },
    /// The options contradict each other.
    Options(String),
    /// Any other failure.
    Io {
        /// The action that failed.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl LoadError {
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn errno(doing: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |source| Self::Io {
            doing,
            source: source.into(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect {
                address,
                connection,
                source,
            } => {
                write!(
                    f,
                    "cannot connect to {address} (connection {connection}): {source}"
                )
            }
            Self::OutOfPorts { address } => write!(
                f,
                "no free local port to reach {address}: closed connections hold them for a minute; wait, or lower the \
                 number of connections"
            ),
            Self::Tls { connection, source } => write!(
                f,
                "connection {connection}: the TLS handshake failed: {source}"
            ),
            Self::NotResumed { connection } => write!(
                f,
                "connection {connection}: the server has not resumed the TLS session by a ticket"
            ),
            Self::Handshake { connection, cause } => write!(
                f,
                "connection {connection}: the server did not switch to WebSocket: {cause}"
            ),
            Self::Closed {
                connection,
                outstanding,
            } => {
                write!(
                    f,
                    "connection {connection}: the server closed it, and {outstanding} answers are missing"
                )
            }
            Self::CloseFrame {
                connection,
                code,
                reason,
            } => {
                write!(f, "connection {connection}: the server closed it")?;
                match code {
                    Some(code) => write!(f, " with code {code} and reason {reason:?}"),
                    None => write!(f, " without a code"),
                }
            }
            Self::WrongByte {
                connection,
                position,
                expected,
                found,
            } => write!(
                f,
                "connection {connection}: wrong byte at offset {position} of its stream: {found:#04x} instead of \
                 {expected:#04x}"
            ),
            Self::WrongAnswer {
                connection,
                message,
                cause,
            } => write!(f, "connection {connection}: answer {message} {cause}"),
            Self::Surplus { connection, bytes } => {
                write!(
                    f,
                    "connection {connection}: the server sent {bytes} bytes more than it received"
                )
            }
            Self::Stalled {
                silence,
                outstanding,
            } => {
                write!(
                    f,
                    "the server has not answered for {:.1} s, and {outstanding} answers are missing",
                    silence.as_secs_f64()
                )
            }
            Self::NothingDone { window } => {
                let seconds = window.as_secs_f64();
                write!(f, "the server completed nothing in {seconds:.1} s")
            }
            Self::Overrun { rate, outstanding } => write!(
                f,
                "{rate} messages/s cannot be held: {outstanding} answers are missing; lower the rate"
            ),
            Self::Undelivered {
                message,
                age,
                lacking,
            } => write!(
                f,
                "message {message} was due {:.1} s ago and {lacking} connections lack it: the rate cannot be held, or \
                 they are forgotten",
                age.as_secs_f64()
            ),
            Self::Options(problem) => write!(f, "{problem}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Tls { source, .. } | Self::Io { source, .. } => {
                Some(source)
            }
            Self::Handshake { cause, .. } => Some(cause),
            Self::WrongAnswer { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
