//! The log of a topic: the publications that some subscribers have not got.

use std::collections::VecDeque;

/// See the [module](self).
pub(super) struct Log<T> {
    entries: VecDeque<Entry<T>>,
    /// Number of entries that the rounds so far have delivered, from the first on: they wait for subscribers that lag.
    walked: usize,
    /// The round that is under way: the place that comes next, and the number of the entry before which it ends.
    pub(super) round: Option<(u32, u64)>,
    /// True while the topic is among those that have turns.
    pub(super) is_active: bool,
}

pub(super) struct Entry<T> {
    pub(super) stamp: u64,
    /// Number of subscribers that lag and get this entry next.
    pub(super) lagging: usize,
    pub(super) value: T,
}

impl<T> Log<T> {
    pub(super) fn new() -> Self {
        Log {
            entries: VecDeque::new(),
            walked: 0,
            round: None,
            is_active: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry at this position.
    pub(super) fn get(&self, position: usize) -> Option<&Entry<T>> {
        self.entries.get(position)
    }

    pub(super) fn get_mut(&mut self, position: usize) -> Option<&mut Entry<T>> {
        self.entries.get_mut(position)
    }

    /// Appends an entry, and returns its stamp: no earlier one than that of the last entry.
    pub(super) fn push(&mut self, stamp: u64, value: T) -> u64 {
        let last = self.entries.back();
        let stamp = last.map_or(stamp, |last| last.stamp.max(stamp));
        self.entries.push_back(Entry {
            stamp,
            lagging: 0,
            value,
        });
        stamp
    }

    /// The position of the first entry that the rounds so far have not delivered.
    pub(super) fn walked(&self) -> usize {
        self.walked
    }

    /// The rounds have delivered the entries before this position.
    pub(super) fn set_walked(&mut self, walked: usize) {
        self.walked = walked;
    }

    /// True if there are entries that a round has to deliver.
    pub(super) fn has_new(&self) -> bool {
        self.walked < self.entries.len()
    }

    /// True if an entry that is older than `stamp` is not delivered to all who do not lag.
    pub(super) fn has_new_before(&self, stamp: u64) -> bool {
        self.get(self.walked)
            .is_some_and(|entry| entry.stamp < stamp)
    }

    /// Notes that one subscriber more lags and gets the entry at this position next. False if there is no such entry.
    pub(super) fn wait_at(&mut self, position: usize) -> bool {
        let entry = self.get_mut(position);
        entry.map(|entry| entry.lagging += 1).is_some()
    }

    /// Notes that one subscriber less does so.
    pub(super) fn go_on_from(&mut self, position: usize) {
        if let Some(entry) = self.get_mut(position) {
            entry.lagging -= 1;
        }
    }

    /// True if all subscribers have the first entry.
    pub(super) fn is_first_done(&self) -> bool {
        let is_free = |entry: &Entry<T>| entry.lagging == 0;
        self.walked > 0 && self.entries.front().is_some_and(is_free)
    }

    /// Takes the entries out that all subscribers have.
    pub(super) fn take_done(&mut self) -> Vec<T> {
        let walked = self.entries.iter().take(self.walked);
        let count = walked.take_while(|entry| entry.lagging == 0).count();
        let done = self.entries.drain(..count).map(|entry| entry.value);
        let done = done.collect();
        self.walked -= count;
        self.entries.shrink_to(2 * self.entries.len());
        done
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().map(|entry| entry.value)
    }
}
