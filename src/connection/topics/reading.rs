//! Reading: a connection gets the entries of all its topics in the order of their stamps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use super::{Subscription, Topics};
use crate::connection::topic_log::Entry;

/// The next entry that a connection gets by one of its subscriptions.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    stamp: u64,
    subscription: Subscription,
}

/// The entries that a connection has not read. Its subscriptions are looked through once for all of them.
pub(crate) struct Reading {
    /// The stamp of the last entry that must be read.
    horizon: u64,
    /// Number of later entries that may be read.
    ahead: usize,
    /// The only subscription with entries, if that is known; there are no heads then.
    only: Option<Subscription>,
    /// The next entry by each subscription that has one, the oldest first.
    heads: BinaryHeap<Reverse<Head>>,
    /// True once the only subscription has no further entry.
    is_done: bool,
}

impl Reading {
    /// The entries up to the stamp `horizon` by a subscription of a connection that has read all by its others.
    #[inline]
    pub(crate) fn of(only: Subscription, horizon: u64) -> Self {
        Reading {
            horizon,
            ahead: 0,
            only: Some(only),
            heads: BinaryHeap::new(),
            is_done: false,
        }
    }

    /// True if no entry is left that must or may be read.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        match self.only {
            Some(_) => self.is_done,
            None => !self
                .heads
                .peek()
                .is_some_and(|next| self.takes(next.0.stamp)),
        }
    }

    /// True if an entry with this stamp must or may be read.
    fn takes(&self, stamp: u64) -> bool {
        stamp <= self.horizon || self.ahead > 0
    }
}

impl<T, S: BuildHasher> Topics<T, S> {
    /// The entries up to the stamp `horizon` by these subscriptions, all of one connection, and at most so many later ones, `ahead`.
    pub(crate) fn begin_reading(
        &mut self,
        subscriptions: &[Subscription],
        horizon: u64,
        ahead: usize,
    ) -> Reading {
        let mut heads = std::mem::take(&mut self.heads);
        heads.extend(self.with_entries(subscriptions).map(Reverse));
        Reading {
            horizon,
            ahead,
            only: None,
            heads: heads.into(),
            is_done: false,
        }
    }

    /// The oldest unread entry. It counts as read from now on.
    #[inline]
    pub(crate) fn read_next(&mut self, reading: &mut Reading) -> Option<&T> {
        match reading.only {
            Some(only) => {
                let read = self.read_by(only, reading.horizon);
                reading.is_done = !matches!(read, Some((_, true)));
                read.map(|(value, _)| value)
            }
            None => self.read_oldest(reading),
        }
    }

    fn read_oldest(&mut self, reading: &mut Reading) -> Option<&T> {
        let Reverse(Head {
            stamp,
            subscription,
        }) = reading.heads.pop()?;
        if !reading.takes(stamp) {
            return None;
        }
        if stamp > reading.horizon {
            reading.ahead -= 1;
        }
        if let Some(next) = self.unread(subscription, 1) {
            let head = Head {
                stamp: next.stamp,
                subscription,
            };
            reading.heads.push(Reverse(head));
        }
        let read = self.read_by(subscription, u64::MAX);
        read.map(|(value, _)| value)
    }

    /// Keeps the memory of a reading for the next one.
    #[inline]
    pub(crate) fn end_reading(&mut self, reading: Reading) {
        if reading.only.is_none() {
            self.heads = reading.heads.into_vec();
            self.heads.clear();
        }
    }

    /// The oldest entry that one of these subscriptions has not read, with its stamp.
    pub(crate) fn peek(&self, subscriptions: &[Subscription]) -> Option<(u64, &T)> {
        let Head {
            subscription,
            stamp,
        } = self.with_entries(subscriptions).min()?;
        let entry = self.unread(subscription, 0)?;
        Some((stamp, &entry.value))
    }

    /// Those of the subscriptions, all of one connection, that have an entry to read.
    fn with_entries(&self, subscriptions: &[Subscription]) -> impl Iterator<Item = Head> {
        let only = self.only_topic();
        let possible = subscriptions
            .iter()
            .filter(move |it| only.is_none_or(|topic| topic == it.topic));
        possible.filter_map(|subscription| {
            self.unread(*subscription, 0).map(|entry| Head {
                stamp: entry.stamp,
                subscription: *subscription,
            })
        })
    }

    /// The entry that comes behind the next `skipped` ones to be read by a subscription.
    fn unread(&self, subscription: Subscription, skipped: usize) -> Option<&Entry<T>> {
        let topic = self.topics.get(subscription.topic)?;
        let log = topic.log.as_ref()?;
        let subscriber = self.subscribers.get(subscription.place)?;
        let position = subscriber.next.saturating_sub(topic.first) as usize;
        log.get(position + skipped)
    }
}
