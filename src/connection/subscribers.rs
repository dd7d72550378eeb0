//! The subscribers of one topic, each at a place that it keeps.

use crate::connection::id::ConnId;

/// Number of places in a chunk. A chunk without subscribers is freed.
const CHUNK: usize = 64;

/// A subscriber, and how far it has read the topic's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: ConnId,
    /// Number of the next entry of the log that it gets.
    pub(crate) next: u64,
}

struct Chunk {
    places: [Option<Subscriber>; CHUNK],
    taken: usize,
}

/// The subscribers of a topic. The list shrinks as they leave, wherever the last one sits: memory goes by chunks.
#[derive(Default)]
pub(crate) struct Subscribers {
    chunks: Vec<Option<Box<Chunk>>>,
    count: usize,
    /// Chunks below this index have no free place.
    full_below: usize,
}

impl Subscribers {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first place behind all that are taken.
    pub(crate) fn end(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Adds a subscriber and returns its place.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> usize {
        let is_full =
            |chunk: &Option<Box<Chunk>>| matches!(chunk, Some(chunk) if chunk.taken == CHUNK);
        let mut index = self.full_below;
        while self.chunks.get(index).is_some_and(is_full) {
            index += 1;
        }
        self.full_below = index;
        if index == self.chunks.len() {
            self.chunks.push(None);
        }
        let chunk = self.chunks[index].get_or_insert_with(|| {
            Box::new(Chunk {
                places: [None; CHUNK],
                taken: 0,
            })
        });
        let free = chunk.places.iter().position(Option::is_none);
        let offset = free.expect("the chunk is not full");
        chunk.places[offset] = Some(subscriber);
        chunk.taken += 1;
        self.count += 1;
        index * CHUNK + offset
    }

    /// Removes the subscriber at a place.
    pub(crate) fn remove(&mut self, place: usize) -> Option<Subscriber> {
        let index = place / CHUNK;
        let chunk = self.chunks.get_mut(index)?.as_mut()?;
        let subscriber = chunk.places[place % CHUNK].take()?;
        chunk.taken -= 1;
        self.count -= 1;
        self.full_below = self.full_below.min(index);
        if chunk.taken == 0 {
            self.chunks[index] = None;
            self.shorten();
        }
        Some(subscriber)
    }

    /// Drops the empty chunks at the end.
    fn shorten(&mut self) {
        while matches!(self.chunks.last(), Some(None)) {
            self.chunks.pop();
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
        self.full_below = self.full_below.min(self.chunks.len());
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Subscriber> {
        self.chunks.get_mut(place / CHUNK)?.as_mut()?.places[place % CHUNK].as_mut()
    }

    pub(crate) fn get(&self, place: usize) -> Option<&Subscriber> {
        self.chunks.get(place / CHUNK)?.as_ref()?.places[place % CHUNK].as_ref()
    }

    /// The first subscriber at `place` or behind it that has not read up to `entry`, and its place.
    pub(crate) fn next_behind(&self, place: usize, entry: u64) -> Option<(usize, Subscriber)> {
        let mut place = place;
        while place < self.end() {
            let Some(chunk) = &self.chunks[place / CHUNK] else {
                place = (place / CHUNK + 1) * CHUNK;
                continue;
            };
            if let Some(subscriber) = chunk.places[place % CHUNK] {
                if subscriber.next < entry {
                    return Some((place, subscriber));
                }
            }
            place += 1;
        }
        None
    }

    /// Bytes of memory that the list occupies.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        chunks * size_of::<Chunk>() + self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(slot: u32, next: u64) -> Subscriber {
        let id = ConnId {
            worker: 0,
            service: 0,
            slot,
            serial: 0,
        };
        Subscriber { id, next }
    }

    #[test]
    fn the_list_shrinks_whoever_stays() {
        for stays in [0, 5_000, 9_999] {
            let mut list = Subscribers::default();
            let places: Vec<_> = (0..10_000)
                .map(|slot| list.insert(subscriber(slot, 0)))
                .collect();
            let most = list.memory();
            for (slot, place) in places.iter().enumerate().filter(|(slot, _)| *slot != stays) {
                assert_eq!(list.remove(*place).map(|it| it.id.slot), Some(slot as u32));
            }
            assert_eq!(list.len(), 1);
            assert!(list.get(places[stays]).is_some());
            assert!(list.memory() < most / 50, "{} of {most}", list.memory());
        }
    }

    #[test]
    fn freed_places_are_taken_first() {
        let mut list = Subscribers::default();
        let places: Vec<_> = (0..200)
            .map(|slot| list.insert(subscriber(slot, 0)))
            .collect();
        assert_eq!(places, (0..200).collect::<Vec<_>>());
        list.remove(70);
        list.remove(3);
        assert_eq!(list.insert(subscriber(0, 0)), 3);
        assert_eq!(list.insert(subscriber(0, 0)), 70);
        assert_eq!(list.insert(subscriber(0, 0)), 200);
    }

    #[test]
    fn a_walk_finds_those_who_are_behind() {
        let mut list = Subscribers::default();
        for slot in 0..300 {
            list.insert(subscriber(slot, u64::from(slot % 3)));
        }
        (64..128).for_each(|place| _ = list.remove(place));
        let (mut place, mut found) = (0, Vec::new());
        while let Some((at, subscriber)) = list.next_behind(place, 1) {
            found.push(subscriber.id.slot);
            place = at + 1;
        }
        let expected: Vec<_> = (0..300)
            .filter(|slot| slot % 3 == 0 && !(64..128).contains(slot))
            .collect();
        assert_eq!(found, expected);
    }
}
