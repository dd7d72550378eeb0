//! What a listener is: an address, a protocol, socket options, limits and deadlines.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use mio::net::TcpListener;

use crate::connection::limits::{Limits, Timeouts};
use crate::io::socket_options::SocketOptions;
use crate::protocol::Protocol;

/// Where and how to listen, for [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with).
///
/// ```
/// use std::time::Duration;
/// use ringwheel::{Limits, Listen, protocol::Lines};
///
/// let listen = Listen::with(Lines::new().max_length(512), "127.0.0.1:0")
///     .idle_timeout(Duration::from_secs(60))
///     .limits(Limits::default().output(1 << 20));
/// # drop(listen);
/// ```
#[derive(Debug)]
pub struct Listen<P> {
    addresses: io::Result<Vec<SocketAddr>>,
    pub(crate) protocol: P,
    pub(crate) options: SocketOptions,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) tick: Option<Duration>,
}

impl<P: Protocol + Default> Listen<P> {
    /// Listens on an address, and speaks the protocol that the handler names, with its defaults.
    ///
    /// Port 0 takes a free port, which [`ServerBuilder::local_addrs`](crate::ServerBuilder::local_addrs) tells. A name that cannot be
    /// resolved is an error of [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with).
    pub fn on(address: impl ToSocketAddrs) -> Self {
        Listen::with(P::default(), address)
    }
}

impl<P: Protocol> Listen<P> {
    /// Listens on an address as [`on`](Self::on) does, and speaks the given protocol.
    pub fn with(protocol: P, address: impl ToSocketAddrs) -> Self {
        Listen {
            addresses: address.to_socket_addrs().map(Iterator::collect),
            protocol,
            options: SocketOptions::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            tick: None,
        }
    }
}

impl<P> Listen<P> {
    /// What each connection may hold.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Evicts a connection from which nothing was received for so long. Sending is no sign of life;
    /// [`Conn::touch`](crate::Conn::touch) is. What has come and is not read, because the handler has paused reading or
    /// the output is above the high-water mark, is one. Default: never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.idle = Some(timeout);
        self
    }

    /// Ends a connection whose first message is not whole after so long. Default: never.
    #[must_use]
    pub fn first_message_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.first_message = Some(timeout);
        self
    }

    /// Ends a connection whose peer has begun a message and not completed it after so long, however it drips; a message
    /// that the handler does not let in, because it has paused reading, has time. Noticed after one to two times this.
    /// For the first message [`first_message_timeout`](Self::first_message_timeout) counts instead, where it is set.
    /// Default: never.
    #[must_use]
    pub fn message_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.message = Some(timeout);
        self
    }

    /// Ends a connection whose peer takes none of the pending output for so long; `None` for never. Noticed after one to
    /// two times this. For a peer above the high-water mark, whose silence is excused, it is the only deadline. Default 60 s.
    #[must_use]
    pub fn write_stall_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write_stall = timeout;
        self
    }

    /// How long an orderly close may take in all: to flush, and to wait for the peer's end of stream. While the server
    /// drains its deadline counts instead, and a loop that was held up grants the time once more. Default 10 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.close = timeout;
        self
    }

    /// Calls [`Handler::on_tick`](crate::Handler::on_tick) on each worker every `period`, first after one period: for a game's
    /// step, or for housekeeping. A period of zero counts as one tick of the timing wheel. Default: never.
    #[must_use]
    pub fn tick_every(mut self, period: Duration) -> Self {
        self.tick = Some(period);
        self
    }

    /// Each worker accepts for itself on a socket of its own (`SO_REUSEPORT`), and the kernel, not the balancer, spreads the connections.
    /// Where there is no such option, listening fails. Default off: one acceptor hands over.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.options.reuse_port = on;
        self
    }

    /// Connections that the kernel keeps waiting to be accepted. The kernel has a limit of its own. Default 1,024.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// `TCP_NODELAY`: small messages leave at once. Default on.
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.options.nodelay = on;
        self
    }

    /// `SO_KEEPALIVE`: the kernel probes a peer that was silent for so long. Default off.
    #[must_use]
    pub fn keepalive(mut self, after: Duration) -> Self {
        self.options.keepalive = Some(after);
        self
    }

    /// `SO_RCVBUF`, in bytes. Default: the kernel's own tuning.
    #[must_use]
    pub fn receive_buffer_size(mut self, bytes: usize) -> Self {
        self.options.receive_buffer = Some(bytes);
        self
    }

    /// `SO_SNDBUF`, in bytes. Default: the kernel's own tuning.
    #[must_use]
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    /// `IPV6_V6ONLY`: an IPv6 listener takes no IPv4 connections. Default: the system's.
    #[must_use]
    pub fn v6_only(mut self, on: bool) -> Self {
        self.options.v6_only = Some(on);
        self
    }

    /// Binds to the first address that can be had, and listens.
    pub(crate) fn bind(&mut self) -> io::Result<TcpListener> {
        self.limits
            .check()
            .map_err(|wrong| io::Error::new(io::ErrorKind::InvalidInput, wrong))?;
        let addresses = std::mem::replace(&mut self.addresses, Ok(Vec::new()))?;
        let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for address in addresses {
            match self.options.listen(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => {
                    failure =
                        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
                }
            }
        }
        Err(failure)
    }
}
