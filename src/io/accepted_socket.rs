//! A socket of any family that a listening socket has accepted.

use mio::net::TcpStream;

use crate::io::stream::Stream;

/// A socket that was accepted, on its way to the thread that makes a [`Stream`] of it.
pub(crate) enum AcceptedSocket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

impl From<AcceptedSocket> for Stream {
    fn from(socket: AcceptedSocket) -> Self {
        match socket {
            AcceptedSocket::Tcp(stream) => Stream::Tcp(stream),
            #[cfg(unix)]
            AcceptedSocket::Unix(stream) => Stream::Unix(stream),
        }
    }
}
