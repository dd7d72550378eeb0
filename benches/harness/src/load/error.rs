//! Why a load run ended early.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::answer_error::AnswerError;
use super::handshake_error::HandshakeError;

/// Why a load run ended early. Connections are named by their number, from 0.
#[derive(Debug)]
pub enum LoadError {
    /// The connection could not be opened: nobody listens, or nobody answers in time.
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Which connection.
        connection: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no free local port left to connect from.
    OutOfPorts {
        /// Where to.
        address: SocketAddr,
    },
    /// The server did not turn the connection into a WebSocket.
    Handshake {
        /// Which connection.
        connection: usize,
        /// What was wrong.
        cause: HandshakeError,
    },
    /// The server ended a connection on which it owed answers.
    Closed {
        /// Which connection.
        connection: usize,
        /// Answers still owed.
        outstanding: usize,
    },
    /// The server ended a WebSocket connection with a close frame where a message should have been.
    CloseFrame {
        /// Which connection.
        connection: usize,
        /// The server's status code (RFC 6455, 7.4), if it gave one.
        code: Option<u16>,
        /// What the server said besides.
        reason: String,
    },
    /// A byte came back other than the messages that were sent make it.
    WrongByte {
        /// Which connection.
        connection: usize,
        /// Offset of the byte within what came on the connection, without a handshake.
        position: u64,
        /// The byte that should have come.
        expected: u8,
        /// The byte that came.
        found: u8,
    },
    /// An answer that should be a document, deflated, and is not.
    WrongAnswer {
        /// Which connection.
        connection: usize,
        /// Which of its answers, from 0.
        message: u64,
        /// What is wrong with it.
        cause: AnswerError,
    },
    /// More bytes came back than were sent.
    Surplus {
        /// Which connection.
        connection: usize,
        /// How many more.
        bytes: u64,
    },
    /// No answer on any connection for longer than [`super::PATIENCE`].
    Stalled {
        /// How long nothing came.
        silence: Duration,
        /// Answers still owed on all connections.
        outstanding: u64,
    },
    /// Not one operation was completed within the window.
    NothingDone {
        /// Length of the window.
        window: Duration,
    },
    /// An open-loop rate that the server, or the generator, cannot hold: too many answers are owed.
    Overrun {
        /// Messages per second that were asked for.
        rate: u64,
        /// Answers owed when the run was given up.
        outstanding: u64,
    },
    /// A published message that not all connections have got within [`super::PATIENCE`].
    Undelivered {
        /// Which message, from 0.
        message: u64,
        /// How long ago it should have been published.
        age: Duration,
        /// Connections that lack it.
        lacking: usize,
    },
    /// The options do not fit together.
    Options(String),
    /// Any other failure, with what was being done.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
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
                    "connection {connection}: the server closed it and owes {outstanding} answers"
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
                "connection {connection}: wrong byte at offset {position} of its stream: {found:#04x} came and not \
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
                    "connection {connection}: the server sent {bytes} bytes more than it was sent"
                )
            }
            Self::Stalled {
                silence,
                outstanding,
            } => {
                write!(
                    f,
                    "the server has not answered for {:.1} s and owes {outstanding} answers",
                    silence.as_secs_f64()
                )
            }
            Self::NothingDone { window } => {
                let seconds = window.as_secs_f64();
                write!(f, "the server completed nothing in {seconds:.1} s")
            }
            Self::Overrun { rate, outstanding } => write!(
                f,
                "{rate} messages/s cannot be held: {outstanding} answers are owed; lower the rate"
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
            Self::Connect { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Handshake { cause, .. } => Some(cause),
            Self::WrongAnswer { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
