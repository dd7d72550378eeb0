//! Counts the letters that wait for a loop and their bytes, against limits that all senders share.

use crate::shared::sync::atomic::{AtomicU64, Ordering};

/// Number of sources that are counted apart. Threads beyond them share a count with another.
const SOURCES: usize = if cfg!(all(test, loom)) { 2 } else { 64 };

/// A number of letters and a number of bytes, in one word so that both change in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load(u64);

impl Load {
    /// Bits of the number of bytes; those above it count letters.
    const BYTE_BITS: u32 = 40;
    const MAX_LETTERS: u64 = (1 << (64 - Self::BYTE_BITS)) - 1;
    const MAX_BYTES: u64 = (1 << Self::BYTE_BITS) - 1;

    fn new(letters: usize, bytes: usize) -> Self {
        let letters = (letters as u64).min(Self::MAX_LETTERS);
        Load((letters << Self::BYTE_BITS) | (bytes as u64).min(Self::MAX_BYTES))
    }

    fn letters(self) -> u64 {
        self.0 >> Self::BYTE_BITS
    }

    fn bytes(self) -> u64 {
        self.0 & Self::MAX_BYTES
    }

    /// The sum, unless one of its numbers exceeds that of `limit`.
    fn plus_within(self, other: Load, limit: Load) -> Option<Load> {
        let letters = self.letters() + other.letters();
        let bytes = self.bytes() + other.bytes();
        let fits = letters <= limit.letters() && bytes <= limit.bytes();
        fits.then_some(Load((letters << Self::BYTE_BITS) | bytes))
    }

    /// True if neither number exceeds the given fraction of that of `limit`.
    fn is_within(self, limit: Load, fraction: u64) -> bool {
        self.letters() <= limit.letters() / fraction && self.bytes() <= limit.bytes() / fraction
    }
}

/// The largest limit of bytes: that of a load, or all that a small machine can address.
const fn most_bytes() -> usize {
    if usize::BITS > Load::BYTE_BITS {
        Load::MAX_BYTES as usize
    } else {
        usize::MAX
    }
}

/// A letter's part of the places; it is given back when the letter is done with.
#[derive(Debug)]
#[must_use = "places that are not released are lost"]
pub(crate) struct Charge {
    load: Load,
    /// The source that was charged, if any.
    source: Option<u8>,
    /// It counts among the letters of threads.
    is_of_threads: bool,
}

impl Charge {
    /// Number of places.
    pub(crate) fn letters(&self) -> usize {
        self.load.letters() as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        self.load.bytes() as usize
    }

    /// True if the share of a thread, or of a worker as a whole, was charged: its sender is no connection that can be held back.
    pub(crate) fn has_share(&self) -> bool {
        self.source.is_some()
    }
}

/// The fraction of all places that one letter takes at most, however many connections it reaches.
const LARGEST_PART: u64 = 64;

/// The places of a queue.
///
/// A sender takes places before it puts an item in; the receiver releases them after it is done with the item. So the queue
/// never holds more than the limit, and the count may be ahead of the queue for a moment, but never behind.
///
/// A letter takes a place for each connection that it reaches, so that the places bound the work that waits: but at most a
/// [fraction](LARGEST_PART) of them, so that a small mailbox takes large letters, too.
///
/// Each source has a share: it may hold as much as the others leave free. One source alone gets half of the places, two get a
/// third each, and so on, and there is always room for one more.
pub(crate) struct Places {
    taken: AtomicU64,
    /// The part of them that letters of threads have, which nothing slows down.
    of_threads: AtomicU64,
    limit: Load,
    by_source: [AtomicU64; SOURCES],
}

impl Places {
    /// The largest limits of letters and of their bytes.
    pub(crate) const MOST: (usize, usize) = (Load::MAX_LETTERS as usize, most_bytes());

    pub(crate) fn new(letters: usize, bytes: usize) -> Self {
        Places {
            taken: AtomicU64::new(0),
            of_threads: AtomicU64::new(0),
            limit: Load::new(letters, bytes),
            by_source: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Takes places for a letter of a source, which is a thread that runs no worker. `None` if the source has its share, or all are
    /// taken.
    pub(crate) fn reserve_for_thread(
        &self,
        reach: usize,
        bytes: usize,
        source: usize,
    ) -> Option<Charge> {
        let letter = self.letter(reach, bytes);
        self.of_threads.fetch_add(letter.0, Ordering::Relaxed);
        let charge = self.reserve(reach, bytes, source);
        if charge.is_none() {
            self.of_threads.fetch_sub(letter.0, Ordering::Relaxed);
        }
        Some(Charge {
            is_of_threads: true,
            ..charge?
        })
    }

    /// Takes places for a letter of a source. `None` if the source has its share, or all are taken.
    pub(crate) fn reserve(&self, reach: usize, bytes: usize, source: usize) -> Option<Charge> {
        let source = source % SOURCES;
        let count = &self.by_source[source];
        let letter = self.letter(reach, bytes);
        let held = Load(count.fetch_add(letter.0, Ordering::Relaxed));
        let charge = self.reserve_within(letter, held);
        match charge {
            Some(charge) => Some(Charge {
                source: Some(source as u8),
                ..charge
            }),
            None => {
                count.fetch_sub(letter.0, Ordering::Relaxed);
                None
            }
        }
    }

    /// Takes places for a letter of a source that holds so many letters and bytes already, by a count of its own. `None` if the source
    /// has its share, or all are taken.
    pub(crate) fn reserve_beside(
        &self,
        reach: usize,
        bytes: usize,
        held: (usize, usize),
    ) -> Option<Charge> {
        self.reserve_within(self.letter(reach, bytes), Load::new(held.0, held.1))
    }

    /// The places of a letter that reaches so many connections: at least 1.
    fn letter(&self, reach: usize, bytes: usize) -> Load {
        let most = (self.limit.letters() / LARGEST_PART).max(1);
        Load::new(reach.clamp(1, most as usize), bytes)
    }

    /// Takes places, if a source that holds this much already may have them.
    fn reserve_within(&self, letter: Load, held: Load) -> Option<Charge> {
        // One step. A check before the count could let two senders past the limit; and a count that is taken back could hide
        // from the worker that there is room, which it tells the senders that wait only once.
        let take = |taken: u64| {
            let taken = Load(taken);
            let after = taken.plus_within(letter, self.limit)?;
            let is_first = held == Load(0);
            let has_share = is_first || after.plus_within(held, self.limit).is_some();
            has_share.then_some(after.0)
        };
        let outcome = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        outcome.ok().map(|_| Charge {
            load: letter,
            source: None,
            is_of_threads: false,
        })
    }

    /// Releases the places of a letter.
    pub(crate) fn release(&self, charge: Charge) {
        let load = charge.load;
        if let Some(source) = charge.source {
            self.by_source[usize::from(source)].fetch_sub(load.0, Ordering::Relaxed);
        }
        if charge.is_of_threads {
            self.of_threads.fetch_sub(load.0, Ordering::Relaxed);
        }
        let before = Load(self.taken.fetch_sub(load.0, Ordering::Relaxed));
        debug_assert!(
            before.letters() >= load.letters() && before.bytes() >= load.bytes(),
            "a place was released twice"
        );
    }

    /// True if a place is free, and no more than a quarter of them are taken: less than any source's share.
    pub(crate) fn has_room(&self) -> bool {
        self.limit.letters() > 0 && self.load().is_within(self.limit, 4)
    }

    /// The parts of the whole in which [`part`](Self::part) counts.
    pub(crate) const WHOLE: u64 = 1 << 16;

    /// The part of all places that so many letters take, or of all bytes, whichever is larger.
    pub(crate) fn part(&self, letters: usize, bytes: usize) -> u64 {
        let part = |count: u64, limit: u64| {
            let part = u128::from(count) * u128::from(Self::WHOLE) / u128::from(limit.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let letters = part(letters as u64, self.limit.letters());
        letters.max(part(bytes as u64, self.limit.bytes()))
    }

    /// True if more than a quarter of the places or the bytes are taken, so that nothing should wait longer than it must.
    pub(crate) fn is_filling_up(&self) -> bool {
        !self.load().is_within(self.limit, 4)
    }

    /// True if no more than an eighth of the places and the bytes are taken, so that what waits may fill them further.
    pub(crate) fn has_plenty_of_room(&self) -> bool {
        self.load().is_within(self.limit, 8)
    }

    /// True if more than half of the places are taken.
    pub(crate) fn is_congested(&self) -> bool {
        !self.load().is_within(self.limit, 2)
    }

    /// True if others than threads have taken more than half of the places that threads have left, so that they should be slowed.
    pub(crate) fn is_crowded(&self) -> bool {
        // Most of the time threads have little, and then this is enough.
        if !self.is_congested() {
            return false;
        }
        let (taken, of_threads) = (self.load(), Load(self.of_threads.load(Ordering::Relaxed)));
        let is_crowded = |taken: u64, of_threads: u64, limit: u64| {
            taken.saturating_sub(of_threads) > limit.saturating_sub(of_threads) / 2
        };
        is_crowded(taken.letters(), of_threads.letters(), self.limit.letters())
            || is_crowded(taken.bytes(), of_threads.bytes(), self.limit.bytes())
    }

    /// Number of places that are taken now.
    #[inline]
    pub(crate) fn letters(&self) -> usize {
        self.load().letters() as usize
    }

    /// Bytes of the letters that have places now.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.load().bytes() as usize
    }

    #[inline]
    fn load(&self) -> Load {
        Load(self.taken.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Takes places until there are no more. Returns their number.
    fn take_all(places: &Places, bytes: usize, source: usize) -> usize {
        std::iter::from_fn(|| places.reserve(1, bytes, source)).count()
    }

    #[test]
    fn each_source_has_as_much_as_the_others_leave() {
        let places = Places::new(1_200, usize::MAX);
        assert_eq!(take_all(&places, 1, 0), 600);
        assert_eq!(take_all(&places, 1, 1), 300);
        assert_eq!(take_all(&places, 1, 2), 150);
        for source in 3..10 {
            assert!(
                take_all(&places, 1, source) > 0,
                "source {source} is shut out"
            );
        }
    }

    #[test]
    fn bytes_are_bounded_as_letters_are() {
        let places = Places::new(1_000, 1_000);
        assert_eq!(take_all(&places, 100, 0), 5);
        assert_eq!(take_all(&places, 600, 1), 0, "more than is left");
        assert_eq!(
            take_all(&places, 500, 1),
            1,
            "the first of a source, of all that is left"
        );
        assert_eq!(places.bytes(), 1_000);
        assert!(places.reserve_beside(1, 1, (0, 0)).is_none());
    }

    #[test]
    fn all_that_is_released_can_be_taken_again() {
        let places = Places::new(8, 800);
        let charges: Vec<_> = (0..4).map_while(|_| places.reserve(1, 100, 5)).collect();
        assert_eq!(
            (charges.len(), places.letters(), places.bytes()),
            (4, 4, 400)
        );
        assert!(!places.has_room() && !places.is_congested());
        let other = places.reserve_beside(1, 1, (0, 0)).expect("half is free");
        assert!(places.is_congested());
        charges
            .into_iter()
            .for_each(|charge| places.release(charge));
        places.release(other);
        assert_eq!((places.letters(), places.bytes()), (0, 0));
        assert!(places.has_room());
        assert_eq!(take_all(&places, 100, 5), 4);
    }

    #[test]
    fn letters_of_threads_crowd_nobody_who_can_be_slowed() {
        let places = Places::new(1_200, usize::MAX);
        let of_thread: Vec<_> = std::iter::from_fn(|| places.reserve_for_thread(1, 1, 0)).collect();
        assert_eq!(of_thread.len(), 600);
        let mut others: Vec<_> = (0..300)
            .map_while(|_| places.reserve_beside(1, 1, (0, 0)))
            .collect();
        assert!(places.is_congested() && !places.is_crowded());
        others.extend(places.reserve_beside(1, 1, (0, 0)));
        assert!(places.is_crowded(), "301 of the 600 that are left");
        of_thread.into_iter().for_each(|it| places.release(it));
        assert!(!places.is_crowded());
        others.extend((0..300).map_while(|_| places.reserve_beside(1, 1, (0, 0))));
        assert!(places.is_crowded(), "601 of 1,200");
        others.into_iter().for_each(|it| places.release(it));
        assert_eq!(places.letters(), 0);
    }

    #[test]
    fn a_letter_takes_a_place_for_each_connection_up_to_a_part_of_all() {
        let places = Places::new(6_400, usize::MAX);
        let all: Vec<_> = std::iter::from_fn(|| places.reserve(10, 1, 0)).collect();
        assert_eq!(
            (all.len(), places.letters(), places.bytes()),
            (320, 3_200, 320)
        );
        all.into_iter().for_each(|charge| places.release(charge));
        assert_eq!((places.letters(), places.bytes()), (0, 0));
        for (reach, letters) in [(0, 1), (100, 100), (1_000_000, 100)] {
            let charge = places.reserve(reach, 1, 0).expect("it is empty");
            assert_eq!((charge.letters(), places.letters()), (letters, letters));
            places.release(charge);
        }
    }

    #[test]
    fn a_small_queue_takes_a_letter_to_many() {
        for limit in [1, 2, 63, 64, 100] {
            let places = Places::new(limit, usize::MAX);
            let charge = places.reserve(1_000_000, 1, 0).expect("it is empty");
            assert_eq!(charge.letters(), 1);
            assert_eq!(places.reserve(1_000_000, 1, 1).is_some(), limit > 1);
            places.release(charge);
        }
    }

    #[test]
    fn the_largest_queue_counts_right() {
        let places = Places::new(usize::MAX, usize::MAX);
        let charges: Vec<_> =
            std::iter::from_fn(|| places.reserve(usize::MAX, 1 << 30, 0)).collect();
        assert_eq!(
            charges.len(),
            32,
            "half of the places, in letters of a 64th"
        );
        assert_eq!(places.bytes(), 32 << 30);
        charges
            .into_iter()
            .for_each(|charge| places.release(charge));
        assert_eq!((places.letters(), places.bytes()), (0, 0));
    }

    #[test]
    fn a_queue_without_places_has_none() {
        let places = Places::new(0, 1_000);
        assert!(places.reserve(1, 1, 0).is_none() && places.reserve_beside(1, 1, (0, 0)).is_none());
        assert!(!places.has_room());
    }

    #[test]
    fn a_queue_of_one_place_has_one() {
        let places = Places::new(1, usize::MAX);
        let only = places.reserve(1, 1 << 30, 0).expect("it is free");
        assert!(places.reserve(1, 1, 1).is_none());
        places.release(only);
        assert!(places.has_room());
    }
}
