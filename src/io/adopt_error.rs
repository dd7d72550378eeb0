//! The error of a descriptor that cannot be adopted as a listener.

use std::error::Error;
use std::fmt;
use std::os::fd::RawFd;

/// A descriptor cannot be adopted as a listener, because it is none. Each variant holds the number of the descriptor.
///
/// [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with) returns it within an [`io::Error`](std::io::Error) of
/// kind [`InvalidInput`](std::io::ErrorKind::InvalidInput).
///
/// ```
/// use std::os::fd::OwnedFd;
/// use ringwheel::{AdoptError, Listen, Server};
/// # use ringwheel::{Conn, Handler, protocol::Raw};
/// # #[derive(Clone)]
/// # struct Echo;
/// # impl Handler for Echo {
/// #     type Protocol = Raw;
/// #     type Session = ();
/// #     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
/// #     fn on_message(&mut self, _conn: &mut Conn<'_, Raw>, _session: &mut (), _bytes: &[u8]) {}
/// # }
///
/// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// let error = Server::builder().listen_with(Listen::adopt(OwnedFd::from(socket)), Echo).unwrap_err();
/// let reason = error.get_ref().and_then(|error| error.downcast_ref::<AdoptError>());
/// assert!(matches!(reason, Some(AdoptError::NoStream(_))));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdoptError {
    /// The descriptor is no socket, but for example a file or a pipe.
    NoSocket(RawFd),
    /// The socket is not of type `SOCK_STREAM`.
    NoStream(RawFd),
    /// The family of the socket is none of IPv4, IPv6 and Unix.
    Family(RawFd),
    /// The socket does not listen. Only Linux, Android and FreeBSD tell.
    NotListening(RawFd),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (descriptor, wrong) = match self {
            AdoptError::NoSocket(descriptor) => (descriptor, "it is no socket"),
            AdoptError::NoStream(descriptor) => (descriptor, "the socket is no stream socket"),
            AdoptError::Family(descriptor) => {
                (descriptor, "the socket is neither of IPv4, IPv6 nor Unix")
            }
            AdoptError::NotListening(descriptor) => (descriptor, "the socket does not listen"),
        };
        write!(f, "descriptor {descriptor} cannot be adopted: {wrong}")
    }
}

impl Error for AdoptError {}
