//! Terms of a listener: its address, protocol, socket options, limits and timeouts.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use mio::net::TcpListener;

use crate::connection::limits::{Limits, Timeouts};
use crate::io::socket_options::SocketOptions;
use crate::protocol::Protocol;

/// The address of a listener and the terms of its connections, for
/// [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with).
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
#[must_use = "nothing is bound before it is given to a server's builder"]
pub struct Listen<P> {
    addresses: io::Result<Vec<SocketAddr>>,
    pub(crate) protocol: P,
    pub(crate) options: SocketOptions,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) tick: Option<Duration>,
}

impl<P: Protocol + Default> Listen<P> {
    /// Terms for an address, with the handler's protocol in its default form. A protocol without a default, such as
    /// [`LengthPrefixed`](crate::protocol::LengthPrefixed), is given to [`with`](Self::with).
    ///
    /// The address is resolved now; if that fails, [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with)
    /// returns the error. Of several addresses the first that can be bound is taken. Port 0 stands for any free port, which
    /// [`ServerBuilder::local_addr`](crate::ServerBuilder::local_addr) then tells.
    pub fn on(address: impl ToSocketAddrs + fmt::Debug) -> Self {
        Listen::with(P::default(), address)
    }
}

impl<P: Protocol> Listen<P> {
    /// Terms for an address, as with [`on`](Self::on), and the given protocol.
    pub fn with(protocol: P, address: impl ToSocketAddrs + fmt::Debug) -> Self {
        let addresses = address.to_socket_addrs().map(Iterator::collect);
        let message = protocol.message_timeout();
        Listen {
            addresses: addresses.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot resolve {address:?}: {error}"))
            }),
            protocol,
            options: SocketOptions::default(),
            limits: Limits::default(),
            timeouts: Timeouts {
                message,
                ..Timeouts::default()
            },
            tick: None,
        }
    }
}

impl<P> Listen<P> {
    /// The limits of each connection. Default [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Evicts a connection from which nothing was received for this time. Default: never.
    ///
    /// Sending is no sign of life, but [`Conn::touch`](crate::Conn::touch) is. So is input that waits unread because the
    /// handler has paused reading or the output is above the high-water mark.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.idle = Some(timeout);
        self
    }

    /// Ends a connection whose first message is not complete after this time. Default: never.
    pub fn first_message_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.first_message = Some(timeout);
        self
    }

    /// Ends a connection whose peer has begun a message and has not completed it after this time, however slowly its bytes
    /// trickle in; `None` for never. Default: as [the protocol](Protocol::message_timeout) has it, which is 30 s for WebSocket
    /// and never for the other protocols of this crate.
    ///
    /// The loop notices after one to two times this. The time is extended while the handler has paused reading. For the first
    /// message [`first_message_timeout`](Self::first_message_timeout) counts instead, if it is set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringwheel::{Listen, protocol::Lines};
    ///
    /// let limited = Listen::<Lines>::on("127.0.0.1:0").message_timeout(Duration::from_secs(5));
    /// let unlimited = Listen::<Lines>::on("127.0.0.1:0").message_timeout(None);
    /// # drop((limited, unlimited));
    /// ```
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.message = timeout.into();
        self
    }

    /// Ends a connection whose peer takes none of the pending output for this time; `None` for never. Default 60 s.
    ///
    /// The loop notices after one to two times this. While the output is above the high-water mark, the peer's silence has no
    /// consequences, and this is the only deadline.
    pub fn write_stall_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write_stall = timeout;
        self
    }

    /// The time that an orderly close may take in all: to flush, and to wait for the peer's end of stream. Default 10 s.
    ///
    /// While the server drains, the deadline of the drain counts instead. A loop that was late grants the time once more.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.close = timeout;
        self
    }

    /// Calls [`Handler::on_tick`](crate::Handler::on_tick) on each worker every `period`, first one period after the worker
    /// has begun: for a game's step, or for housekeeping. A period of zero counts as one tick of the timing wheel. Default: never.
    pub fn tick_every(mut self, period: Duration) -> Self {
        self.tick = Some(period);
        self
    }

    /// `SO_REUSEPORT`: each worker accepts by itself on a socket of its own, and the kernel spreads the connections instead
    /// of the balancer. Default off: one acceptor hands over.
    ///
    /// On a system without this option listening fails.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.options.reuse_port = on;
        self
    }

    /// Connections that the kernel lets wait to be accepted, up to its own limit. Default 1,024.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// `TCP_NODELAY`: small messages leave at once. Default on.
    pub fn nodelay(mut self, on: bool) -> Self {
        self.options.nodelay = on;
        self
    }

    /// `SO_KEEPALIVE`: the kernel probes a peer that was silent for this time. Default off.
    pub fn keepalive(mut self, after: Duration) -> Self {
        self.options.keepalive = Some(after);
        self
    }

    /// `SO_RCVBUF`, in bytes. Default: the kernel's own tuning.
    pub fn receive_buffer_size(mut self, bytes: usize) -> Self {
        self.options.receive_buffer = Some(bytes);
        self
    }

    /// `SO_SNDBUF`, in bytes. Default: the kernel's own tuning.
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    /// `IPV6_V6ONLY`: an IPv6 listener takes no IPv4 connections. Default: the system's.
    pub fn v6_only(mut self, on: bool) -> Self {
        self.options.v6_only = Some(on);
        self
    }

    /// Binds the first address that can be bound, and listens.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Lines, LinesDecoder, Raw};

    /// Lines that have to come within a second.
    #[derive(Clone, Default)]
    struct QuickLines;

    impl Protocol for QuickLines {
        type Decoder = LinesDecoder;
        type Encoder = Lines;

        fn open(&self) -> (LinesDecoder, Lines) {
            Lines::new().open()
        }

        fn message_timeout(&self) -> Option<Duration> {
            Some(Duration::from_secs(1))
        }
    }

    #[test]
    fn a_protocol_has_a_message_timeout_of_its_own_which_the_listener_overrides() {
        let listen = || Listen::<QuickLines>::on("127.0.0.1:0");
        assert_eq!(listen().timeouts.message, Some(Duration::from_secs(1)));
        let other = Duration::from_millis(10);
        assert_eq!(
            listen().message_timeout(other).timeouts.message,
            Some(other)
        );
        assert_eq!(listen().message_timeout(None).timeouts.message, None);
        assert_eq!(Listen::<Raw>::on("127.0.0.1:0").timeouts.message, None);
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_websocket_message_has_30_seconds_by_default() {
        let listen = Listen::with(crate::websocket::WebSocket::new(), "127.0.0.1:0");
        assert_eq!(listen.timeouts.message, Some(Duration::from_secs(30)));
    }

    #[test]
    fn an_address_that_cannot_be_resolved_is_named() {
        let error = Listen::<Raw>::on("no port here").bind().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot resolve \"no port here\": "),
            "{text}"
        );
    }
}
