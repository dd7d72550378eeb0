//! Terms of a listener: its address, protocol, socket options, limits and timeouts.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::ops::RangeInclusive;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

use crate::connection::limits::{Limits, Timeouts};
use crate::io::address::Address;
use crate::io::listening_socket::ListeningSocket;
use crate::io::socket_options::SocketOptions;
use crate::opening::terms::OpeningTerms;
use crate::protocol::Protocol;
use crate::server::place::Place;
use crate::server::setting_error::check;

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
    place: Place,
    pub(crate) protocol: P,
    pub(crate) options: SocketOptions,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) tick: Option<Duration>,
    pub(crate) opening: OpeningTerms,
}

impl<P: Protocol + Default> Listen<P> {
    /// Terms for an address, with the handler's protocol in its default form. A protocol without a default, such as
    /// [`LengthPrefixed`](crate::protocol::LengthPrefixed), is given to [`with`](Self::with).
    ///
    /// The address is resolved now; if that fails, [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with)
    /// returns the error, which names the address. Port 0 stands for any free port, which
    /// [`ServerBuilder::local_addr`](crate::ServerBuilder::local_addr) then tells.
    ///
    /// Of several addresses all are bound, and served by the same handlers: `localhost` is `127.0.0.1` and `::1` on most
    /// machines, and clients may try either. If the port is 0, all get the same. An address that the machine does not have,
    /// such as `::1` where there is no IPv6, is left out, with a line in the log, as long as another can be bound; any other
    /// failure is an error.
    pub fn on(address: impl ToSocketAddrs + fmt::Debug) -> Self {
        Listen::with(P::default(), address)
    }

    /// Terms for a Unix socket at a path, with the handler's protocol in its default form. See [`unix_with`](Self::unix_with).
    #[cfg(unix)]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Listen::unix_with(P::default(), path)
    }

    /// Terms for a socket that listens already, with the handler's protocol in its default form. See
    /// [`adopt_with`](Self::adopt_with).
    #[cfg(unix)]
    pub fn adopt(descriptor: OwnedFd) -> Self {
        Listen::adopt_with(P::default(), descriptor)
    }

    /// Terms for a Unix socket with an abstract name, with the handler's protocol in its default form. See
    /// [`abstract_with`](Self::abstract_with).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Listen::abstract_with(P::default(), name)
    }
}

impl<P: Protocol> Listen<P> {
    /// Terms for an address, as with [`on`](Self::on), and the given protocol.
    pub fn with(protocol: P, address: impl ToSocketAddrs + fmt::Debug) -> Self {
        let addresses = address.to_socket_addrs().map(Iterator::collect);
        let addresses = addresses.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot resolve {address:?}: {error}"))
        });
        Listen::at(protocol, Place::Ip(addresses))
    }

    /// Terms for a Unix socket at a path, and the given protocol. Only on Unix.
    ///
    /// **Binding.** The socket is bound to a temporary name beside the path, gets its [mode](Self::mode), listens, and then takes
    /// its place at the path in one step. A socket file on which nobody listens is replaced: a server that was killed leaves one.
    /// One on which a server listens is an error of kind [`AddrInUse`](io::ErrorKind::AddrInUse); to find out, that server is
    /// connected to, and sees a connection that ends at once. (The BSDs refuse a client also while the backlog is full, and so a
    /// server that is overloaded is taken for gone.) Of several servers that start at one time one gets the path, and the
    /// others get that error; only where the file system has no hard links does the last one get it. A file that is no socket
    /// is an error of kind [`AlreadyExists`](io::ErrorKind::AlreadyExists), and is never touched.
    ///
    /// **The end.** The file is removed when the server begins to drain, before it accepts those who wait, or when it stops, or
    /// is dropped without having run; but not if another file has taken its place. From then on clients find nothing, and the
    /// next server can start at the path.
    ///
    /// **Limits.** A path has at most 102 bytes on Linux and 98 on the BSDs and macOS: 5 less than the kernel's limit, for the
    /// temporary name. (Tools that list sockets show that name, the path with `~` and four digits. While the server takes its place,
    /// the path with `~lock` is another name of its socket.) The directory must exist, and
    /// the server must be able to write to it; a path that is not absolute begins at the working directory of this moment.
    ///
    /// **Options.** [`nodelay`](Self::nodelay), [`keepalive`](Self::keepalive) and [`v6_only`](Self::v6_only) have no effect.
    /// [`reuse_port`](Self::reuse_port) is an error: a path has one socket. Limits per IP address do not count the clients.
    ///
    /// All errors come from [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with), and name the path.
    ///
    /// ```
    /// use ringwheel::{Address, Conn, Handler, Listen, Server, protocol::Lines};
    ///
    /// #[derive(Clone)]
    /// struct Hello;
    ///
    /// impl Handler for Hello {
    ///     type Protocol = Lines;
    ///     type Session = ();
    ///     fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
    ///         conn.send("hello");
    ///     }
    ///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
    /// }
    ///
    /// let path = std::env::temp_dir().join(format!("hello-{}.sock", std::process::id()));
    /// let listen = Listen::unix_with(Lines::new(), &path).mode(0o600);
    /// let server = Server::builder().listen_with(listen, Hello)?.build()?;
    /// assert_eq!(server.local_addrs(), [Address::Unix(Some(path.as_path().into()))]);
    /// assert!(path.exists());
    /// drop(server);
    /// assert!(!path.exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn unix_with(protocol: P, path: impl AsRef<Path>) -> Self {
        Listen::at(protocol, Place::Path(path.as_ref().into()))
    }

    /// Terms for a Unix socket with an abstract name, and the given protocol. Only on Linux and Android.
    ///
    /// The name is the kernel's own, and no file: it has no permissions, so every process of the network namespace can connect,
    /// and it is gone when the server is. It has 1 to 107 bytes of any kind. If it is taken, the error is of kind
    /// [`AddrInUse`](io::ErrorKind::AddrInUse). [`mode`](Self::mode) is an error; other options are as for
    /// [`unix_with`](Self::unix_with).
    ///
    /// ```
    /// use ringwheel::{Listen, protocol::Lines};
    ///
    /// let listen = Listen::abstract_with(Lines::new(), "hello");
    /// # drop(listen);
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn abstract_with(protocol: P, name: impl AsRef<[u8]>) -> Self {
        Listen::at(protocol, Place::Abstract(name.as_ref().into()))
    }

    /// Terms for a socket that is bound and listens already, and the given protocol: one that a service manager has passed to
    /// this process, or that a [predecessor](crate::Server::duplicate_listeners) hands on. Only on Unix.
    ///
    /// It may be a TCP socket of IPv4 or IPv6, or a Unix stream socket at a path or with an abstract name. It is checked by
    /// [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with), and the [`AdoptError`](crate::AdoptError) names what is
    /// wrong with it. (That it listens, only Linux, Android and FreeBSD tell; elsewhere nothing is accepted from a socket that
    /// does not.) Clients who connected before and wait in the backlog are served.
    ///
    /// **The socket** becomes non-blocking, and its descriptor is closed in programs that this one starts. Others that hold the
    /// socket share the first, and the options below: these are of the socket, and not of a descriptor.
    ///
    /// **Options.** [`nodelay`](Self::nodelay), [`keepalive`](Self::keepalive) and the sizes of the buffers are set; keepalive and
    /// sizes that are not given stay as the socket has them. [`backlog`](Self::backlog) and [`v6_only`](Self::v6_only) have no
    /// effect: they were settled when the socket was bound. [`mode`](Self::mode) and [`reuse_port`](Self::reuse_port) are
    /// errors. With several workers one acceptor hands over; to go on with sockets that share a port, adopt each of them as a
    /// listener.
    ///
    /// **The end.** A drain accepts those who wait and closes the descriptor, unless the server [retires](crate::ServerHandle::retire).
    /// The file of a Unix socket is never removed: it belongs to whoever has bound the socket. A server that binds the path
    /// anew replaces it once nobody listens.
    ///
    /// ```
    /// # use ringwheel::{Conn, Handler};
    /// # #[derive(Clone)]
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// #     type Protocol = Lines;
    /// #     type Session = ();
    /// #     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
    /// #     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
    /// # }
    /// use std::net::TcpListener;
    /// use ringwheel::{Listen, Server, protocol::Lines};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let listen = Listen::adopt_with(Lines::new().max_length(512), listener.into());
    /// let server = Server::builder().listen_with(listen, Echo)?.build()?;
    /// assert_eq!(server.local_addr(), Some(address));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn adopt_with(protocol: P, descriptor: OwnedFd) -> Self {
        Listen::at(protocol, Place::Adopted(descriptor))
    }

    fn at(protocol: P, place: Place) -> Self {
        let message = protocol.message_timeout();
        Listen {
            place,
            protocol,
            options: SocketOptions::default(),
            limits: Limits::default(),
            timeouts: Timeouts {
                message,
                ..Timeouts::default()
            },
            tick: None,
            opening: OpeningTerms::default(),
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
    /// Sending is no sign of life, but [`Conn::touch`](crate::Conn::touch) is. A peer that is not listened to is not idle, while
    /// the handler has paused reading or the output is above the high-water mark; its time starts anew afterwards. A pause
    /// has no limit of its own, and the pending output has [`write_stall_timeout`](Self::write_stall_timeout).
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

    /// Ends a connection whose peer takes less of the pending output within this time than
    /// [`min_send_rate`](Self::min_send_rate) demands, with [`Timeout::WriteStall`](crate::Timeout::WriteStall) and a reset;
    /// `None` for never. Default 60 s.
    ///
    /// The loop notices after one to two times this. While the output is above the high-water mark, the peer's silence has no
    /// consequences, and this is the only deadline. A peer with a large receive buffer that reads slowly may need more time: see
    /// [`min_send_rate`](Self::min_send_rate).
    pub fn write_stall_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write_stall = timeout;
        self
    }

    /// The least rate at which a peer must take pending output, in bytes per second. Default 1,024. With 0 a single byte is
    /// enough; the wait for what the kernel holds at a [close](Self::close_timeout), where no progress can be seen, then counts
    /// with 1,024.
    ///
    /// It is measured over each [`write_stall_timeout`](Self::write_stall_timeout), and while the connection closes over each
    /// time of the [close](Self::close_timeout). The kernel takes output in steps of up to 192 KiB, so a peer may have read that much
    /// unseen: this much less is demanded, but at least a byte in each time. It is forgiven once, and not in each time anew: a peer
    /// that stays behind the rate by more in all, while output is pending, is cut off. A peer need not take more than what was
    /// pending when the time began. A stall of `T` seconds cannot be told from a peer that reads less than `192 KiB / T` in a
    /// second, which is 3.2 KiB by default; a close waits for long enough to see it.
    ///
    /// So nobody keeps the server's memory by reading a byte now and then: the output that is pending at a close, at most
    /// [`Limits::output`] of `P` bytes, is out or given up after `(P + 192 KiB) / rate` seconds and one time of the close. Where the
    /// protocol awaits an answer, the part after that adds up to `192 KiB / rate` seconds and another time.
    ///
    /// **Large windows.** A kernel announces room in steps that grow with its receive buffer, and the server cannot see what is read
    /// in between: a peer that reads slowly all the time is cut off if its step takes longer than the time. With buffers of up to
    /// 1 MiB the steps are within 192 KiB. Measured on Linux over 60 s, a peer with 2 or 6 MiB was cut off at 4 KiB/s and not at 5,
    /// one with 32 MiB at 16 KiB/s and not at 24; a close reset one with 8.5 MB at 2 KiB/s after 192 s. A longer
    /// `write_stall_timeout` or `close_timeout` with a smaller rate helps, and a smaller receive buffer at the client.
    pub fn min_send_rate(mut self, bytes_per_second: u32) -> Self {
        self.timeouts.least_rate = bytes_per_second;
        self
    }

    /// The time for each part of an orderly close: for the protocol's answer to our last words, for the output to leave, for the
    /// peer's end of stream. Default 10 s.
    ///
    /// While output is pending the time is longer: that in which a peer at the least rate reads 192 KiB, a step of the kernel, but at
    /// most 20 times this; 192 s by default. While output leaves at [`min_send_rate`](Self::min_send_rate), measured over this time and
    /// since the close began, it begins anew: a peer that reads gets all of it, unless it reads slowly through a large window (see
    /// there). A peer that does not is cut off with a reset, and completions of what it has not got tell
    /// [`SendOutcome::Lost`](crate::SendOutcome::Lost). [`Handler::on_close`](crate::Handler::on_close) does not wait for any of
    /// this.
    ///
    /// **What the kernel holds.** Output that has left for the kernel may not be with the peer, and a socket that is closed
    /// while its peer goes on sending loses it: the kernel answers with a reset. So the socket stays until the peer has ended
    /// its stream, or could have read at the least rate all that the kernel may hold: `B / rate` seconds, if that is longer,
    /// where `B` is what the connection has sent in its life, but no more than 64 KiB beyond the kernel's send buffer
    /// (`SO_SNDBUF`, see [`send_buffer_size`](Self::send_buffer_size)). A peer that has been sent less than 10 KiB is gone after 10 s;
    /// one that was sent 100 KiB and neither ends nor resets may stay for 100 s, and with a send buffer that has grown to 4 MiB
    /// for 70 minutes. The kernel does not tell how much it holds, so a peer that has read all of it waits as long, and so
    /// does one that is silent, which may speak later. It costs a descriptor and a place in
    /// [`ServerBuilder::max_connections`](crate::ServerBuilder::max_connections) and
    /// [`max_connections_per_ip`](crate::ServerBuilder::max_connections_per_ip); each second has cost the peer as many bytes
    /// received as the least rate has, which is what a slow reader pays, too. Input is read and discarded meanwhile; beyond
    /// this timeout at most 256 KiB in each (of at least 1 s), so that a flood waits in the kernel.
    ///
    /// On a Unix socket the kernel holds nothing that a close could lose, so none of these waits is longer than this timeout.
    ///
    /// **Sources.** While a close waits for a [source](crate::Conn::send_from), it must send something within this time, and the
    /// peer must take what is pending at the least rate, as for other output. Otherwise the connection ends with a reset and
    /// [`Timeout::SourceStall`](crate::Timeout::SourceStall) or [`Timeout::WriteStall`](crate::Timeout::WriteStall).
    ///
    /// While the server drains, the deadline of the drain counts instead, whatever leaves. A loop that was late grants the time
    /// once more; to a peer whose end alone is awaited only if the loop has stood still for an eighth of the time.
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
    /// On a system without this option listening fails, and so it does for a Unix socket and for one that is adopted.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.options.reuse_port = on;
        self
    }

    /// The permission bits of the file of a [Unix socket](Self::unix_with), such as `0o660`, at most `0o777`: a client needs the
    /// permission to write (unix(7), "Pathname socket ownership and permissions"). They are exact, whatever the umask.
    /// Default: all, without those that the umask takes away.
    ///
    /// For any other listener it is an error.
    #[cfg(unix)]
    pub fn mode(mut self, mode: u32) -> Self {
        self.options.mode = Some(mode);
        self
    }

    /// Connections that the kernel lets wait to be accepted, up to its own limit. Default 1,024. A socket that is adopted keeps
    /// the backlog with which it was made to listen.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// `TCP_NODELAY`: small messages leave at once. Default on.
    pub fn nodelay(mut self, on: bool) -> Self {
        self.options.nodelay = on;
        self
    }

    /// `SO_KEEPALIVE`: the kernel probes a peer that was silent for this time, from 1 s to 32,767 s. Default off.
    pub fn keepalive(mut self, after: Duration) -> Self {
        self.options.keepalive = Some(after);
        self
    }

    /// `SO_RCVBUF`, in bytes, up to 2 GiB. Default: the kernel's own tuning. Linux ignores it for Unix sockets: there the sender's
    /// buffer counts.
    pub fn receive_buffer_size(mut self, bytes: usize) -> Self {
        self.options.receive_buffer = Some(bytes);
        self
    }

    /// `SO_SNDBUF`, in bytes, up to 2 GiB. Default: the kernel's own tuning.
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    /// `IPV6_V6ONLY`: an IPv6 listener takes no IPv4 connections. Default: the system's.
    pub fn v6_only(mut self, on: bool) -> Self {
        self.options.v6_only = Some(on);
        self
    }

    /// Binds the addresses, and listens. Returns the sockets with the addresses at which clients reach them.
    pub(crate) fn bind(&mut self) -> io::Result<Vec<(Address, ListeningSocket)>> {
        self.check()?;
        let place = std::mem::replace(&mut self.place, Place::Ip(Ok(Vec::new())));
        let sockets = place.bind(&self.options)?;
        let with_address = |socket: ListeningSocket| Ok((socket.local_addr()?, socket));
        sockets.into_iter().map(with_address).collect()
    }

    fn check(&self) -> io::Result<()> {
        let invalid = |wrong| io::Error::new(io::ErrorKind::InvalidInput, wrong);
        self.limits.check().map_err(invalid)?;
        let options = &self.options;
        let buffers = [
            ("receive_buffer_size", options.receive_buffer),
            ("send_buffer_size", options.send_buffer),
        ];
        for (setting, bytes) in buffers {
            check(setting, bytes.unwrap_or(0), 0..=MAX_SOCKET_BUFFER)?;
        }
        let keepalive = options.keepalive.unwrap_or(*KEEPALIVE.start());
        check("keepalive", keepalive, KEEPALIVE)?;
        self.place.check(options)
    }
}

/// The kernel takes the size as a C int.
const MAX_SOCKET_BUFFER: usize = i32::MAX as usize;
/// The range that Linux takes (tcp(7), `TCP_KEEPIDLE`).
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

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
        let error = Listen::<Raw>::on("no port here")
            .bind()
            .map(drop)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot resolve \"no port here\": "),
            "{text}"
        );
    }
}
