//! The address of one end of a connection: IP address and port, or a Unix socket's path or name.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::option;
use std::path::Path;

/// The address of a peer, or one that a server listens on.
///
/// An address compares with a [`SocketAddr`], is made from one, and can be passed wherever [`ToSocketAddrs`] is taken, as by
/// [`TcpStream::connect`](std::net::TcpStream::connect).
///
/// ```
/// use std::net::{IpAddr, Ipv4Addr, SocketAddr};
/// use std::path::Path;
/// use ringwheel::Address;
///
/// let tcp = SocketAddr::from(([127, 0, 0, 1], 1833));
/// let address = Address::from(tcp);
/// assert_eq!(address, tcp);
/// assert_eq!(address.ip(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
/// assert_eq!(address.port(), Some(1833));
/// assert_eq!(address.to_string(), "127.0.0.1:1833");
///
/// let unix = Address::Unix(Some(Path::new("/run/echo.sock").into()));
/// assert_eq!(unix.ip(), None);
/// assert_eq!(unix.to_string(), "unix:/run/echo.sock");
///
/// let name = Address::Abstract(Box::from(*b"echo"));
/// assert_eq!(name.to_string(), "unix:@echo");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a Unix socket. `None` if the socket has no path: the client's end of most connections.
    Unix(Option<Box<Path>>),
    /// The abstract name of a Unix socket, which is no file. Only on Linux and Android.
    Abstract(Box<[u8]>),
}

impl Address {
    /// The IP address; `None` for a Unix socket.
    #[inline]
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|address| address.ip())
    }

    /// The port; `None` for a Unix socket.
    #[inline]
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// The IP address and the port; `None` for a Unix socket.
    #[inline]
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) | Address::Abstract(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address)
    }
}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.socket_addr() == Some(*other)
    }
}

impl PartialEq<Address> for SocketAddr {
    fn eq(&self, other: &Address) -> bool {
        other == self
    }
}

/// The address itself, without a lookup. A Unix socket is an error of kind [`io::ErrorKind::InvalidInput`].
impl ToSocketAddrs for Address {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.socket_addr() {
            Some(address) => Ok(Some(address).into_iter()),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{self} is not an IP address"),
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Address::Unix(None) => f.write_str("unix"),
            Address::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every connection holds one.
    #[test]
    fn an_address_is_as_small_as_a_socket_address() {
        assert_eq!(size_of::<Address>(), 32);
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
    }

    #[test]
    fn an_ip_address_is_connected_to_without_a_lookup() {
        let address: SocketAddr = "[::1]:80".parse().unwrap();
        let resolved = Address::Ip(address).to_socket_addrs().unwrap();
        assert_eq!(resolved.collect::<Vec<_>>(), [address]);
    }

    /// A peer chooses its name, which ends up in logs.
    #[test]
    fn an_abstract_name_is_printed_in_one_line() {
        let name = Address::Abstract(Box::from(*b"one\n\0\xfftwo"));
        assert_eq!(name.to_string(), "unix:@one\\n\\x00\\xfftwo");
    }

    #[test]
    fn a_unix_socket_has_no_ip_address() {
        let unnamed = Address::Unix(None);
        assert_eq!((unnamed.ip(), unnamed.port()), (None, None));
        assert_eq!(unnamed.to_string(), "unix");
        let error = unnamed.to_socket_addrs().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
