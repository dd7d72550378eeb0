//! A connection that was admitted, on its way from the listener to a worker.

use std::net::IpAddr;

use crate::io::accepted_socket::AcceptedSocket;
use crate::io::address::Address;

/// An accepted connection that no worker has taken yet.
pub(crate) struct Arrival {
    pub(crate) socket: AcceptedSocket,
    pub(crate) peer: Address,
    /// The IP address by which admission has counted the connection, and by which it is counted out. `None` if the connection
    /// is counted only among all: the peer has no IP address, or is a proxy, whose clients are counted instead.
    pub(crate) counted: Option<IpAddr>,
    /// The index of the service to which it belongs.
    pub(crate) service: u16,
}
