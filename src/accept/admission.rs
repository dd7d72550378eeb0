//! Admission of connections: enforces the limits in all and per IP address, and counts what became of each peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::io::trusted_networks::masked;

/// The counts of a server's connections, and the limits on them.
///
/// Used when a connection comes and when it goes, never for a message.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    max_per_ip: Option<usize>,
    /// Leading bits of an IPv6 address that name its network: addresses of one network count as one.
    ipv6_prefix: u8,
    live: AtomicUsize,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    accepted: AtomicU64,
    refused: AtomicU64,
    refused_per_ip: AtomicU64,
    shed: AtomicU64,
    output_lost: AtomicU64,
    /// Connections that have failed to open, by [`FailedOpening`].
    failed_openings: [AtomicU64; FailedOpening::KINDS],
}

/// The ways in which a connection fails to open, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedOpening {
    /// It was not done in time.
    Late,
    /// The PROXY header was refused.
    Header,
    /// The handshake has failed.
    Handshake,
    /// It has given way to others.
    GaveWay,
    /// The peer has ended it.
    Abandoned,
}

impl FailedOpening {
    const KINDS: usize = 5;
}

/// Counters of a server since it was built.
///
/// ```
/// use ringwheel::ServerHandle;
///
/// fn print(server: &ServerHandle) {
///     let stats = server.stats();
///     let turned_away = stats.refused + stats.refused_per_ip + stats.shed;
///     println!("{} open, {turned_away} turned away", stats.connections);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that are there now, also those that are over for the handler and still have output to send, or wait for the
    /// peer's end of stream.
    pub connections: usize,
    /// Connections that were accepted and admitted.
    pub accepted: u64,
    /// Connections that were closed at once because of [`ServerBuilder::max_connections`](crate::ServerBuilder::max_connections).
    pub refused: u64,
    /// Connections that were closed at once because of
    /// [`ServerBuilder::max_connections_per_ip`](crate::ServerBuilder::max_connections_per_ip), or once their PROXY header had told
    /// the address.
    pub refused_per_ip: u64,
    /// Connections that were closed at once because the process had no descriptor left.
    pub shed: u64,
    /// Connections that are gone although the kernel had not taken all of their output, or all that a
    /// [source](crate::Conn::send_from) had to send: reset by the peer, aborted, cut off by
    /// a limit, or at a deadline, also after [`Handler::on_close`](crate::Handler::on_close).
    pub output_lost: u64,
    /// Connections that were closed because their PROXY header and their handshake were not done within
    /// [`Listen::opening_timeout`](crate::Listen::opening_timeout).
    pub openings_late: u64,
    /// Connections that were reset because the peer is no trusted proxy, or its PROXY header is malformed; see
    /// [`Listen::proxy_protocol`](crate::Listen::proxy_protocol).
    pub headers_refused: u64,
    /// Connections that were closed because their handshake, such as that of TLS, has failed.
    pub handshakes_failed: u64,
    /// Connections that have given way to others before their handler met them, because of
    /// [`ServerBuilder::opening_limit`](crate::ServerBuilder::opening_limit).
    pub openings_displaced: u64,
    /// Connections whose peer has gone before PROXY header and handshake were done, or has reset its connection while that waited for a
    /// busy worker.
    pub openings_abandoned: u64,
}

impl Admission {
    pub(crate) fn new(max: usize, max_per_ip: Option<usize>, ipv6_prefix: u8) -> Self {
        Admission {
            max,
            max_per_ip,
            ipv6_prefix,
            live: AtomicUsize::new(0),
            per_ip: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_per_ip: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            output_lost: AtomicU64::new(0),
            failed_openings: Default::default(),
        }
    }

    /// Counts a connection in, unless a limit is reached. A peer without an IP address counts only towards the connections in
    /// all.
    pub(crate) fn admit(&self, ip: Option<IpAddr>) -> bool {
        if self.live.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.live.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if !self.count_address(ip) {
            self.live.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Counts the IP address of a connection that is counted among all, unless the limit per address is reached.
    ///
    /// A connection from a proxy is admitted without an address, and its client's is counted once the PROXY header has told it.
    pub(crate) fn count_address(&self, ip: Option<IpAddr>) -> bool {
        let (Some(max_per_ip), Some(ip)) = (self.max_per_ip, ip) else {
            return true;
        };
        let mut per_ip = self.per_ip();
        let ip = self.network(ip);
        let count = per_ip.entry(ip).or_insert(0);
        if *count >= max_per_ip {
            if *count == 0 {
                per_ip.remove(&ip);
            }
            self.refused_per_ip.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        *count += 1;
        true
    }

    /// Counts out a connection that was admitted, by the same IP address.
    pub(crate) fn release(&self, ip: Option<IpAddr>) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        if let (Some(_), Some(ip)) = (self.max_per_ip, ip) {
            let mut per_ip = self.per_ip();
            let ip = self.network(ip);
            if let Some(count) = per_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    per_ip.remove(&ip);
                }
            }
        }
    }

    /// Counts a peer that was closed for want of a descriptor.
    pub(crate) fn count_shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is gone with output pending.
    pub(crate) fn count_output_lost(&self) {
        self.output_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that has failed to open.
    pub(crate) fn count_failed_opening(&self, failed: FailedOpening) {
        self.failed_openings[failed as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn failed_openings(&self, failed: FailedOpening) -> u64 {
        self.failed_openings[failed as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn stats(&self) -> ServerStats {
        ServerStats {
            connections: self.live.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            refused_per_ip: self.refused_per_ip.load(Ordering::Relaxed),
            shed: self.shed.load(Ordering::Relaxed),
            output_lost: self.output_lost.load(Ordering::Relaxed),
            openings_late: self.failed_openings(FailedOpening::Late),
            headers_refused: self.failed_openings(FailedOpening::Header),
            handshakes_failed: self.failed_openings(FailedOpening::Handshake),
            openings_displaced: self.failed_openings(FailedOpening::GaveWay),
            openings_abandoned: self.failed_openings(FailedOpening::Abandoned),
        }
    }

    /// The address that stands for all that count as one. An IPv4 address is the same whichever way it came.
    pub(crate) fn network(&self, ip: IpAddr) -> IpAddr {
        match ip.to_canonical() {
            ip @ IpAddr::V6(_) => masked(ip, self.ipv6_prefix),
            ip @ IpAddr::V4(_) => ip,
        }
    }

    fn per_ip(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // The map is consistent after every statement, so a panic elsewhere leaves it intact.
        self.per_ip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const THERE: Option<IpAddr> = Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));

    #[test]
    fn limits_hold_and_places_come_back() {
        let admission = Admission::new(3, Some(2), 64);
        assert!(admission.admit(HERE) && admission.admit(HERE));
        assert!(!admission.admit(HERE), "per address");
        assert!(admission.admit(THERE));
        assert!(!admission.admit(THERE), "in all");
        admission.release(HERE);
        assert!(admission.admit(THERE));
        let stats = admission.stats();
        assert_eq!(
            (
                stats.connections,
                stats.accepted,
                stats.refused,
                stats.refused_per_ip
            ),
            (3, 4, 1, 1)
        );
    }

    #[test]
    fn a_peer_without_an_ip_address_counts_only_in_all() {
        let admission = Admission::new(2, Some(1), 64);
        assert!(admission.admit(None) && admission.admit(None));
        assert!(!admission.admit(None), "in all");
        admission.release(None);
        assert!(admission.admit(HERE));
        let stats = admission.stats();
        assert_eq!((stats.refused, stats.refused_per_ip), (1, 0));
    }

    #[test]
    fn the_address_of_a_client_behind_a_proxy_counts_instead_of_the_proxy() {
        let admission = Admission::new(9, Some(1), 64);
        assert!(admission.admit(None) && admission.admit(None));
        assert!(admission.count_address(HERE));
        assert!(!admission.count_address(HERE), "the other one");
        admission.release(None);
        assert_eq!(admission.stats().refused_per_ip, 1);
        assert_eq!(admission.stats().connections, 1);
        admission.release(HERE);
        assert!(admission.per_ip().is_empty());
        assert_eq!(admission.stats().connections, 0);
    }

    #[test]
    fn an_address_is_forgotten_with_its_last_connection() {
        let admission = Admission::new(9, Some(1), 64);
        assert!(admission.admit(HERE));
        admission.release(HERE);
        assert!(admission.per_ip().is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let admission = Admission::new(9, Some(1), 64);
        assert!(admission.admit(ip("2001:db8:0:1::1")));
        assert!(!admission.admit(ip("2001:db8:0:1:ffff:ffff:ffff:ffff")));
        assert!(admission.admit(ip("2001:db8:0:2::1")));
        // IPv4 within IPv6 is IPv4, and each address counts on its own.
        assert!(admission.admit(ip("::ffff:192.0.2.1")));
        assert!(admission.admit(ip("::ffff:192.0.2.2")));
        assert!(!admission.admit(ip("192.0.2.1")));
        // Another address of the network frees the place no less.
        admission.release(ip("2001:db8:0:1::2"));
        assert!(admission.admit(ip("2001:db8:0:1::3")));

        let each = Admission::new(9, Some(1), 128);
        assert!(each.admit(ip("2001:db8::1")) && each.admit(ip("2001:db8::2")));
        assert!(!each.admit(ip("2001:db8::2")));
        let site = Admission::new(9, Some(1), 48);
        assert!(site.admit(ip("2001:db8:1:2::")) && !site.admit(ip("2001:db8:1:3::")));
    }
}
