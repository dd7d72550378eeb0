//! A queue of connections in which the networks of their peers take turns, so that a peer with many connections does not make all others
//! wait for each of them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::Connection;
use super::id::ConnId;
use crate::io::trusted_networks::masked;

/// Most members for which an emptied group keeps its memory.
const KEPT: usize = 64;
/// Most emptied groups that are kept.
const SPARES: usize = 16;

/// The network from which a connection comes: an IPv4 address, or the /64 of an IPv6 address. All connections without an IP address
/// come from one network.
type Network = Option<IpAddr>;

/// Connections that wait. The networks take turns, each with one member, and the members of one network leave in the order in which they
/// came.
#[derive(Clone, Debug, Default)]
pub(crate) struct FairQueue {
    /// The members by their networks; no group is empty.
    groups: HashMap<Network, VecDeque<ConnId>>,
    /// The networks in the order of their turns.
    turns: VecDeque<Network>,
    len: usize,
    /// Emptied groups, so that a queue with few members allocates nothing.
    spares: Vec<VecDeque<ConnId>>,
}

impl FairQueue {
    /// Number of members.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// True if nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a connection behind those of its network.
    pub(crate) fn push(&mut self, connection: &Connection) {
        self.push_from(network_of(connection), connection.id);
    }

    fn push_from(&mut self, network: Network, id: ConnId) {
        let FairQueue { turns, spares, .. } = self;
        let group = self.groups.entry(network).or_insert_with(|| {
            turns.push_back(network);
            spares.pop().unwrap_or_default()
        });
        group.push_back(id);
        self.len += 1;
    }

    /// Takes the first member of the network whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<ConnId> {
        let network = self.turns.pop_front()?;
        let group = self.groups.get_mut(&network)?;
        let id = group.pop_front();
        self.len -= 1;
        if !group.is_empty() {
            self.turns.push_back(network);
        } else if let Some(group) = self.groups.remove(&network) {
            if group.capacity() <= KEPT && self.spares.len() < SPARES {
                self.spares.push(group);
            }
        }
        id
    }

    /// True if the queue has this member.
    #[cfg(test)]
    pub(crate) fn contains(&self, id: &ConnId) -> bool {
        self.groups.values().any(|group| group.contains(id))
    }

    /// All members, in no order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConnId> {
        self.groups.values().flatten()
    }
}

fn network_of(connection: &Connection) -> Network {
    match connection.peer.ip()?.to_canonical() {
        ip @ IpAddr::V4(_) => Some(ip),
        ip @ IpAddr::V6(_) => Some(masked(ip, 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use crate::io::address::Address;
    use crate::io::stream::Stream;

    use super::*;

    fn network(last: u8) -> Network {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    fn slots(queue: &mut FairQueue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop())
            .map(|id| id.slot)
            .collect()
    }

    #[test]
    fn networks_take_turns_and_members_keep_their_order() {
        let mut queue = FairQueue::default();
        for slot in 0..4 {
            queue.push_from(network(1), ConnId::in_slot(slot));
        }
        queue.push_from(network(2), ConnId::in_slot(10));
        queue.push_from(None, ConnId::in_slot(20));
        queue.push_from(network(2), ConnId::in_slot(11));
        assert_eq!(queue.len(), 7);
        assert_eq!(slots(&mut queue), [0, 10, 20, 1, 11, 2, 3]);
        assert!(queue.is_empty() && queue.groups.is_empty() && queue.turns.is_empty());
    }

    /// A network that comes later waits for one member of each of the others at most.
    #[test]
    fn a_network_that_comes_later_is_next() {
        let mut queue = FairQueue::default();
        for slot in 0..1000 {
            queue.push_from(network(1), ConnId::in_slot(slot));
        }
        assert_eq!(queue.pop(), Some(ConnId::in_slot(0)));
        queue.push_from(network(2), ConnId::in_slot(5000));
        assert_eq!(queue.pop(), Some(ConnId::in_slot(1)));
        assert_eq!(queue.pop(), Some(ConnId::in_slot(5000)));
    }

    /// Large groups return their memory, and small ones are used again.
    #[test]
    fn emptied_groups_are_bounded() {
        let mut queue = FairQueue::default();
        for slot in 0..100 {
            queue.push_from(network(slot as u8), ConnId::in_slot(slot));
        }
        for slot in 0..1000 {
            queue.push_from(None, ConnId::in_slot(slot));
        }
        assert_eq!(slots(&mut queue).len(), 1100);
        assert_eq!(queue.spares.len(), SPARES);
        assert!(queue.spares.iter().all(|group| group.capacity() <= KEPT));
        queue.push_from(network(1), ConnId::in_slot(1));
        assert_eq!(queue.spares.len(), SPARES - 1);
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_a_64_of_ipv6() {
        let network = |address: &str| {
            let peer = Address::Ip(SocketAddr::new(address.parse().unwrap(), 1));
            network_of(&Connection::new(
                ConnId::in_slot(0),
                0,
                Stream::Detached.into(),
                peer,
                0,
            ))
        };
        assert_eq!(network("2001:db8::1:2:3:4"), network("2001:db8::"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.2"), network("10.0.0.1"));
        let unix = Connection::new(
            ConnId::in_slot(0),
            0,
            Stream::Detached.into(),
            Address::Unix(None),
            0,
        );
        assert_eq!(network_of(&unix), None);
    }
}
