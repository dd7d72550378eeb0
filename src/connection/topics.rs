//! The topics of a service on one worker: their subscribers, and the publications that some subscribers have not got.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use slab::Slab;

use crate::connection::id::ConnId;
use crate::connection::subscribers::{Subscriber, Subscribers};

/// Number of entries of a topic's log that a round delivers at most, so that a subscriber gets them in one write.
const ROUND: u64 = 64;
/// Number of subscribers that a topic may reach before the other topics have their turn.
const TURN: usize = 64;

/// The topics of one service. A topic exists as long as it has subscribers, or entries in its log.
///
/// A topic is a log with a reader for each subscriber. A publication is appended, and reaches the subscribers of that time: a
/// later subscriber begins to read behind it. The log is delivered in rounds, from subscriber to subscriber, as far as the loop's budget
/// allows; and a connection that is about to be called gets all that was published before first, so that it never misses
/// the order of events. All entries have a stamp, by which a subscriber of several topics reads them in order.
pub(crate) struct Topics<T> {
    by_name: HashMap<Box<str>, u32>,
    topics: Slab<Topic<T>>,
    /// Topics with entries in their log, in the order of their turns.
    active: VecDeque<u32>,
    /// Number of subscribers that the first of them has reached in its turn.
    reached: usize,
}

struct Topic<T> {
    name: Box<str>,
    subscribers: Subscribers,
    log: VecDeque<Entry<T>>,
    /// Number of the first entry in the log, counted since the topic exists.
    first: u64,
    /// The round that is under way: the place that comes next, and the entry before which it ends.
    round: Option<(usize, u64)>,
}

struct Entry<T> {
    stamp: u64,
    value: T,
}

/// A connection's place among the subscribers of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    topic: u32,
    place: u32,
}

impl Subscription {
    /// True if it is a subscription to this topic, which [`Topics::find`] has found.
    pub(crate) fn is_to(&self, topic: u32) -> bool {
        self.topic == topic
    }
}

/// The next step of delivering what was published.
pub(crate) enum Step<T> {
    /// A subscriber gets all entries up to this stamp.
    Visit(ConnId, u64),
    /// All subscribers have these.
    Done(Vec<T>),
}

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Topics {
            by_name: HashMap::new(),
            topics: Slab::new(),
            active: VecDeque::new(),
            reached: 0,
        }
    }
}

impl<T> Topic<T> {
    /// Number of the entry that comes next.
    fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }
}

impl<T> Topics<T> {
    /// Adds a subscriber. The caller makes sure that it does not subscribe twice.
    pub(crate) fn join(&mut self, name: &str, id: ConnId) -> Subscription {
        let topic = match self.by_name.get(name) {
            Some(topic) => *topic,
            None => {
                let topic = index(self.topics.insert(Topic {
                    name: name.into(),
                    subscribers: Subscribers::default(),
                    log: VecDeque::new(),
                    first: 0,
                    round: None,
                }));
                self.by_name.insert(name.into(), topic);
                topic
            }
        };
        let entry = &mut self.topics[topic as usize];
        let next = entry.end();
        Subscription {
            topic,
            place: index(entry.subscribers.insert(Subscriber { id, next })),
        }
    }

    /// Removes a subscriber, and the topic with the last one.
    pub(crate) fn leave(&mut self, subscription: Subscription) {
        let key = subscription.topic as usize;
        let Some(topic) = self.topics.get_mut(key) else {
            return;
        };
        topic.subscribers.remove(subscription.place as usize);
        if topic.subscribers.is_empty() && topic.log.is_empty() {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        let topic = self.topics.remove(key);
        self.by_name.remove(&topic.name);
    }

    /// The topic of this name, if it exists.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The name of the topic of a subscription.
    pub(crate) fn name(&self, subscription: Subscription) -> Option<&str> {
        self.topics
            .get(subscription.topic as usize)
            .map(|topic| &*topic.name)
    }

    /// Number of subscribers of a topic.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.find(name)
            .map_or(0, |topic| self.topics[topic as usize].subscribers.len())
    }

    /// Appends to the log of a topic, and returns the stamp of the entry. It is a later one than `stamp` if the last entry is:
    /// stamps never fall within a log, since readers would pass over an entry that is older than one before it. Without
    /// subscribers the value comes back.
    pub(crate) fn append(&mut self, name: &str, stamp: u64, value: T) -> Result<u64, T> {
        let Some(key) = self.find(name) else {
            return Err(value);
        };
        let topic = &mut self.topics[key as usize];
        if topic.subscribers.is_empty() {
            return Err(value);
        }
        let stamp = topic.log.back().map_or(stamp, |last| last.stamp.max(stamp));
        if topic.log.is_empty() {
            self.active.push_back(key);
        }
        topic.log.push_back(Entry { stamp, value });
        Ok(stamp)
    }

    /// True if entries wait to be delivered.
    pub(crate) fn has_entries(&self) -> bool {
        !self.active.is_empty()
    }

    /// True if an entry that is older than `stamp` is not delivered to all.
    pub(crate) fn has_entries_before(&self, stamp: u64) -> bool {
        let mut logs = self
            .active
            .iter()
            .map(|key| &self.topics[*key as usize].log);
        logs.any(|log| log.front().is_some_and(|entry| entry.stamp < stamp))
    }

    /// The oldest entry up to the stamp `horizon` that one of these subscriptions, all of one connection, has not read.
    /// It counts as read from now on.
    pub(crate) fn read(&mut self, subscriptions: &[Subscription], horizon: u64) -> Option<&T> {
        let only = (self.active.len() == 1).then(|| self.active[0]);
        let mut oldest: Option<(u64, Subscription, usize)> = None;
        for subscription in subscriptions {
            if only.is_some_and(|topic| topic != subscription.topic) {
                continue;
            }
            let topic = &self.topics[subscription.topic as usize];
            let Some(subscriber) = topic.subscribers.get(subscription.place as usize) else {
                continue;
            };
            let position = subscriber.next.saturating_sub(topic.first) as usize;
            let Some(entry) = topic.log.get(position) else {
                continue;
            };
            let is_older = oldest.is_none_or(|(stamp, ..)| entry.stamp < stamp);
            if entry.stamp <= horizon && is_older {
                oldest = Some((entry.stamp, *subscription, position));
            }
        }
        let (_, subscription, position) = oldest?;
        let topic = &mut self.topics[subscription.topic as usize];
        if let Some(subscriber) = topic.subscribers.get_mut(subscription.place as usize) {
            subscriber.next = topic.first + position as u64 + 1;
        }
        topic.log.get(position).map(|entry| &entry.value)
    }

    /// True if one of these subscriptions, all of one connection, has entries to read.
    pub(crate) fn is_behind(&self, subscriptions: &[Subscription]) -> bool {
        subscriptions.iter().any(|subscription| {
            let topic = &self.topics[subscription.topic as usize];
            let subscriber = topic.subscribers.get(subscription.place as usize);
            subscriber.is_some_and(|subscriber| subscriber.next < topic.end())
        })
    }

    /// The next step of delivering what was published; `None` if nothing is left.
    ///
    /// Each step of a topic's round is one subscriber. A connection that does not read in its step is passed over.
    pub(crate) fn step(&mut self) -> Option<Step<T>> {
        let key = *self.active.front()?;
        let topic = &mut self.topics[key as usize];
        let (place, until) = topic
            .round
            .unwrap_or((0, topic.end().min(topic.first + ROUND)));
        if let Some((place, subscriber)) = topic.subscribers.next_behind(place, until) {
            topic.round = Some((place + 1, until));
            let horizon = topic.log[(until - topic.first) as usize - 1].stamp;
            self.reached += 1;
            if self.reached >= TURN {
                self.end_turn();
            }
            return Some(Step::Visit(subscriber.id, horizon));
        }
        topic.round = None;
        let count = (until - topic.first) as usize;
        let done = topic.log.drain(..count).map(|entry| entry.value).collect();
        topic.first = until;
        topic.log.shrink_to(2 * topic.log.len());
        if topic.log.is_empty() {
            self.active.pop_front();
            self.reached = 0;
            if topic.subscribers.is_empty() {
                self.remove(key as usize);
            }
        } else {
            self.end_turn();
        }
        Some(Step::Done(done))
    }

    /// The first topic goes behind all others.
    fn end_turn(&mut self) {
        self.reached = 0;
        self.active.rotate_left(1);
    }

    /// Takes all entries out of the logs, delivered or not.
    pub(crate) fn clear_logs(&mut self) -> Vec<T> {
        let mut values = Vec::new();
        for key in self.active.drain(..) {
            let topic = &mut self.topics[key as usize];
            topic.first = topic.end();
            topic.round = None;
            values.extend(topic.log.drain(..).map(|entry| entry.value));
        }
        values
    }
}

fn index(key: usize) -> u32 {
    u32::try_from(key).expect("a process has fewer than 2^32 connections")
}

/// A limit that forbids a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The connection has as many subscriptions as [`Limits::subscriptions`](crate::Limits::subscriptions) allows.
    Count,
    /// The topic's name is longer than [`Limits::topic_name`](crate::Limits::topic_name) allows.
    NameLength,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubscribeError::Count => "the connection has as many subscriptions as allowed",
            SubscribeError::NameLength => "the topic's name is longer than allowed",
        })
    }
}

impl std::error::Error for SubscribeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId {
            worker: 0,
            service: 0,
            slot,
            serial: 0,
        }
    }

    /// Reads all that a connection has not read.
    fn read_all(topics: &mut Topics<u32>, subscriptions: &[Subscription]) -> Vec<u32> {
        std::iter::from_fn(|| topics.read(subscriptions, u64::MAX).copied()).collect()
    }

    #[test]
    fn a_topic_lives_as_long_as_somebody_subscribes() {
        let mut topics = Topics::<u32>::default();
        let first = topics.join("a", id(1));
        let second = topics.join("a", id(2));
        let other = topics.join("b", id(1));
        assert_eq!(topics.count("a"), 2);
        assert_eq!(topics.name(other), Some("b"));
        topics.leave(first);
        assert_eq!(topics.count("a"), 1);
        topics.leave(second);
        assert_eq!(topics.find("a"), None);
        assert_eq!(topics.count("b"), 1);
        topics.leave(other);
        assert!(topics.topics.is_empty() && topics.by_name.is_empty());
    }

    #[test]
    fn a_subscriber_reads_what_was_published_while_it_subscribes() {
        let mut topics = Topics::default();
        assert_eq!(topics.append("a", 1, 10), Err(10), "nobody subscribes");
        let first = topics.join("a", id(1));
        assert_eq!(topics.append("a", 2, 20), Ok(2));
        let second = topics.join("a", id(2));
        assert_eq!(topics.append("a", 3, 30), Ok(3));
        assert_eq!(read_all(&mut topics, &[first]), [20, 30]);
        assert_eq!(read_all(&mut topics, &[second]), [30]);
        assert_eq!(read_all(&mut topics, &[second]), []);
    }

    #[test]
    fn several_topics_are_read_in_order_and_up_to_the_horizon() {
        let mut topics = Topics::default();
        let both = [topics.join("a", id(1)), topics.join("b", id(1))];
        for (name, stamp) in [("b", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)] {
            topics.append(name, stamp, stamp as u32).unwrap();
        }
        let horizon = 3;
        let early: Vec<_> = std::iter::from_fn(|| topics.read(&both, horizon).copied()).collect();
        assert_eq!(early, [1, 2, 3]);
        assert_eq!(read_all(&mut topics, &both), [4, 5]);
    }

    #[test]
    fn rounds_visit_all_who_are_behind_and_topics_take_turns() {
        let mut topics = Topics::default();
        let mut places = HashMap::new();
        for slot in 0..200 {
            let name = if slot < 150 { "large" } else { "small" };
            places.insert(slot, topics.join(name, id(slot)));
        }
        topics.append("large", 1, 1).unwrap();
        topics.append("large", 2, 2).unwrap();
        topics.append("small", 3, 3).unwrap();
        let mut visited = Vec::new();
        let mut done = Vec::new();
        while let Some(step) = topics.step() {
            match step {
                Step::Visit(id, horizon) => {
                    visited.push(id.slot);
                    let subscription = places[&id.slot];
                    let got: Vec<_> =
                        std::iter::from_fn(|| topics.read(&[subscription], horizon).copied())
                            .collect();
                    assert_eq!(got, if id.slot < 150 { vec![1, 2] } else { vec![3] });
                }
                Step::Done(values) => done.extend(values),
            }
        }
        assert_eq!(
            done,
            [3, 1, 2],
            "the small topic does not wait for the large one"
        );
        assert!(visited[64] >= 150, "it had its turn after 64 subscribers");
        visited.sort_unstable();
        assert_eq!(visited, (0..200).collect::<Vec<_>>());
        assert!(!topics.has_entries());
    }

    #[test]
    fn the_log_of_a_topic_without_subscribers_is_done() {
        let mut topics = Topics::default();
        let only = topics.join("a", id(1));
        topics.append("a", 7, 70).unwrap();
        assert!(topics.has_entries_before(8) && !topics.has_entries_before(7));
        topics.leave(only);
        assert!(matches!(topics.step(), Some(Step::Done(done)) if done == [70]));
        assert!(topics.step().is_none() && topics.find("a").is_none());
    }

    #[test]
    fn a_subscriber_that_does_not_read_is_passed_over() {
        let mut topics = Topics::default();
        topics.join("a", id(1));
        topics.append("a", 1, 1).unwrap();
        assert!(matches!(topics.step(), Some(Step::Visit(..))));
        assert!(matches!(topics.step(), Some(Step::Done(done)) if done == [1]));
        assert!(topics.step().is_none());
    }

    #[test]
    fn a_round_is_bounded() {
        let mut topics = Topics::default();
        let only = topics.join("a", id(1));
        for stamp in 0..100 {
            topics.append("a", stamp, stamp as u32).unwrap();
        }
        let Some(Step::Visit(_, horizon)) = topics.step() else {
            panic!("a subscriber is behind");
        };
        assert_eq!(horizon, ROUND - 1);
        while topics.read(&[only], horizon).is_some() {}
        assert!(matches!(topics.step(), Some(Step::Done(done)) if done.len() == 64));
        assert_eq!(topics.clear_logs().len(), 36);
    }
}
