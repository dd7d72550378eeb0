//! The memory of timers: entries that are reused, each time under a new key.

use std::num::NonZeroU32;

use super::{NIL, TimerKey};

/// The generation of an entry without a timer. No key ever has it.
const VACANT: NonZeroU32 = NonZeroU32::MAX;

/// Room for the timers of a wheel.
//
// Invariant: an entry is live (holds a value), free (its next key is in `free`), or retired (its generations are used up).
// The generation of a live entry is that of its key, of all others it is `VACANT`.
pub(super) struct Entries<T> {
    entries: Vec<Entry<T>>,
    /// The links of the entries, by the same index. They are apart because unlinking and walking a
    /// list touch them at random, and so touch a fraction of the memory.
    pub(super) links: Vec<Link>,
    /// The keys of the timers to come in entries that are free, the next one last.
    pub(super) free: Vec<TimerKey>,
    /// Entries that are never used again.
    pub(super) retired: usize,
}

/// Room for one timer.
pub(super) struct Entry<T> {
    pub(super) deadline: u64,
    /// Of the timer's key, or `VACANT`.
    pub(super) generation: NonZeroU32,
    /// The slot the timer is linked in, as `level * SLOTS + slot`.
    pub(super) slot: u16,
    pub(super) value: Option<T>,
}

/// An entry's neighbours in its slot.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl<T> Entries<T> {
    pub(super) fn with_capacity(timers: usize) -> Self {
        Entries {
            entries: Vec::with_capacity(timers),
            links: Vec::with_capacity(timers),
            free: Vec::new(),
            retired: 0,
        }
    }

    /// The number of live entries.
    #[inline]
    pub(super) fn live(&self) -> usize {
        self.entries.len() - self.free.len() - self.retired
    }

    /// The entry of a timer, unless the key is stale.
    #[inline]
    pub(super) fn get(&self, key: TimerKey) -> Option<&Entry<T>> {
        let entry = self.entries.get(key.index as usize)?;
        (entry.generation == key.generation).then_some(entry)
    }

    /// Puts a value into a free entry, or a new one. It is not linked yet.
    ///
    /// # Panics
    /// If no entry is free and no index is left.
    #[inline]
    pub(super) fn occupy(&mut self, value: T) -> TimerKey {
        let Some(key) = self.free.pop() else {
            return self.grow(value);
        };
        let entry = &mut self.entries[key.index as usize];
        debug_assert!(entry.value.is_none(), "a free entry holds no value");
        entry.generation = key.generation;
        entry.value = Some(value);
        key
    }

    /// Puts a value into a new entry.
    fn grow(&mut self, value: T) -> TimerKey {
        assert!(
            self.entries.len() < NIL as usize,
            "the wheel has no room for a timer"
        );
        let index = self.entries.len() as u32;
        let generation = NonZeroU32::MIN;
        self.entries.push(Entry {
            deadline: 0,
            generation,
            slot: 0,
            value: Some(value),
        });
        self.links.push(Link {
            prev: NIL,
            next: NIL,
        });
        TimerKey { index, generation }
    }

    /// Takes the value out of an unlinked entry and makes its key stale.
    #[inline]
    pub(super) fn vacate(&mut self, index: u32) -> T {
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take().expect("a linked entry holds a value");
        let used = std::mem::replace(&mut entry.generation, VACANT);
        // An entry whose generations are used up is never used again: that is a few bytes for four
        // thousand million timers, and no key ever names the wrong one.
        match used.checked_add(1) {
            Some(generation) if generation != VACANT => {
                self.free.push(TimerKey { index, generation });
            }
            _ => self.retired += 1,
        }
        value
    }

    /// Asserts the invariant. For tests: it looks at every entry.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.entries.len(), self.links.len());
        let live = self.entries.iter().filter(|entry| entry.value.is_some());
        assert_eq!(live.count(), self.live(), "every live entry holds a value");
        let vacant = self
            .entries
            .iter()
            .filter(|entry| entry.generation == VACANT);
        assert_eq!(
            vacant.count(),
            self.free.len() + self.retired,
            "every other is free or retired"
        );
        for key in &self.free {
            let entry = &self.entries[key.index as usize];
            assert!(entry.value.is_none() && entry.generation == VACANT);
            assert_ne!(key.generation, VACANT);
        }
    }
}

impl<T> std::ops::Index<u32> for Entries<T> {
    type Output = Entry<T>;

    #[inline]
    fn index(&self, index: u32) -> &Entry<T> {
        &self.entries[index as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Entries<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.entries[index as usize]
    }
}
