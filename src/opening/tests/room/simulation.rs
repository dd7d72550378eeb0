//! A seeded simulation of the waiting room, beside a model that keeps plain lists.

use std::collections::VecDeque;

use crate::seeds::{NameSeed, Random, Tally, run_seeds};

use super::*;

/// Number of seeds that run by default.
const SEEDS: u64 = 300;

/// Events that must occur in a run of many seeds.
const MUST_HAPPEN: [&str; 7] = [
    "abandoned",
    "abandoned as it gives way",
    "came into a closed room",
    "closed",
    "gave way to another network",
    "gave way to its own network",
    "stopped",
];

/// The connections of one network that wait, as the model has them.
#[derive(Default)]
struct Group {
    waiting: VecDeque<usize>,
    /// The time at which one came or went last.
    changed: usize,
}

struct World {
    random: Random,
    hall: Hall,
    limit: usize,
    /// All connections that have come.
    peers: Vec<Peer>,
    groups: Vec<Group>,
    /// The networks with connections that wait, in the order of their turns.
    turns: VecDeque<usize>,
    is_mixed: bool,
    time: usize,
    displaced: u64,
    abandoned: u64,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let limit = [1, 2, 5, 12, 130, 200][random.below(6)];
        let networks = 1 + random.below(6);
        World {
            hall: Hall::new(limit),
            limit,
            peers: Vec::new(),
            groups: (0..networks).map(|_| Group::default()).collect(),
            turns: VecDeque::new(),
            is_mixed: false,
            time: 0,
            displaced: 0,
            abandoned: 0,
            tally: Tally::default(),
            random,
        }
    }

    fn run(mut self) -> Tally {
        let flood = 1 + self.random.below(8);
        for _ in 0..3 * self.limit + self.random.below(100) {
            for _ in 0..self.random.below(flood + 1) {
                self.enter();
            }
            self.reset_some();
            for _ in 0..self.random.below(3) {
                self.take();
            }
            self.check();
        }
        if self.random.one_in(2) {
            self.hall.room.stop();
            self.tally.count("stopped");
        } else {
            while !self.turns.is_empty() {
                self.take();
            }
        }
        self.hall.assert_empty();
        self.tally
    }

    fn waiting(&self) -> usize {
        self.groups.iter().map(|group| group.waiting.len()).sum()
    }

    /// The number of connections of the network with most.
    fn most(&self) -> usize {
        let lengths = self.groups.iter().map(|group| group.waiting.len());
        lengths.max().unwrap_or(0)
    }

    fn gives_way(&self) -> bool {
        self.is_mixed && self.most() > (self.limit / 64).max(1)
    }

    fn is_gone(&self, number: usize) -> bool {
        self.peers[number].line().has_failed
    }

    /// A connection comes, mostly from the first network.
    fn enter(&mut self) {
        let network = match self.random.one_in(3) {
            true => self.random.below(self.groups.len()),
            false => 0,
        };
        let was_full = self.waiting() >= self.limit;
        if was_full && !self.gives_way() {
            self.tally.count("closed");
            // A listener that closes has accepted all who waited.
            if !self.random.one_in(8) {
                return;
            }
        }
        let number = self.peers.len();
        let peer = self.hall.enter(ip(network as u8), number as u16);
        self.peers.push(peer);
        if self.groups[network].waiting.is_empty() {
            self.turns.push_back(network);
        }
        self.groups[network].waiting.push_back(number);
        self.note_change(network);
        self.is_mixed |= self.turns.len() > 1;
        match (was_full, self.gives_way()) {
            (true, true) => self.displace(network),
            (true, false) => self.tally.count("came into a closed room"),
            (false, _) => {}
        }
    }

    fn note_change(&mut self, network: usize) {
        self.time += 1;
        self.groups[network].changed = self.time;
    }

    /// Of the network with most, the one that has waited longest gives way.
    fn displace(&mut self, to: usize) {
        let most = self.most();
        let largest = (0..self.groups.len()).filter(|at| self.groups[*at].waiting.len() == most);
        let network = largest.min_by_key(|at| self.groups[*at].changed).unwrap();
        let number = self.groups[network].waiting.pop_front().unwrap();
        self.note_change(network);
        if self.is_gone(number) {
            self.tally.count("abandoned as it gives way");
            self.abandoned += 1;
            assert!(self.peers[number].is_closed());
            return;
        }
        self.tally.count(match network == to {
            true => "gave way to its own network",
            false => "gave way to another network",
        });
        self.displaced += 1;
        assert!(self.peers[number].is_reset(), "another one gave way");
    }

    fn reset_some(&mut self) {
        for group in &self.groups {
            for number in &group.waiting {
                if self.random.one_in(12) {
                    self.peers[*number].line().has_failed = true;
                }
            }
        }
    }

    /// Takes the connection whose turn it is.
    fn take(&mut self) {
        let taken = self.hall.room.take();
        let Some(network) = self.turns.pop_front() else {
            return assert!(taken.is_none(), "nobody waits");
        };
        let number = self.groups[network].waiting.pop_front().unwrap();
        self.note_change(network);
        if !self.groups[network].waiting.is_empty() {
            self.turns.push_back(network);
        }
        self.is_mixed &= !self.turns.is_empty();
        let taken = taken.expect("somebody waits");
        assert_eq!(taken.peer.port(), Some(number as u16), "whose turn it is");
        let left = self.hall.room.unless_abandoned(taken);
        assert_eq!(left.is_none(), self.is_gone(number));
        match left {
            Some(opened) => self.hall.close(opened),
            None => {
                self.tally.count("abandoned");
                self.abandoned += 1;
            }
        }
    }

    fn check(&self) {
        let waiting = self.waiting();
        assert_eq!(self.hall.room.is_empty(), waiting == 0);
        let is_closed = waiting >= self.limit && !self.gives_way();
        assert_eq!(self.hall.room.is_closed(), is_closed);
        let stats = self.hall.stats();
        assert_eq!(stats.connections, waiting, "a place is lost");
        assert_eq!(self.hall.shared.connections(), waiting);
        assert_eq!(stats.openings_displaced, self.displaced);
        assert_eq!(stats.openings_abandoned, self.abandoned);
        for group in &self.groups {
            let mut waiting = group.waiting.iter();
            assert!(waiting.all(|number| !self.peers[*number].line().is_dropped));
        }
    }
}

fn run(seed: u64) -> Tally {
    let _name_seed = NameSeed(seed);
    World::new(seed).run()
}

#[test]
fn every_seed_keeps_the_invariants() {
    let Some((count, tally)) = run_seeds(SEEDS, run) else {
        return;
    };
    if count >= SEEDS {
        tally.assert_all_occurred(&MUST_HAPPEN);
    }
}
