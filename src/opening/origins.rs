//! Fairness between those who open connections: whose step comes next, and who gives way when there are too many.

use std::collections::HashMap;
use std::net::IpAddr;

use slab::Slab;

use super::queue::{Links, Queue};

/// Where openings come from. Those of one origin have one turn together, and count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The peers of an IP address, or of a network with IPv6, at the listener of a service. All peers without an IP address are one
    /// origin.
    Peers {
        service: u16,
        network: Option<IpAddr>,
    },
    /// A client that its proxy's header has not named yet, by the generation of its opening. Each is an origin of its own: the
    /// clients of a busy proxy must not give way to each other.
    Unknown(u32),
    /// The connections that wait to be adopted, of an IP address, or of a network with IPv6, at any listener. All peers without an IP
    /// address are one origin.
    Network(Option<IpAddr>),
}

/// The openings of a worker by their origins. Each call takes constant time, however many there are.
///
/// An opening is known by its slot in the table of openings, a group by its slot in the table here.
#[derive(Debug, Default)]
pub(super) struct Origins {
    groups: Slab<Group>,
    slots: HashMap<Origin, u32>,
    /// The groups with a given number of openings. Behind the others stands the one that had a change last: an opening came, went,
    /// or made progress.
    by_count: Vec<Queue>,
    by_count_links: Links,
    /// The largest number of openings in a group.
    most: usize,
    /// The groups with a step to do, in the order of their turns.
    turns: Queue,
    turn_links: Links,
    progress_links: Links,
    due_links: Links,
}

/// The openings of one origin.
#[derive(Debug)]
struct Group {
    origin: Origin,
    count: usize,
    /// All of them, the longest without progress first.
    by_progress: Queue,
    /// Those whose handshake can go on, the first come first.
    due: Queue,
}

impl Group {
    fn new(origin: Origin) -> Self {
        Group {
            origin,
            count: 0,
            by_progress: Queue::default(),
            due: Queue::default(),
        }
    }
}

impl Origins {
    /// Counts an opening in that comes from an origin, and returns its group.
    pub(super) fn count_in(&mut self, origin: Origin) -> u32 {
        let groups = &mut self.groups;
        let group = *self.slots.entry(origin).or_insert_with(|| {
            let slot = groups.insert(Group::new(origin));
            u32::try_from(slot).expect("there are fewer groups than openings")
        });
        self.set_count(group, self.groups[group as usize].count + 1);
        group
    }

    /// Counts an opening out that has left the queues, or never stood in them. A group is forgotten with its last one.
    pub(super) fn count_out(&mut self, group: u32) {
        self.set_count(group, self.groups[group as usize].count - 1);
        if self.groups[group as usize].count == 0 {
            let gone = self.groups.remove(group as usize);
            self.slots.remove(&gone.origin);
        }
    }

    fn set_count(&mut self, group: u32, count: usize) {
        let before = std::mem::replace(&mut self.groups[group as usize].count, count);
        if before > 0 {
            let queue = &mut self.by_count[before];
            self.by_count_links.remove(queue, group);
        }
        if count >= self.by_count.len() {
            self.by_count.resize(count + 1, Queue::default());
        }
        if count > 0 {
            let queue = &mut self.by_count[count];
            self.by_count_links.push_back(queue, group);
        }
        // The count has changed by one, and so has the largest if it has changed at all.
        if count > self.most || self.by_count[self.most].is_empty() {
            self.most = count;
        }
    }

    /// Puts an opening that was counted in behind the others of its group.
    pub(super) fn enter(&mut self, group: u32, opening: u32) {
        let queue = &mut self.groups[group as usize].by_progress;
        self.progress_links.push_back(queue, opening);
    }

    /// Takes an opening away, and counts it out. `is_due` is true if it [waits for a step](Self::add_due).
    pub(super) fn leave(&mut self, group: u32, opening: u32, is_due: bool) {
        let queues = &mut self.groups[group as usize];
        self.progress_links.remove(&mut queues.by_progress, opening);
        if is_due {
            self.due_links.remove(&mut queues.due, opening);
            if queues.due.is_empty() {
                self.turn_links.remove(&mut self.turns, group);
            }
        }
        self.count_out(group);
    }

    /// Puts an opening, and its group, behind the others, because it has made progress.
    pub(super) fn note_progress(&mut self, group: u32, opening: u32) {
        let queues = &mut self.groups[group as usize];
        self.progress_links.remove(&mut queues.by_progress, opening);
        self.progress_links
            .push_back(&mut queues.by_progress, opening);
        let queue = &mut self.by_count[queues.count];
        self.by_count_links.remove(queue, group);
        self.by_count_links.push_back(queue, group);
    }

    /// Has an opening wait for a step.
    pub(super) fn add_due(&mut self, group: u32, opening: u32) {
        let due = &mut self.groups[group as usize].due;
        if due.is_empty() {
            self.turn_links.push_back(&mut self.turns, group);
        }
        self.due_links.push_back(due, opening);
    }

    /// Takes the opening whose step comes next: the first of the group whose turn it is. The turn passes to the next group.
    pub(super) fn next_due(&mut self) -> Option<u32> {
        let group = self.turn_links.pop_front(&mut self.turns)?;
        let due = &mut self.groups[group as usize].due;
        let opening = self.due_links.pop_front(due);
        if !due.is_empty() {
            self.turn_links.push_back(&mut self.turns, group);
        }
        opening
    }

    /// Number of origins that have an opening.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The largest number of openings of one origin.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// True if a step is to be done.
    pub(super) fn has_due(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The opening that gives way to another: in the largest group, the one without progress for longest. Of groups of the same size
    /// it is the one without a change for longest.
    pub(super) fn first_to_give_way(&self) -> Option<u32> {
        let group = self.by_count.get(self.most)?.first()?;
        self.groups[group as usize].by_progress.first()
    }

    /// The openings that wait for a step, by their groups in the order of their turns.
    #[cfg(test)]
    pub(super) fn due(&self) -> Vec<Vec<u32>> {
        let turns = self.turn_links.members(&self.turns).into_iter();
        turns
            .map(|group| self.due_links.members(&self.groups[group as usize].due))
            .collect()
    }

    /// True if nothing is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.slots.is_empty() && self.turns.is_empty() && self.most == 0
    }
}
