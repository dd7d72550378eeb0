//! A connection that was admitted, on its way from the listener to a worker.

use crate::io::accepted_socket::AcceptedSocket;
use crate::io::address::Address;

/// An accepted connection that no worker has taken yet.
pub(crate) struct Arrival {
    pub(crate) socket: AcceptedSocket,
    pub(crate) peer: Address,
    /// The index of the service to which it belongs.
    pub(crate) service: u16,
}
