//! Large storages that wait for the next ring that grows to their size.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A bounded store of the storages of large rings, shared by the rings of one pool. A ring that grows takes its new storage from
/// here: to allocate and zero a large one costs more than to fill it.
///
/// A lock guards it, so that rings can be sent between threads. It is taken only by a ring that grows beyond the capacity that
/// its pool keeps, or that comes back as large.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// The oldest first.
    storages: Mutex<VecDeque<Vec<u8>>>,
    /// Storages of this length or less are not kept.
    above: usize,
    max_count: usize,
    max_bytes: usize,
}

impl Shelf {
    pub(crate) fn new(above: usize, max_count: usize, max_bytes: usize) -> Self {
        Shelf {
            storages: Mutex::default(),
            above,
            max_count,
            max_bytes,
        }
    }

    /// The smallest storage of `least` to `most` bytes, unless it is more than twice `least`, so that a ring does not hold much
    /// more than it needs.
    pub(crate) fn take(&self, least: usize, most: usize) -> Option<Vec<u8>> {
        if least <= self.above / 2 {
            return None;
        }
        let most = most.min(least.saturating_mul(2));
        let mut storages = self.storages.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = storages.iter().enumerate();
        let fitting = fitting.filter(|(_, storage)| (least..=most).contains(&storage.len()));
        let (index, _) = fitting.min_by_key(|(_, storage)| storage.len())?;
        storages.remove(index)
    }

    /// Keeps a storage if it is large, in place of older ones if there is no room.
    pub(crate) fn put(&self, storage: Vec<u8>) {
        let length = storage.len();
        if length <= self.above || length > self.max_bytes || self.max_count == 0 {
            return;
        }
        let mut storages = self.storages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = length + sum(&storages);
        while bytes > self.max_bytes || storages.len() >= self.max_count {
            bytes -= storages.pop_front().map_or(0, |oldest| oldest.len());
        }
        storages.push_back(storage);
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        sum(&self.storages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn sum(storages: &VecDeque<Vec<u8>>) -> usize {
    storages.iter().map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_fitting_storage_is_taken() {
        let shelf = Shelf::new(10, 4, 1_000);
        for length in [100, 60, 80, 10] {
            shelf.put(vec![0; length]);
        }
        // The last one is not large.
        assert_eq!(shelf.bytes(), 240);
        assert!(shelf.take(61, 79).is_none());
        assert_eq!(shelf.take(61, 1_000).map(|it| it.len()), Some(80));
        assert_eq!(shelf.take(61, 1_000).map(|it| it.len()), Some(100));
        // 60 is too small for 61, and more than twice 29.
        assert!(shelf.take(61, 1_000).is_none() && shelf.take(29, 1_000).is_none());
        assert_eq!(shelf.take(30, 1_000).map(|it| it.len()), Some(60));
        assert_eq!(shelf.bytes(), 0);
    }

    #[test]
    fn old_storages_make_way_and_the_bounds_hold() {
        let shelf = Shelf::new(10, 3, 100);
        for length in [20, 30, 40, 50] {
            shelf.put(vec![0; length]);
        }
        // 20 made way for the number, 30 for the bytes.
        assert_eq!(shelf.bytes(), 90);
        shelf.put(vec![0; 101]);
        assert_eq!(shelf.bytes(), 90);
        shelf.put(vec![0; 100]);
        assert_eq!(shelf.bytes(), 100);
        let none = Shelf::new(10, 0, 100);
        none.put(vec![0; 50]);
        assert_eq!(none.bytes(), 0);
    }
}
