//! The subscribers of all topics of a service: one table of places, in which each topic links its own to a list.
//!
//! So a subscription takes the same few bytes in a topic with one subscriber as in a large one, and the memory of a large
//! topic goes down with each subscriber that leaves.

use slab::Slab;

use crate::connection::id::ConnId;

/// Stands for the place behind the last of a list.
pub(crate) const END: u32 = u32::MAX;

/// A subscriber, and how far it has read the topic's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    /// Number of the next entry of the log that it gets.
    pub(crate) next: u64,
    pub(crate) id: ConnId,
    /// Entries of the log wait for it, and rounds pass it over.
    pub(crate) lags: bool,
    /// Its neighbours in the list of its topic, or [`END`].
    before: u32,
    behind: u32,
}

/// The subscribers of one topic, in the order in which they came.
#[derive(Debug)]
pub(crate) struct List {
    first: u32,
    last: u32,
    count: u32,
}

impl Default for List {
    fn default() -> Self {
        List {
            first: END,
            last: END,
            count: 0,
        }
    }
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The place of the first subscriber, or [`END`].
    pub(crate) fn first(&self) -> u32 {
        self.first
    }
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Subscribers {
    places: Slab<Subscriber>,
    thinning: Thinning,
}

impl Subscribers {
    /// Adds a subscriber at the end of a list and returns its place.
    pub(crate) fn insert(&mut self, list: &mut List, id: ConnId, next: u64) -> u32 {
        let place = index(self.places.insert(Subscriber {
            next,
            id,
            lags: false,
            before: list.last,
            behind: END,
        }));
        match self.get_mut(list.last) {
            Some(last) => last.behind = place,
            None => list.first = place,
        }
        list.last = place;
        list.count += 1;
        place
    }

    /// Removes the subscriber at a place of this list. Returns the place behind it.
    pub(crate) fn remove(&mut self, list: &mut List, place: u32) -> u32 {
        let Some(Subscriber { before, behind, .. }) = self.places.try_remove(place as usize) else {
            return END;
        };
        match self.get_mut(before) {
            Some(before) => before.behind = behind,
            None => list.first = behind,
        }
        match self.get_mut(behind) {
            Some(behind) => behind.before = before,
            None => list.last = before,
        }
        list.count -= 1;
        if self
            .thinning
            .is_due(self.places.len(), self.places.capacity())
        {
            self.places.shrink_to_fit();
        }
        behind
    }

    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut Subscriber> {
        self.places.get_mut(place as usize)
    }

    pub(crate) fn get(&self, place: u32) -> Option<&Subscriber> {
        self.places.get(place as usize)
    }

    /// The first subscriber at `place` or behind it that has not read up to `entry` and does not lag, its place, and the place
    /// behind it.
    pub(crate) fn next_behind(&self, place: u32, entry: u64) -> Option<(u32, ConnId, u32)> {
        let mut place = place;
        while let Some(subscriber) = self.get(place) {
            if subscriber.next < entry && !subscriber.lags {
                return Some((place, subscriber.id, subscriber.behind));
            }
            place = subscriber.behind;
        }
        None
    }

    /// Lets no subscriber lag any more.
    pub(crate) fn end_lags(&mut self) {
        for (_, subscriber) in &mut self.places {
            subscriber.lags = false;
        }
    }

    /// Bytes of memory that the table occupies.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        // An entry of a slab is a number beside the value.
        self.places.capacity() * (size_of::<Subscriber>() + 8)
    }
}

/// Tells when a table is to be shrunk: when little of it is in use, and as many entries have been removed since the last time
/// as are left. A walk over the table follows only if the last entries have been removed, so that removals pay for it.
#[derive(Default)]
pub(crate) struct Thinning {
    removed: usize,
}

impl Thinning {
    /// A table of so many entries is not worth it.
    const SMALL: usize = 64;

    /// Notes that an entry was removed. True if the table is to be shrunk.
    pub(crate) fn is_due(&mut self, left: usize, capacity: usize) -> bool {
        self.removed += 1;
        let is_due = capacity > Self::SMALL && left <= capacity / 4 && self.removed >= left;
        if is_due {
            self.removed = 0;
        }
        is_due
    }
}

pub(crate) fn index(key: usize) -> u32 {
    let index = u32::try_from(key).ok().filter(|index| *index != END);
    index.expect("a worker has fewer than 2^32 subscriptions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots of all subscribers of a list that have not read up to `entry`.
    fn walk(subscribers: &Subscribers, list: &List, entry: u64) -> Vec<u32> {
        let mut place = list.first();
        let step = || {
            let (_, id, behind) = subscribers.next_behind(place, entry)?;
            place = behind;
            Some(id.slot)
        };
        std::iter::from_fn(step).collect()
    }

    #[test]
    fn the_table_shrinks_as_subscribers_leave() {
        let mut subscribers = Subscribers::default();
        let mut list = List::default();
        let places: Vec<_> = (0..10_000)
            .map(|slot| subscribers.insert(&mut list, ConnId::in_slot(slot), 0))
            .collect();
        let most = subscribers.memory();
        // In an order in which the last of the table leave now and then.
        for index in (1..10_000).map(|step| step * 7 % 10_000) {
            subscribers.remove(&mut list, places[index]);
        }
        assert_eq!((list.len(), walk(&subscribers, &list, 1)), (1, vec![0]));
        let left = subscribers.memory();
        assert!(left < most / 50, "{left} of {most}");
    }

    #[test]
    fn lists_keep_their_order_whoever_leaves() {
        let mut subscribers = Subscribers::default();
        let mut lists = [List::default(), List::default()];
        let mut places: Vec<_> = (0..300)
            .map(|slot| subscribers.insert(&mut lists[slot as usize % 2], ConnId::in_slot(slot), 0))
            .collect();
        let mut expected: Vec<u32> = (0..300).collect();
        // The first, the last, and some between, until none is left.
        for round in 0..300 {
            let index = [0, expected.len() - 1, expected.len() / 2][round % 3];
            let (slot, place) = (expected.remove(index), places.remove(index));
            let list = &mut lists[slot as usize % 2];
            let behind = subscribers.remove(list, place);
            let follower = expected[index..].iter().position(|it| it % 2 == slot % 2);
            assert_eq!(behind, follower.map_or(END, |at| places[index + at]));
            for (parity, list) in lists.iter().enumerate() {
                let of_list = expected.iter().copied();
                let left: Vec<_> = of_list.filter(|it| *it as usize % 2 == parity).collect();
                assert_eq!(
                    (walk(&subscribers, list, 1), list.len()),
                    (left.clone(), left.len())
                );
            }
        }
        assert!(lists.iter().all(List::is_empty));
    }

    #[test]
    fn a_walk_finds_those_who_are_behind() {
        let mut subscribers = Subscribers::default();
        let mut list = List::default();
        for slot in 0..300 {
            subscribers.insert(&mut list, ConnId::in_slot(slot), u64::from(slot % 3));
        }
        let expected: Vec<_> = (0..300).filter(|slot| slot % 3 == 0).collect();
        assert_eq!(walk(&subscribers, &list, 1), expected);
    }

    #[test]
    fn a_table_is_shrunk_once_for_as_many_removals_as_entries_are_left() {
        let mut thinning = Thinning::default();
        let due = (0..1_000).filter(|_| thinning.is_due(100, 400));
        assert_eq!(due.count(), 10);
        assert!((0..1_000).all(|_| !thinning.is_due(200, 400)));
        assert!((0..1_000).all(|_| !thinning.is_due(0, 64)));
    }
}
