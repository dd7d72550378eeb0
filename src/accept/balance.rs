//! Balancers: they pick the worker for each new connection.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::accept::handover::Handover;
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
    handover: &'a Handover,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(loops: &'a [Arc<LoopShared>], handover: &'a Handover) -> Self {
        Workers { loops, handover }
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

    /// True if fewer than [`handover_limit`](crate::ServerBuilder::handover_limit) connections wait to be taken by a worker.
    ///
    /// At least one worker has room when a balancer is asked. If it picks one that has none, the connection is handed over all
    /// the same, and then nothing is accepted until that worker has taken half of what waits.
    ///
    /// # Panics
    /// If `worker` is not below [`len`](Self::len).
    pub fn has_room(&self, worker: usize) -> bool {
        self.handover.has_room(worker)
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

/// Each worker in turn, except those without [room](Workers::has_room). The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl Balance for RoundRobin {
    fn pick(&mut self, _: &Address, workers: Workers<'_>) -> usize {
        let count = workers.len();
        let mut turns = (self.next..self.next + count).map(|turn| turn % count);
        let picked = turns.find(|worker| workers.has_room(*worker));
        let picked = picked.unwrap_or(self.next % count);
        self.next = (picked + 1) % count;
        picked
    }
}

/// The worker that has the fewest connections, of those with [room](Workers::has_room); of several such workers, the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastConnections;

impl Balance for LeastConnections {
    fn pick(&mut self, _: &Address, workers: Workers<'_>) -> usize {
        (0..workers.len())
            .min_by_key(|worker| (!workers.has_room(*worker), workers.connections(*worker)))
            .unwrap_or(0)
    }
}

/// Always the same worker for the same IP address, so that what one client's connections share needs no lock. Peers without
/// an IP address count as one client.
///
/// The hash has a random key, made with the value: nobody outside can choose addresses that all meet on one worker. So the
/// worker of an address differs from server to server, and from run to run.
///
/// ```
/// use ringwheel::{Server, balance::SourceHash};
///
/// let builder = Server::builder().balance(SourceHash::default());
/// # drop(builder);
/// ```
#[derive(Clone, Debug, Default)]
pub struct SourceHash {
    key: RandomState,
}

impl Balance for SourceHash {
    fn pick(&mut self, peer: &Address, workers: Workers<'_>) -> usize {
        let hash = self.key.hash_one(peer.ip().map(|ip| ip.to_canonical()));
        // The high half of the product: the hash as a fraction, times the number of workers.
        ((u128::from(hash) * workers.len() as u128) >> 64) as usize
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn picks(hash: &mut SourceHash, handover: &Handover) -> Vec<usize> {
        let loops: Vec<_> = (0..4)
            .map(|worker| LoopShared::new(worker, Box::new(|| Ok(())), (1, 1)).0)
            .collect();
        let peers = (0..100).map(|host| IpAddr::V4(Ipv4Addr::from_bits(host)));
        peers
            .map(|ip| {
                hash.pick(
                    &Address::Ip((ip, 80).into()),
                    Workers::new(&loops, handover),
                )
            })
            .collect()
    }

    /// With a hash that everybody knows, a peer that has many addresses can load one worker alone.
    #[test]
    fn nobody_can_tell_which_worker_an_address_gets() {
        let handover = Handover::new(4, 1);
        let (mut one, mut other) = (SourceHash::default(), SourceHash::default());
        let first = picks(&mut one, &handover);
        assert_eq!(picks(&mut one, &handover), first);
        assert_ne!(picks(&mut other, &handover), first);
    }
}
