//! A model of the turns: the opening whose step must come next, and those that may give way.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::model::{Model, Record};

/// The peers that count as one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Those of an address at the listener of a service.
    Peers(u16, IpAddr),
    /// The client of a proxy whose header has not come, by its generation; `None` for the newcomer.
    Unknown(Option<u32>),
}

/// The openings whose handshake can go on. Sources take turns, and of a origin the first come first.
#[derive(Default)]
pub(super) struct Turns(VecDeque<(Origin, VecDeque<usize>)>);

impl Turns {
    pub(super) fn push(&mut self, origin: Origin, number: usize) {
        match self.0.iter_mut().find(|turn| turn.0 == origin) {
            Some((_, due)) => due.push_back(number),
            None => self.0.push_back((origin, [number].into())),
        }
    }

    pub(super) fn pop(&mut self) -> Option<usize> {
        let (origin, mut due) = self.0.pop_front()?;
        let number = due.pop_front();
        if !due.is_empty() {
            self.0.push_back((origin, due));
        }
        number
    }

    pub(super) fn retain(&mut self, stays: impl Fn(&usize) -> bool) {
        self.0.iter_mut().for_each(|(_, due)| due.retain(&stays));
        self.0.retain(|(_, due)| !due.is_empty());
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.iter().any(|(_, due)| due.contains(&number))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_others_than(&self, origin: Origin) -> bool {
        self.0.iter().any(|turn| turn.0 != origin)
    }

    /// The openings by their origins, in the order of their turns.
    pub(super) fn lists(&self) -> Vec<Vec<usize>> {
        let lists = self.0.iter().map(|(_, due)| due.iter().copied().collect());
        lists.collect()
    }
}

impl Record {
    pub(super) fn origin(&self) -> Origin {
        match self.has_header {
            true => Origin::Peers(self.service, self.peer.client.unwrap_or(self.ip)),
            false => Origin::Unknown(self.name.map(|name| name.generation)),
        }
    }
}

impl Model {
    /// The opening that has given way to the newcomer, which was added last: of a origin with the most openings, where the newcomer
    /// counts, the one without progress for longest.
    pub(super) fn victim(&mut self) -> usize {
        let newcomer = self.records.last().expect("there is a newcomer").origin();
        let mut origins: BTreeMap<Origin, Vec<&Record>> = BTreeMap::new();
        origins.insert(newcomer, Vec::new());
        let within = self.records.iter().filter(|it| it.is_named_and_within());
        within.for_each(|record| origins.entry(record.origin()).or_default().push(record));
        let count =
            |(origin, its): (&Origin, &Vec<_>)| its.len() + usize::from(*origin == newcomer);
        let most = origins.iter().map(count).max();
        let largest = origins.iter().filter(|it| Some(count(*it)) == most);
        let oldest = |its: &Vec<&Record>| its.iter().map(|it| it.progress).min();
        let may_give_way: Vec<u64> = largest.filter_map(|(_, its)| oldest(its)).collect();
        let has_given_way = |record: &Record| {
            record.is_named_and_within()
                && record.line.borrow().is_dropped
                && may_give_way.contains(&record.progress)
        };
        let victim = self.records.iter().position(has_given_way);
        let victim = victim.expect("one of the origin with the most gives way");
        if self.queue.contains(victim) {
            self.tally.count("gave way although a step was due");
        }
        if self.records[victim].origin() != newcomer {
            self.tally.count("gave way to another origin");
        }
        victim
    }
}
