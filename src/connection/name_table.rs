//! A table of values with names that peers choose: found by the name, and then by a key.

use std::collections::hash_map::{HashMap, RandomState};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::connection::subscribers::{END, Thinning, index};

/// See the [module](self).
///
/// `S` hashes the names with a random key. A name is hashed to be found, and neither read nor hashed again when it is removed or
/// the table grows: many may be removed at one time.
pub(super) struct NameTable<V, S = RandomState> {
    /// The last entry whose name has this hash, by the hash.
    by_hash: HashMap<u32, u32, BuildHasherDefault<IsHash>>,
    hash: S,
    entries: Slab<Named<V>>,
    thinning: Thinning,
}

pub(super) struct Named<V> {
    name: Box<str>,
    hash: u32,
    /// The next entry whose name has the same hash, or [`END`].
    alike: u32,
    value: V,
}

/// Takes a hash for its own hash.
#[derive(Default)]
pub(super) struct IsHash(u32);

impl Hasher for IsHash {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a hash is a number");
    }

    fn write_u32(&mut self, hash: u32) {
        self.0 = hash;
    }

    /// Maps look at the first bits and at the last.
    fn finish(&self) -> u64 {
        (u64::from(self.0) << 32) | u64::from(self.0)
    }
}

impl<V, S: Default> Default for NameTable<V, S> {
    fn default() -> Self {
        NameTable {
            by_hash: HashMap::default(),
            hash: S::default(),
            entries: Slab::new(),
            thinning: Thinning::default(),
        }
    }
}

impl<V, S: BuildHasher> NameTable<V, S> {
    /// The key of the entry with this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        self.find_by(self.hash_of(name), name)
    }

    /// The key of the entry with this name, which is inserted if there is none.
    pub(super) fn find_or_insert(&mut self, name: &str, new: impl FnOnce() -> V) -> u32 {
        let hash = self.hash_of(name);
        let found = self.find_by(hash, name);
        found.unwrap_or_else(|| self.insert(hash, name, new()))
    }

    fn hash_of(&self, name: &str) -> u32 {
        self.hash.hash_one(name) as u32
    }

    fn find_by(&self, hash: u32, name: &str) -> Option<u32> {
        let mut key = *self.by_hash.get(&hash)?;
        loop {
            let entry = self.entries.get(key as usize)?;
            if *entry.name == *name {
                return Some(key);
            }
            key = entry.alike;
        }
    }

    fn insert(&mut self, hash: u32, name: &str, value: V) -> u32 {
        let key = index(self.entries.insert(Named {
            name: name.into(),
            hash,
            alike: END,
            value,
        }));
        if let Some(alike) = self.by_hash.insert(hash, key) {
            self.entries[key as usize].alike = alike;
        }
        key
    }

    pub(super) fn remove(&mut self, key: u32) {
        let Named { hash, alike, .. } = self.entries.remove(key as usize);
        let mut last = self.by_hash.get(&hash).copied().unwrap_or(END);
        if last != key {
            // Another entry whose name has the same hash leads to it.
            while let Some(entry) = self.entries.get_mut(last as usize) {
                last = entry.alike;
                if last == key {
                    entry.alike = alike;
                }
            }
        } else if alike != END {
            self.by_hash.insert(hash, alike);
        } else {
            self.by_hash.remove(&hash);
        }
        let (left, capacity) = (self.entries.len(), self.entries.capacity());
        if self.thinning.is_due(left, capacity) {
            self.entries.shrink_to_fit();
            self.by_hash.shrink_to(2 * self.by_hash.len());
        }
    }
}

impl<V, S> NameTable<V, S> {
    #[inline]
    pub(super) fn get(&self, key: u32) -> Option<&V> {
        self.entries.get(key as usize).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut V> {
        let entry = self.entries.get_mut(key as usize);
        entry.map(|entry| &mut entry.value)
    }

    pub(super) fn name(&self, key: u32) -> Option<&str> {
        self.entries.get(key as usize).map(|entry| &*entry.name)
    }

    /// All values with their keys.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut V)> {
        let entries = self.entries.iter_mut();
        entries.map(|(key, entry)| (index(key), &mut entry.value))
    }

    /// Bytes of memory that the table occupies.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        // A table of hashes is full at 7/8, has a power of two of entries, and a byte for each besides.
        let hashes = match self.by_hash.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two() * 9,
        };
        // An allocator rounds up and adds a length.
        let names = self.entries.iter().map(|(_, entry)| entry.name.len() + 24);
        hashes + self.entries.capacity() * size_of::<Named<V>>() + names.sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.by_hash.is_empty()
    }
}

impl<V, S> Index<u32> for NameTable<V, S> {
    type Output = V;

    #[inline]
    fn index(&self, key: u32) -> &V {
        &self.entries[key as usize].value
    }
}

impl<V, S> IndexMut<u32> for NameTable<V, S> {
    #[inline]
    fn index_mut(&mut self, key: u32) -> &mut V {
        &mut self.entries[key as usize].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes all names to the same.
    #[derive(Default)]
    struct Alike;

    impl BuildHasher for Alike {
        type Hasher = IsHash;

        fn build_hasher(&self) -> IsHash {
            IsHash(7)
        }

        fn hash_one<N: std::hash::Hash>(&self, _: N) -> u64 {
            7
        }
    }

    #[test]
    fn names_with_the_same_hash_are_told_apart() {
        // The first, the last and one in between leave first.
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut table = NameTable::<usize, Alike>::default();
            let names = ["a", "b", "c", "d"];
            let keys = [0, 1, 2, 3].map(|index| table.find_or_insert(names[index], || index));
            let mut left: Vec<_> = names.to_vec();
            for index in order {
                table.remove(keys[index]);
                left.retain(|name| *name != names[index]);
                for (name, key) in names.iter().zip(keys) {
                    let expected = left.contains(name).then_some(key);
                    assert_eq!(table.find(name), expected, "{name} of {left:?}");
                }
            }
            assert!(table.is_empty());
        }
    }

    #[test]
    fn a_name_is_inserted_once() {
        let mut table = NameTable::<u32>::default();
        let key = table.find_or_insert("a", || 1);
        assert_eq!(table.find_or_insert("a", || 2), key);
        assert_eq!((table[key], table.name(key)), (1, Some("a")));
        assert_eq!(table.find("b"), None);
    }

    /// Counts the names that it hashes.
    #[derive(Default)]
    struct Counting(RandomState, std::cell::Cell<usize>);

    impl BuildHasher for Counting {
        type Hasher = <RandomState as BuildHasher>::Hasher;

        fn build_hasher(&self) -> Self::Hasher {
            self.1.set(self.1.get() + 1);
            self.0.build_hasher()
        }
    }

    /// Many connections that ended together with all their topics took 160 ms, since each name was hashed and read again.
    #[test]
    fn a_name_is_hashed_once_to_insert_and_neither_to_remove_nor_when_tables_grow() {
        let mut table = NameTable::<usize, Counting>::default();
        let keys: Vec<_> = (0..5_000)
            .map(|number| table.find_or_insert(&format!("{number}"), || number))
            .collect();
        assert_eq!(table.hash.1.replace(0), 5_000);
        keys.into_iter().for_each(|key| table.remove(key));
        assert!(table.is_empty());
        assert_eq!(table.hash.1.get(), 0);
    }
}
