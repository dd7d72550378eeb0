//! Access to a connection's socket.

use std::os::fd::BorrowedFd;

use super::conn::Conn;
use crate::protocol::Protocol;

impl<P: Protocol> Conn<'_, P> {
    /// The connection's socket, for options and questions that have no method here: the peer's credentials on a Unix socket, or
    /// the statistics of TCP. Only on Unix. `None` only if the connection has no socket, which never happens in a server.
    ///
    /// Crates that set socket options without unsafe code, such as socket2, nix and rustix, take it as it is. Whoever reads from it,
    /// or writes to it, takes bytes out of the stream or puts them in between.
    ///
    /// ```
    /// use ringwheel::{Conn, protocol::Lines};
    ///
    /// /// Marks the packets of a connection as urgent (IPTOS_LOWDELAY, RFC 1349).
    /// fn prefer(conn: &Conn<'_, Lines>) -> std::io::Result<()> {
    ///     match conn.socket() {
    ///         Some(socket) => socket2::SockRef::from(&socket).set_tos_v4(0x10),
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    ///
    /// `unix_credentials` in `examples/applications` lets in only the users that it knows.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.connection.output.socket()
    }
}
