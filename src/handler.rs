//! What users implement, and why connections end.

use std::error::Error;
use std::fmt;
use std::io;

use crate::conn::{Conn, TimerId};
use crate::protocol::{ErrorOf, MessageOf, Protocol};

/// The application: what happens when a connection opens, says something, and ends.
///
/// Each worker owns a handler value of its own, so every callback takes `&mut self` and needs no lock; what is to be
/// shared between workers is the handler's own `Arc`. All callbacks run on the worker's thread: one that blocks, blocks
/// every connection of that worker.
///
/// A callback that panics ends its connection with [`CloseReason::Panic`]; the worker and its other connections go on,
/// with the handler as the panic left it.
///
/// ```
/// use ringwheel::{Conn, Handler, protocol::Raw};
///
/// #[derive(Clone)]
/// struct Echo;
///
/// impl Handler for Echo {
///     type Protocol = Raw;
///     type Session = ();
///     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
///     fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
///         conn.send(bytes);
///     }
/// }
/// ```
#[expect(
    unused_variables,
    reason = "the default bodies do nothing, and the names are documentation"
)]
pub trait Handler: Sized + 'static {
    /// How bytes become messages.
    type Protocol: Protocol;
    /// What belongs to one connection; made when it opens, given back when it closes.
    type Session: 'static;

    /// A connection was accepted. What is sent here goes out before anything is read.
    fn on_open(&mut self, conn: &mut Conn<'_, Self::Protocol>) -> Self::Session;

    /// A whole message has arrived. It may borrow from the receive buffer and is valid during this call.
    fn on_message(
        &mut self,
        conn: &mut Conn<'_, Self::Protocol>,
        session: &mut Self::Session,
        message: MessageOf<'_, Self::Protocol>,
    );

    /// The connection is over: called exactly once for each [`on_open`](Self::on_open) that returned, after the last byte.
    fn on_close(
        &mut self,
        conn: &Conn<'_, Self::Protocol>,
        session: Self::Session,
        reason: CloseReason<ErrorOf<Self::Protocol>>,
    ) {
    }

    /// The output has been above its high-water mark and is now at or below the low one: there is room again, and
    /// reading resumes.
    fn on_drained(&mut self, conn: &mut Conn<'_, Self::Protocol>, session: &mut Self::Session) {}

    /// A timer of [`Conn::set_timer`] is due.
    fn on_timer(
        &mut self,
        conn: &mut Conn<'_, Self::Protocol>,
        session: &mut Self::Session,
        timer: TimerId,
        token: u64,
    ) {
    }

    /// The peer has sent its end of stream and will send nothing more; every message before it was delivered.
    ///
    /// It may still be reading. By default what is pending is flushed and the connection closes with
    /// [`CloseReason::Peer`]; a handler that does otherwise must call [`Conn::close`] some time.
    fn on_half_close(&mut self, conn: &mut Conn<'_, Self::Protocol>, session: &mut Self::Session) {
        conn.close();
    }

    /// The server is draining, and all that had arrived from this peer is answered: the place for a last word.
    ///
    /// By default the connection now closes, with [`CloseReason::Shutdown`]. A handler that still owes answers may close it
    /// later; what is open when the drain's deadline passes is dropped.
    fn on_shutdown(&mut self, conn: &mut Conn<'_, Self::Protocol>, session: &mut Self::Session) {
        conn.close();
    }
}

/// Why a connection ended. `E` is the protocol's own error.
///
/// The first cause counts; but where output was lost after an orderly close had begun, the reason is what lost it.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason<E> {
    /// The peer ended its stream between two messages.
    Peer,
    /// The peer ended its stream in the middle of a message.
    Truncated,
    /// [`Conn::close`] or [`Remote::close`](crate::Remote::close), and all output was handed to the kernel.
    Local,
    /// [`Conn::abort`] or [`Remote::abort`](crate::Remote::abort).
    Aborted,
    /// The peer's bytes were refused by the protocol.
    Protocol(E),
    /// The socket failed: reset by the peer, broken pipe, unreachable.
    Io(io::Error),
    /// A deadline passed.
    Timeout(Timeout),
    /// A message asked for more input than [`Limits::input`](crate::Limits::input) allows to be kept.
    InputLimit,
    /// Output was pending beyond [`Limits::output`](crate::Limits::output), and the policy says to close.
    OutputLimit,
    /// A callback or the protocol panicked.
    Panic,
    /// The server was shut down.
    Shutdown,
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// Nothing was received for the idle time.
    Idle,
    /// No whole message within the time allowed for the first one.
    FirstMessage,
    /// Output was pending, and the peer took none of it for the time allowed.
    WriteStall,
    /// An orderly close did not get its output out in time.
    Close,
}

/// A [`CloseReason`] before the errors, which others keep, are put in. Every connection has room for one, so it is small.
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
    Panic,
    Shutdown,
}

impl Cause {
    /// The reason for the handler. The errors are there whenever the cause speaks of them.
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
            Cause::Panic => CloseReason::Panic,
            Cause::Shutdown => CloseReason::Shutdown,
        }
    }

    /// Whether this is an orderly end, which lost output turns into something else.
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
            Timeout::WriteStall => "the peer took no output for too long",
            Timeout::Close => "the output did not leave before the close deadline",
        })
    }
}

impl<E: fmt::Display> fmt::Display for CloseReason<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Peer => f.write_str("closed by the peer"),
            CloseReason::Truncated => f.write_str("closed by the peer in the middle of a message"),
            CloseReason::Local => f.write_str("closed here"),
            CloseReason::Aborted => f.write_str("aborted here"),
            CloseReason::Protocol(error) => write!(f, "protocol error: {error}"),
            CloseReason::Io(error) => write!(f, "socket error: {error}"),
            CloseReason::Timeout(timeout) => write!(f, "timed out: {timeout}"),
            CloseReason::InputLimit => f.write_str("a message was larger than the input limit"),
            CloseReason::OutputLimit => f.write_str("more output was pending than the limit"),
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
