//! The byte streams that carry connections: TCP, Unix sockets, and a double for the simulation.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::TcpStream;
#[cfg(unix)]
use mio::net::UnixStream;
use socket2::SockRef;

/// True where a read that fills less than the buffer proves the socket empty, and a write that is cut short proves it full.
///
/// epoll(7) documents that for stream sockets, and kqueue's edge (`EV_CLEAR`) behaves alike. Where mio emulates edges
/// (Windows, poll(2)), only `WouldBlock` re-arms the interest, so there a socket is used until it returns that.
///
/// For reads of Unix sockets it does not hold, whatever epoll(7) says: see [`Stream::is_drained_by`]. A write to one
/// is cut short when its buffer is full, and each piece that the peer has read announces room.
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

/// `MSG_NOSIGNAL`: a write to a stream that the peer has reset is an error, and no SIGPIPE, which would end a process that
/// has not ignored it. Zero where the socket option `SO_NOSIGPIPE` does the same: socket2 sets it on every listener, and
/// accepted sockets inherit it.
pub(super) const NO_SIGNAL: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    0x4000
} else if cfg!(target_os = "freebsd") {
    0x2_0000
} else if cfg!(any(
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)) {
    0x400
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    0x200
} else {
    0
};

/// Bytes that the kernel may hold beyond the size of its send buffer: it takes one more piece as long as it is not full.
const LAST_PIECE: usize = 64 * 1024;

/// A non-blocking byte stream, as a connection uses it.
///
/// Implementations behave like a non-blocking socket: `WouldBlock` when nothing can be done now, `Ok(0)` from `read` at
/// the peer's end of stream.
pub(crate) trait ByteStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Looks for input without consuming it: `WouldBlock` if there is none.
    fn peek(&mut self) -> io::Result<usize>;
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends the end of stream behind all that was written.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Turns the coming drop into a reset instead of an orderly end, where the stream has such a thing.
    fn reset_on_drop(&mut self);
    /// Takes the error that is pending on the stream, if there is one.
    fn take_error(&mut self) -> io::Result<Option<io::Error>>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// Upper bound of the bytes that may have arrived and wait to be read.
    fn receive_capacity(&self) -> io::Result<usize>;
    /// Upper bound of the bytes that may have been written and are not with the peer.
    fn send_capacity(&self) -> io::Result<usize>;
}

impl ByteStream for TcpStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }

    fn peek(&mut self) -> io::Result<usize> {
        TcpStream::peek(self, &mut [0])
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        // std writes a single slice with the flag, but several with writev(2), which takes none.
        self.try_io(|| SockRef::from(&*self).send_vectored_with_flags(parts, NO_SIGNAL))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_on_drop(&mut self) {
        // If this fails, the end is an orderly one instead of a reset: the connection is gone either way.
        let _ = SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        TcpStream::take_error(self)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self)
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        SockRef::from(self).recv_buffer_size()
    }

    fn send_capacity(&self) -> io::Result<usize> {
        let size = SockRef::from(self).send_buffer_size()?;
        Ok(size.saturating_add(LAST_PIECE))
    }
}

/// The stream of a connection. Sockets are inline, so that an idle connection needs no allocation for them.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// A stream without a socket: of the simulated network, of a test, or of a fuzz target.
    #[cfg(any(test, fuzzing))]
    // Two boxes, so that a connection is hardly larger than in production.
    Simulated(Box<Box<dyn ByteStream>>),
    /// No stream: the output only collects. See [`Output::detached`](crate::protocol::Output::detached).
    Detached,
}

/// Calls a method of the stream; the last argument is the outcome where there is none.
macro_rules! delegate {
    ($socket:expr, $method:ident ( $($argument:expr),* ), $detached:expr) => {
        match $socket {
            Stream::Tcp(stream) => ByteStream::$method(stream $(, $argument)*),
            #[cfg(unix)]
            Stream::Unix(stream) => ByteStream::$method(stream $(, $argument)*),
            #[cfg(any(test, fuzzing))]
            Stream::Simulated(stream) => stream.$method($($argument),*),
            Stream::Detached => $detached,
        }
    };
}

impl Stream {
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry_interrupted(|| delegate!(self, read(buffer), would_block()))
    }

    /// True if a read of `count` bytes into `room` proves the socket empty, because it has filled less than the room.
    ///
    /// A read of a Unix socket ends behind bytes with which the peer has passed descriptors (unix(7), `SCM_RIGHTS`), although
    /// more may wait, and no further event announces that.
    #[inline]
    pub(crate) fn is_drained_by(&self, count: usize, room: usize) -> bool {
        SHORT_MEANS_DRAINED && count < room && !self.is_unix()
    }

    #[inline]
    fn is_unix(&self) -> bool {
        #[cfg(unix)]
        let is_unix = matches!(self, Stream::Unix(_));
        #[cfg(not(unix))]
        let is_unix = false;
        is_unix
    }

    /// True if a read would find something: bytes, the end of stream, or an error.
    pub(crate) fn has_news(&mut self) -> bool {
        let outcome = retry_interrupted(|| delegate!(self, peek(), would_block()));
        !outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// One write.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| delegate!(self, write(bytes), would_block()))
    }

    /// One write of `parts` in order.
    pub(crate) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        retry_interrupted(|| delegate!(self, write_vectored(parts), would_block()))
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        delegate!(self, shutdown_write(), Ok(()))
    }

    pub(crate) fn reset_on_drop(&mut self) {
        delegate!(self, reset_on_drop(), ());
    }

    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        delegate!(self, take_error(), Ok(None))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        delegate!(self, local_addr(), Err(io::ErrorKind::NotConnected.into()))
    }

    /// Upper bound of the bytes that may have arrived and wait to be read; 0 where that cannot be known.
    pub(crate) fn receive_capacity(&self) -> usize {
        delegate!(self, receive_capacity(), Ok(0)).unwrap_or(0)
    }

    /// Upper bound of the bytes that may have been written and are not with the peer; `usize::MAX` where that cannot be known.
    pub(crate) fn send_capacity(&self) -> usize {
        delegate!(self, send_capacity(), Ok(0)).unwrap_or(usize::MAX)
    }

    /// The socket, if the stream is one.
    #[cfg(unix)]
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Stream::Tcp(socket) => Some(socket.as_fd()),
            Stream::Unix(socket) => Some(socket.as_fd()),
            _ => None,
        }
    }

    /// True if bytes can leave at all.
    pub(crate) fn is_attached(&self) -> bool {
        !matches!(self, Stream::Detached)
    }
}

fn would_block<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Tcp(_) => "Tcp",
            #[cfg(unix)]
            Stream::Unix(_) => "Unix",
            #[cfg(any(test, fuzzing))]
            Stream::Simulated(_) => "Simulated",
            Stream::Detached => "Detached",
        })
    }
}

/// Repeats a call that a signal has interrupted.
#[inline]
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
