//! Balancers: they pick the worker for each new connection.

use std::net::IpAddr;
use std::sync::Arc;

use crate::io::address::Address;
use crate::shared::LoopShared;

/// Picks the worker for each connection that the acceptor has admitted.
///
/// Every closure with the signature of [`pick`](Self::pick) is a balancer, too.
///
/// ```
/// use ringwheel::{Address, Server, balance::Workers};
///
/// let by_port =
///     |peer: &Address, workers: Workers<'_>| usize::from(peer.port().unwrap_or(0)) % workers.len();
/// let builder = Server::builder().balance(by_port);
/// # drop(builder);
/// ```
pub trait Balance: Send + 'static {
    /// Returns the index of the worker for a new connection. An index that does not exist is taken modulo the number of
    /// workers; after a panic the first worker gets the connection.
    fn pick(&mut self, peer: &Address, workers: Workers<'_>) -> usize;
}

/// The workers that a balancer picks from.
#[derive(Clone, Copy)]
pub struct Workers<'a> {
    loops: &'a [Arc<LoopShared>],
}

impl<'a> Workers<'a> {
    pub(crate) fn new(loops: &'a [Arc<LoopShared>]) -> Self {
        Workers { loops }
    }

    /// The number of workers, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.loops.len()
    }

    /// The connections that were handed over to a worker and have not ended. Each counts from the moment it is handed over.
    ///
    /// # Panics
    /// If `worker` is not below [`len`](Self::len).
    pub fn connections(&self, worker: usize) -> usize {
        self.loops[worker].connections()
    }
}

impl std::fmt::Debug for Workers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.loops.iter().map(|shared| shared.connections()))
            .finish()
    }
}

impl<F: FnMut(&Address, Workers<'_>) -> usize + Send + 'static> Balance for F {
    fn pick(&mut self, peer: &Address, workers: Workers<'_>) -> usize {
        self(peer, workers)
    }
}

/// Each worker in turn. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl Balance for RoundRobin {
    fn pick(&mut self, _: &Address, workers: Workers<'_>) -> usize {
        let picked = self.next;
        self.next = (self.next + 1) % workers.len();
        picked
    }
}

/// The worker that has the fewest connections; of several such workers, the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastConnections;

impl Balance for LeastConnections {
    fn pick(&mut self, _: &Address, workers: Workers<'_>) -> usize {
        (0..workers.len())
            .min_by_key(|worker| workers.connections(*worker))
            .unwrap_or(0)
    }
}

/// Always the same worker for the same IP address, so that what one client's connections share needs no lock. Peers without
/// an IP address count as one client.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceHash;

impl Balance for SourceHash {
    fn pick(&mut self, peer: &Address, workers: Workers<'_>) -> usize {
        let bits = match peer.ip().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => u64::from(ip.to_bits()),
            Some(IpAddr::V6(ip)) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
            None => 0,
        };
        // Fibonacci hashing: multiples of the golden ratio spread neighbouring addresses evenly.
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((hash * workers.len() as u64) >> 32) as usize
    }
}
