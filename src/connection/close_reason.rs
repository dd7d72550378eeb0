//! The reasons why connections end: [`Cause`] while the connection lives, [`CloseReason`] for the handler.

use std::error::Error;
use std::fmt;
use std::io;

use crate::protocol::Farewell;

/// The reason why a connection ended. `E` is the protocol's own error.
///
/// The first cause counts, as it is known when [`Handler::on_close`](crate::Handler::on_close) is called; output may still be on
/// its way then.
///
/// ```
/// use ringwheel::protocol::LinesError;
/// use ringwheel::{CloseReason, Timeout};
///
/// /// Called from a handler's `on_close`.
/// fn log(reason: &CloseReason<LinesError>) {
///     match reason {
///         CloseReason::Peer | CloseReason::Local | CloseReason::Shutdown => {}
///         CloseReason::Timeout(Timeout::Idle) => println!("evicted as idle"),
///         CloseReason::Protocol(error) => println!("not our protocol: {error}"),
///         other => println!("lost: {other}"),
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason<E> {
    /// The peer ended its stream between two messages.
    Peer,
    /// The peer ended its stream in the middle of a message; or, over TLS, without the alert `close_notify` with which a peer says
    /// that it has sent all, so that anybody on the way may have cut the stream.
    Truncated,
    /// [`Conn::close`](crate::Conn::close) or [`ConnHandle::close`](crate::ConnHandle::close).
    Local,
    /// [`Conn::abort`](crate::Conn::abort) or [`ConnHandle::abort`](crate::ConnHandle::abort).
    Aborted,
    /// The peer's bytes were refused by the protocol.
    Protocol(E),
    /// The socket failed: reset by the peer, broken pipe, unreachable. Or, with the kind
    /// [`InvalidData`](io::ErrorKind::InvalidData), the peer has broken the rules of TLS.
    Io(io::Error),
    /// A deadline passed.
    Timeout(Timeout),
    /// A message asked for more input than [`Limits::input`](crate::Limits::input) allows to be kept.
    InputLimit,
    /// Output was pending beyond [`Limits::output`](crate::Limits::output), and the policy says to close.
    OutputLimit,
    /// The peers of this worker made it hold more memory than
    /// [`ServerBuilder::worker_memory`](crate::ServerBuilder::worker_memory) allows, and this connection held most of it. The
    /// peer sees a reset.
    WorkerMemory,
    /// A callback or the protocol panicked.
    Panic,
    /// The server was shut down.
    Shutdown,
}

/// The deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// Nothing was received for the idle time.
    Idle,
    /// No whole message within the time allowed for the first one.
    FirstMessage,
    /// A message was begun and not whole within the time allowed.
    Message,
    /// Output was pending, and the peer took less of it than
    /// [`Listen::min_send_rate`](crate::Listen::min_send_rate) demands within the time allowed.
    WriteStall,
    /// A close waited for a [source](crate::Conn::send_from) that sent nothing for
    /// [`Listen::close_timeout`](crate::Listen::close_timeout). The handler has closed the connection, so that
    /// [`Handler::on_timeout`](crate::Handler::on_timeout) is not asked.
    SourceStall,
}

/// A [`CloseReason`] without its error, which stays in the typed side or in the output until `on_close`. Every connection has
/// room for one, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Peer,
    Truncated,
    Local,
    Aborted,
    Protocol,
    Io,
    Timeout(Timeout),
    InputLimit,
    OutputLimit,
    WorkerMemory,
    Panic,
    Shutdown,
}

impl Cause {
    /// The reason as the handler is told, with the error of the protocol or the socket.
    pub(crate) fn into_reason<E>(
        self,
        protocol: Option<E>,
        socket: Option<io::Error>,
    ) -> CloseReason<E> {
        match self {
            Cause::Peer => CloseReason::Peer,
            Cause::Truncated => CloseReason::Truncated,
            Cause::Local => CloseReason::Local,
            Cause::Aborted => CloseReason::Aborted,
            Cause::Protocol => protocol.map_or(CloseReason::Aborted, CloseReason::Protocol),
            Cause::Io => CloseReason::Io(socket.unwrap_or_else(|| io::ErrorKind::Other.into())),
            Cause::Timeout(timeout) => CloseReason::Timeout(timeout),
            Cause::InputLimit => CloseReason::InputLimit,
            Cause::OutputLimit => CloseReason::OutputLimit,
            Cause::WorkerMemory => CloseReason::WorkerMemory,
            Cause::Panic => CloseReason::Panic,
            Cause::Shutdown => CloseReason::Shutdown,
        }
    }

    /// The occasion for the protocol's last words when the connection closes for this cause.
    pub(crate) fn into_farewell(self) -> Farewell {
        match self {
            Cause::Peer | Cause::Truncated => Farewell::PeerEnded,
            Cause::Shutdown => Farewell::Shutdown,
            Cause::Protocol => Farewell::Refused,
            Cause::InputLimit => Farewell::InputLimit,
            Cause::Panic => Farewell::Panic,
            Cause::Local
            | Cause::Aborted
            | Cause::Io
            | Cause::Timeout(_)
            | Cause::OutputLimit
            | Cause::WorkerMemory => Farewell::Closed,
        }
    }

    /// True for an end without loss. If output is lost all the same, the cause of the loss replaces it.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(
            self,
            Cause::Peer | Cause::Truncated | Cause::Local | Cause::Shutdown
        )
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timeout::Idle => "nothing was received for the idle time",
            Timeout::FirstMessage => "the first message did not come in time",
            Timeout::Message => "a message was begun and not whole in time",
            Timeout::WriteStall => "the peer took too little output for too long",
            Timeout::SourceStall => "a source sent nothing for too long",
        })
    }
}

impl<E: fmt::Display> fmt::Display for CloseReason<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Peer => f.write_str("closed by the peer"),
            CloseReason::Truncated => {
                f.write_str("closed by the peer in the middle of a message, or of a TLS stream")
            }
            CloseReason::Local => f.write_str("closed here"),
            CloseReason::Aborted => f.write_str("aborted here"),
            CloseReason::Protocol(error) => write!(f, "protocol error: {error}"),
            CloseReason::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                write!(f, "TLS error: {error}")
            }
            CloseReason::Io(error) => write!(f, "socket error: {error}"),
            CloseReason::Timeout(timeout) => write!(f, "timed out: {timeout}"),
            CloseReason::InputLimit => f.write_str("a message was larger than the input limit"),
            CloseReason::OutputLimit => f.write_str("more output was pending than the limit"),
            CloseReason::WorkerMemory => {
                f.write_str("the worker's memory was short, and this connection held most of it")
            }
            CloseReason::Panic => f.write_str("a callback panicked"),
            CloseReason::Shutdown => f.write_str("the server shut down"),
        }
    }
}

impl<E: Error + 'static> Error for CloseReason<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CloseReason::Protocol(error) => Some(error),
            CloseReason::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_if_the_socket_failed_or_tls() {
        let said = |error| CloseReason::<fmt::Error>::Io(error).to_string();
        let refused = io::Error::new(io::ErrorKind::InvalidData, "bad record");
        assert_eq!(said(refused), "TLS error: bad record");
        let reset = io::Error::new(io::ErrorKind::ConnectionReset, "reset");
        assert_eq!(said(reset), "socket error: reset");
    }
}
