//! Why a load run ended early.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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
    /// The server ended a connection on which it owed answers.
    Closed {
        /// Which connection.
        connection: usize,
        /// Answers still owed.
        outstanding: usize,
    },
    /// A byte came back that was not sent.
    WrongByte {
        /// Which connection.
        connection: usize,
        /// Offset of the byte within the connection's stream since it was opened.
        position: u64,
        /// The byte that was sent.
        expected: u8,
        /// The byte that came back.
        found: u8,
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
            Self::Closed {
                connection,
                outstanding,
            } => {
                write!(
                    f,
                    "connection {connection}: the server closed it and owes {outstanding} answers"
                )
            }
            Self::WrongByte {
                connection,
                position,
                expected,
                found,
            } => write!(
                f,
                "connection {connection}: wrong byte at offset {position} of its stream: sent {expected:#04x}, got \
                 back {found:#04x}"
            ),
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
            Self::Options(problem) => write!(f, "{problem}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
