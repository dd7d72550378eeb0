//! A connection of the load: plain TCP, or TLS over it. The modes use both alike.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use super::tls::TlsStream;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The socket, for its options.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// The socket alone.
    pub(crate) fn into_socket(self) -> TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.into_socket(),
        }
    }

    /// Like `read`, but the bytes will be read again.
    pub(crate) fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.peek(buffer),
            Self::Tls(stream) => stream.peek(buffer),
        }
    }

    /// Ends the sending direction; with TLS, a close_notify comes before the end.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.close_notify()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// True if the TLS handshake was a resumption by a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.is_resumed(),
        }
    }
}

/// A read that does not fill the buffer has drained the socket, with TLS, too.
impl Read for Stream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

/// A write that does not take all bytes has filled the socket, with TLS, too. TLS may keep encrypted bytes that the
/// socket has refused: `flush` sends them when the socket has room again, and is not an error when it has none.
impl Write for Stream {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}
