//! A listening socket of any family.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};

use mio::net::TcpListener;
use mio::{Interest, Registry, Token};

use crate::io::accepted_socket::AcceptedSocket;
use crate::io::address::Address;
#[cfg(unix)]
use crate::io::unix_listener::UnixListener;

/// A listening socket, which accepts TCP or Unix connections.
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl ListeningSocket {
    /// Has the poll announce connections that wait.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            ListeningSocket::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => socket.register(registry, token),
        }
    }

    /// Takes one of the connections that wait, with the address of its peer.
    pub(crate) fn accept(&self) -> io::Result<(AcceptedSocket, Address)> {
        match self {
            ListeningSocket::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                Ok((AcceptedSocket::Tcp(stream), peer.into()))
            }
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => {
                let (stream, peer) = socket.accept()?;
                Ok((AcceptedSocket::Unix(stream), peer))
            }
        }
    }

    /// The address at which clients reach the socket.
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            ListeningSocket::Tcp(socket) => socket.local_addr().map(Address::Ip),
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => Ok(socket.local_addr()),
        }
    }

    /// Has the poll announce nothing more. A socket of which somebody holds a duplicate would stay registered when it is
    /// closed (epoll(7), "Questions and answers").
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            ListeningSocket::Tcp(socket) => registry.deregister(socket),
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => socket.deregister(registry),
        }
    }

    /// Another descriptor of the same socket.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            ListeningSocket::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            ListeningSocket::Unix(socket) => socket.duplicate(),
        }
    }

    /// Leaves the address to a successor: the file of a Unix socket stays when the socket is closed.
    pub(crate) fn leave(&mut self) {
        match self {
            ListeningSocket::Tcp(_) => {}
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => socket.leave(),
        }
    }

    /// Takes the address away from new clients where that is possible before the socket is closed: those of a Unix socket
    /// then find no file, and no connection comes between the last that is accepted and the close.
    pub(crate) fn withdraw(&mut self) {
        match self {
            ListeningSocket::Tcp(_) => {}
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => socket.withdraw(),
        }
    }
}
