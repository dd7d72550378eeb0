//! The seam between a connection and whatever carries its bytes.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;

/// Whether a read that filled less than the buffer proves the socket empty, and a write that was cut short proves it
/// full.
///
/// epoll(7) says so for stream sockets, and kqueue's edge (`EV_CLEAR`) behaves alike. Where mio emulates edges (Windows,
/// poll(2)) only `WouldBlock` re-arms the interest, so there the socket is drained until it says so.
pub(crate) const SHORT_MEANS_DRAINED: bool = cfg!(all(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    ),
    not(mio_unsupported_force_poll_poll)
));

/// A non-blocking byte stream, as a connection drives it.
///
/// Implementations behave like a non-blocking socket: `WouldBlock` when nothing can be done now, `Ok(0)` from `read` at
/// the peer's end of stream.
pub(crate) trait Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends the end of stream after all that was written.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Makes the coming drop a reset instead of an orderly end.
    fn reset_on_drop(&mut self);
    /// The error that is pending on the stream, if there is one.
    fn take_error(&mut self) -> io::Result<Option<io::Error>>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// What carries a connection's bytes. TCP is inline, so that an idle connection needs no allocation for it.
pub(crate) enum Socket {
    Tcp(TcpStream),
    /// A transport of the tests: a simulated network.
    #[cfg(test)]
    Simulated(Box<dyn Transport>),
    /// No transport: output only collects. See [`Output::detached`](crate::protocol::Output::detached).
    Detached,
}

impl Socket {
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => retry_interrupted(|| stream.read(buffer)),
            #[cfg(test)]
            Socket::Simulated(transport) => retry_interrupted(|| transport.read(buffer)),
            Socket::Detached => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// One write of `parts` in order; a single part goes out as a plain send.
    pub(crate) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => retry_interrupted(|| match parts {
                [only] => stream.write(only),
                _ => stream.write_vectored(parts),
            }),
            #[cfg(test)]
            Socket::Simulated(transport) => retry_interrupted(|| transport.write_vectored(parts)),
            Socket::Detached => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(test)]
            Socket::Simulated(transport) => transport.shutdown_write(),
            Socket::Detached => Ok(()),
        }
    }

    pub(crate) fn reset_on_drop(&mut self) {
        match self {
            // A failure leaves an orderly end where a reset was asked for: the connection is gone either way.
            Socket::Tcp(stream) => {
                let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
            #[cfg(test)]
            Socket::Simulated(transport) => transport.reset_on_drop(),
            Socket::Detached => {}
        }
    }

    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match self {
            Socket::Tcp(stream) => stream.take_error(),
            #[cfg(test)]
            Socket::Simulated(transport) => transport.take_error(),
            Socket::Detached => Ok(None),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.local_addr(),
            #[cfg(test)]
            Socket::Simulated(transport) => transport.local_addr(),
            Socket::Detached => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether bytes can leave at all.
    pub(crate) fn is_attached(&self) -> bool {
        !matches!(self, Socket::Detached)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Socket::Tcp(_) => "Tcp",
            #[cfg(test)]
            Socket::Simulated(_) => "Simulated",
            Socket::Detached => "Detached",
        })
    }
}

/// A signal that interrupts a call is no outcome: the call is made again.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
