//! Settings of the stages in which connections open before their protocol sees them.

use std::time::Duration;

use crate::io::trusted_networks::TrustedNetworks;
use crate::server::builder::ServerBuilder;
use crate::server::listen::Listen;

impl<P> Listen<P> {
    /// Takes connections from these proxies, each of which begins with a PROXY header in version 1 or 2: the proxy tells with it
    /// whose connection it passes on. Default: no header is expected.
    ///
    /// The handler meets the connection after the header. The client's address is then that of the peer, in
    /// [`Conn::peer_addr`](crate::Conn::peer_addr), in logs, and for
    /// [`ServerBuilder::max_connections_per_ip`](crate::ServerBuilder::max_connections_per_ip), which does not count the proxy's.
    /// [`Conn::proxy_header`](crate::Conn::proxy_header) has the rest of the header. A header without the client's address
    /// (`UNKNOWN` in version 1, `LOCAL` in version 2, as for the health checks of a proxy) leaves the proxy's own address in
    /// its place, and that one is counted. A [`Balance`](crate::balance::Balance) sees the proxy's address: it picks the worker
    /// that reads the header.
    ///
    /// **Whom to trust.** A header may name any address. A peer that is not among `proxies` is reset at once, whatever it
    /// sends: a listener is for proxies, or it is not. The clients of a Unix socket have no network, and are trusted with
    /// [`TrustedNetworks::with_unix_sockets`].
    ///
    /// **Refused headers.** A malformed header resets the connection with the first byte that cannot belong to one; one that is
    /// not whole within [`opening_timeout`](Self::opening_timeout), or is longer than
    /// [`ProxyHeader`](crate::ProxyHeader) allows, resets it too. [`ServerStats`](crate::ServerStats) counts both, and the log has
    /// the reason at the level of debug.
    ///
    /// ```
    /// use ringwheel::{Conn, Handler, Listen, Server, TrustedNetworks, protocol::Lines};
    ///
    /// #[derive(Clone)]
    /// struct WhoAmI;
    ///
    /// impl Handler for WhoAmI {
    ///     type Protocol = Lines;
    ///     type Session = ();
    ///     fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
    ///         let client = conn.peer_addr().to_string();
    ///         conn.send(&client);
    ///     }
    ///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
    /// }
    ///
    /// let proxies = TrustedNetworks::of(["10.0.0.0/8", "::1"]).expect("these are networks");
    /// let listen = Listen::on("127.0.0.1:0").proxy_protocol(proxies);
    /// let server = Server::builder().listen_with(listen, WhoAmI)?.build()?;
    /// # drop(server);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn proxy_protocol(mut self, proxies: TrustedNetworks) -> Self {
        self.opening.proxies = Some(proxies);
        self
    }

    /// The time in which a connection must be open: its PROXY header has come, and its handshake, such as that of TLS, is
    /// done. It counts from the moment at which a worker takes the connection. Default 10 s.
    ///
    /// A connection that is late is reset, and [`ServerStats::openings_late`](crate::ServerStats::openings_late) counts it. A worker
    /// that was busy takes a last look first: bytes that have arrived by then, and steps of a handshake that only wait for the
    /// worker, still count.
    /// Other deadlines, such as [`first_message_timeout`](Self::first_message_timeout), begin once the connection is open.
    /// Without [`proxy_protocol`](Self::proxy_protocol) and TLS it has no effect.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringwheel::{Listen, TrustedNetworks, protocol::Lines};
    ///
    /// let listen = Listen::<Lines>::on("127.0.0.1:0")
    ///     .proxy_protocol(TrustedNetworks::of(["127.0.0.1"])?)
    ///     .opening_timeout(Duration::from_secs(2));
    /// # drop(listen);
    /// # Ok::<(), ringwheel::NetworkError>(())
    /// ```
    pub fn opening_timeout(mut self, timeout: Duration) -> Self {
        self.opening.timeout = timeout;
        self
    }
}

impl ServerBuilder {
    /// The limit of connections of one worker that are opening at one time: whose PROXY header has not come, or whose handshake
    /// is not done. From 1 to 65,536, default 1,024.
    ///
    /// When one more comes, an older one gives way with a reset, and
    /// [`ServerStats::openings_displaced`](crate::ServerStats::openings_displaced) counts it. It is one of the address that has
    /// most connections opening at its listener, with the one that comes, and of these the one that has made no progress for longest.
    /// Progress is a header that is whole, or a message of the handshake, and not a byte. So a flood from a few addresses displaces itself:
    /// an address with fewer openings than another loses none.
    ///
    /// Addresses count as for [`max_connections_per_ip`](Self::max_connections_per_ip): with IPv6 by
    /// [`ipv6_prefix`](Self::ipv6_prefix), and behind a proxy the client's. A proxy's connection whose header has not come counts for
    /// itself, and all peers on a Unix socket count as one address.
    ///
    /// The limit works only where it is the smaller one: if the openings of all workers reach
    /// [`max_connections`](Self::max_connections) or the number of file descriptors first, newcomers are refused or shed.
    ///
    /// Each may hold 64 KiB of received bytes, which is the limit before its handshake is done, and the state of the handshake.
    ///
    /// **Waiting for a busy worker.** So many connections besides may be open and wait until their worker adopts them, at any
    /// listener, also without PROXY header and TLS. They do where callbacks take so long, or so many connections wait for a turn, that
    /// the worker adopts few at a time. Meanwhile addresses take turns, so a client does not wait for all connections of another one. A connection
    /// whose peer resets it meanwhile is dropped without a callback, also if the peer has sent something before, and
    /// [`ServerStats::openings_abandoned`](crate::ServerStats::openings_abandoned) counts it.
    ///
    /// When one more comes, the address with most of them loses the one that has waited longest, with a reset, and
    /// [`ServerStats::openings_displaced`](crate::ServerStats::openings_displaced) counts it. An address with at most a 64th of the limit loses
    /// none, and none is lost while all who wait are of one address, as behind a proxy without PROXY header: then newcomers wait
    /// in front of the worker, in the end in the kernel's [backlog](Listen::backlog), until there is a place.
    ///
    /// ```
    /// use ringwheel::Server;
    ///
    /// let builder = Server::builder().opening_limit(256);
    /// # drop(builder);
    /// ```
    pub fn opening_limit(mut self, connections: usize) -> Self {
        self.opening_limit = connections;
        self
    }
}
