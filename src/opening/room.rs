//! The waiting room of a worker: open connections that the reactor cannot adopt yet. They wait here and not in the kernel's backlog, because
//! here the networks of their peers take turns, and one with many connections cannot keep all others out.

use std::sync::Arc;

use slab::Slab;

use crate::accept::admission::Admission;
use crate::panics::contain_drop;
use crate::shared::LoopShared;

use super::failure::OpeningFailure;
use super::origins::{Origin, Origins};
use super::report;
use super::stages::Opened;

/// The part of the room, one in so many places, that a network may always have: then none of its connections gives way to others. So a
/// crowd from many addresses waits in the backlog once the room is full, and loses nobody.
const SAFE_PART: usize = 64;

/// Connections that wait to be adopted. The networks take turns, each with one connection, and those of one network leave in the order in
/// which they came.
///
/// A network is an IPv4 address, or an IPv6 network as admission counts them. All peers without an IP address are one.
pub(crate) struct WaitingRoom {
    waiting: Slab<Waiting>,
    origins: Origins,
    limit: usize,
    /// True if several networks have met in the room since it was last empty. Behind a proxy all clients have one address: nobody is
    /// kept out by them, so none of them has to give way.
    is_mixed: bool,
    shared: Arc<LoopShared>,
    admission: Arc<Admission>,
}

struct Waiting {
    opened: Opened,
    /// The group of its network among the origins.
    group: u32,
}

impl WaitingRoom {
    /// A room with `limit` places.
    pub(crate) fn new(limit: usize, shared: Arc<LoopShared>, admission: Arc<Admission>) -> Self {
        WaitingRoom {
            waiting: Slab::new(),
            origins: Origins::default(),
            limit,
            is_mixed: false,
            shared,
            admission,
        }
    }

    /// True if nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True if the room is full, and nobody in it has to give way: then others wait in front of it.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_full() && !self.must_give_way()
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= self.limit
    }

    /// True if a network has so much of the room that it gives way to others.
    fn must_give_way(&self) -> bool {
        let safe = (self.limit / SAFE_PART).max(1);
        self.is_mixed && self.origins.most() > safe
    }

    /// Has a connection wait. In a full room the one that has waited longest, of the network with most, gives way to it. If nobody
    /// has to, it comes in all the same: it was accepted although the room [is closed](Self::is_closed).
    pub(crate) fn enter(&mut self, opened: Opened) {
        let ip = opened.peer.ip();
        let network = ip.map(|ip| self.admission.network(ip));
        let was_full = self.is_full();
        let group = self.origins.count_in(Origin::Network(network));
        self.is_mixed |= self.origins.len() > 1;
        let slot = self.waiting.insert(Waiting { opened, group });
        let slot = u32::try_from(slot).expect("a worker has fewer than 2^32 connections");
        self.origins.enter(group, slot);
        self.origins.add_due(group, slot);
        // Last, so that the newcomer counts when one of the network with most gives way.
        if was_full && self.must_give_way() {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        let slot = self.origins.first_to_give_way();
        let longest = slot.map(|slot| self.leave(slot, true));
        let living = longest.and_then(|opened| self.unless_abandoned(opened));
        if let Some(mut opened) = living {
            opened.wire.reset_on_drop();
            self.refuse(opened, &OpeningFailure::GaveWay);
        }
    }

    /// Takes the first connection of the network whose turn it is.
    pub(crate) fn take(&mut self) -> Option<Opened> {
        let slot = self.origins.next_due()?;
        Some(self.leave(slot, false))
    }

    /// Drops a connection that was taken if its peer has reset it: nobody would read what its callbacks cost.
    pub(crate) fn unless_abandoned(&self, mut opened: Opened) -> Option<Opened> {
        let error = match opened.wire.take_error() {
            Ok(None) => return Some(opened),
            Ok(Some(error)) | Err(error) => error,
        };
        self.refuse(opened, &OpeningFailure::Abandoned(Some(error)));
        None
    }

    /// Drops all connections that wait.
    pub(crate) fn stop(&mut self) {
        while let Some(opened) = self.take() {
            self.discard(opened);
        }
    }

    /// Takes a connection out of the room. `is_due` is true if its turn has not come.
    fn leave(&mut self, slot: u32, is_due: bool) -> Opened {
        let Waiting { opened, group } = self.waiting.remove(slot as usize);
        self.origins.leave(group, slot, is_due);
        if self.waiting.is_empty() {
            self.is_mixed = false;
        }
        opened
    }

    fn refuse(&self, opened: Opened, failure: &OpeningFailure) {
        report(&self.admission, &opened.peer, failure);
        self.discard(opened);
    }

    /// Drops a connection and counts it out. The drop may run code of the user.
    fn discard(&self, opened: Opened) {
        let ip = opened.peer.ip();
        contain_drop(opened);
        self.shared.uncount_connection();
        self.admission.release(ip);
    }
}
