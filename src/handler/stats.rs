//! Counters of one connection.

/// Counters of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnStats {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to the kernel. In [`Handler::on_close`](crate::Handler::on_close) more may be on their way.
    pub bytes_out: u64,
    /// Messages delivered to the handler; a message in pieces counts with its last piece, and
    /// one that arrives after [`Conn::close`](crate::Conn::close) counts although it is discarded.
    pub messages_in: u64,
    /// Messages taken by `send`.
    pub messages_out: u64,
    /// Messages dropped by [`Overflow::DropMessage`](crate::Overflow::DropMessage).
    pub dropped: u64,
}
