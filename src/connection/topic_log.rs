//! The log of a topic: the publications that some subscribers have not got.

use std::collections::VecDeque;

/// Number of entries that a round delivers at most, so that a subscriber gets them in one write.
pub(super) const ROUND: usize = 64;

/// See the [module](self).
pub(super) struct Log<T> {
    entries: VecDeque<Entry<T>>,
    /// Number of entries that the rounds so far have delivered, from the first on: they wait for subscribers that lag.
    walked: usize,
    /// Number of bytes of these entries, together.
    waiting: usize,
    round: Option<Round>,
    /// True while the topic is among those that have turns.
    pub(super) is_active: bool,
}

/// A walk along the subscribers that delivers entries to each.
pub(super) struct Round {
    /// The place of the subscriber that comes next.
    pub(super) place: u32,
    /// Number of the entry before which it ends, counted since the topic exists.
    pub(super) until: u64,
    /// Stamp of the last entry that it delivers.
    pub(super) horizon: u64,
}

pub(super) struct Entry<T> {
    pub(super) stamp: u64,
    /// Number of subscribers that lag and get this entry next.
    pub(super) lagging: usize,
    /// Number of subscribers when it was published.
    pub(super) reach: usize,
    /// Its number of bytes; 0 until a round has delivered it.
    size: usize,
    pub(super) value: T,
}

impl<T> Log<T> {
    pub(super) fn new() -> Self {
        Log {
            entries: VecDeque::new(),
            walked: 0,
            waiting: 0,
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

    /// Appends an entry to so many subscribers, and returns its stamp: no earlier one than that of the last entry.
    pub(super) fn push(&mut self, stamp: u64, value: T, reach: usize) -> u64 {
        let last = self.entries.back();
        let stamp = last.map_or(stamp, |last| last.stamp.max(stamp));
        self.entries.push_back(Entry {
            stamp,
            lagging: 0,
            reach,
            size: 0,
            value,
        });
        stamp
    }

    /// The round that is under way, or a new one from the subscriber at `place` on; `None` if there is nothing to deliver.
    /// `first` is the number of the first entry.
    pub(super) fn round(&mut self, first: u64, place: u32) -> Option<&mut Round> {
        if self.round.is_none() && self.has_new() {
            let until = self.entries.len().min(self.walked + ROUND);
            let last = self.entries.get(until - 1)?;
            self.round = Some(Round {
                place,
                until: first + until as u64,
                horizon: last.stamp,
            });
        }
        self.round.as_mut()
    }

    /// Lets the round go on at the place behind a subscriber that leaves, if it would have come next.
    pub(super) fn pass_over(&mut self, place: u32, behind: u32) {
        if let Some(round) = self.round.as_mut().filter(|round| round.place == place) {
            round.place = behind;
        }
    }

    /// Ends the round that is under way. `first` is the number of the first entry. Returns the number of entries that the round
    /// has delivered, and that of the subscribers to which they were published.
    pub(super) fn end_round(&mut self, first: u64) -> (usize, usize) {
        let before = self.walked;
        if let Some(round) = self.round.take() {
            self.walked = (round.until - first) as usize;
        }
        let delivered = self.entries.range(before..self.walked);
        let reach = delivered.map(|entry| entry.reach).sum();
        (self.walked - before, reach)
    }

    /// Notes the sizes of the entries that wait for subscribers that lag, of the last `count` that rounds have delivered. Calls
    /// `delivered` with each, and with true if more than `most` bytes wait then.
    pub(super) fn note_last_delivered(
        &mut self,
        count: usize,
        most: usize,
        size: impl Fn(&T) -> usize,
        mut delivered: impl FnMut(&T, bool),
    ) {
        let first = self.walked.saturating_sub(count);
        for entry in self.entries.range_mut(first..self.walked) {
            entry.size = size(&entry.value);
            self.waiting += entry.size;
        }
        let is_crowded = self.waiting > most;
        let entries = self.entries.range(first..self.walked);
        entries.for_each(|entry| delivered(&entry.value, is_crowded));
    }

    /// Bytes of the entries that wait for nothing but subscribers that lag.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The entries that the rounds so far have delivered.
    pub(super) fn delivered(&self) -> impl Iterator<Item = &T> {
        let entries = self.entries.iter().take(self.walked);
        entries.map(|entry| &entry.value)
    }

    /// The stamp of the last entry; 0 if there is none.
    pub(super) fn last_stamp(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.stamp)
    }

    /// Number of entries with a later stamp than this, of those that no round has begun to deliver.
    pub(super) fn count_later(&self, horizon: u64) -> usize {
        let under_way = self.round.as_ref().map_or(0, |round| round.horizon);
        let horizon = horizon.max(under_way);
        let new = self.entries.range(self.walked..).rev();
        new.take_while(|entry| entry.stamp > horizon).count()
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
        let waiting = &mut self.waiting;
        let done = self.entries.drain(..count).map(|entry| {
            *waiting -= entry.size;
            entry.value
        });
        let done = done.collect();
        self.walked -= count;
        self.entries.shrink_to(2 * self.entries.len());
        done
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().map(|entry| entry.value)
    }
}
