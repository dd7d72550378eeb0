//! The topics of a service on one worker, and their subscribers.

use std::collections::HashMap;
use std::fmt;

use slab::Slab;

use crate::connection::id::ConnId;

/// The topics of one service. A topic exists as long as it has subscribers.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: HashMap<Box<str>, u32>,
    topics: Slab<Topic>,
}

struct Topic {
    name: Box<str>,
    subscribers: Slab<ConnId>,
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

impl Topics {
    /// Adds a subscriber. The caller makes sure that it does not subscribe twice.
    pub(crate) fn join(&mut self, name: &str, id: ConnId) -> Subscription {
        let topic = match self.by_name.get(name) {
            Some(topic) => *topic,
            None => {
                let topic = index(self.topics.insert(Topic {
                    name: name.into(),
                    subscribers: Slab::new(),
                }));
                self.by_name.insert(name.into(), topic);
                topic
            }
        };
        Subscription {
            topic,
            place: index(self.topics[topic as usize].subscribers.insert(id)),
        }
    }

    /// Removes a subscriber, and the topic with the last one.
    pub(crate) fn leave(&mut self, subscription: Subscription) {
        let key = subscription.topic as usize;
        let Some(topic) = self.topics.get_mut(key) else {
            return;
        };
        topic.subscribers.try_remove(subscription.place as usize);
        if topic.subscribers.is_empty() {
            let topic = self.topics.remove(key);
            self.by_name.remove(&topic.name);
        }
    }

    /// The topic of this name, if it has subscribers.
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

    /// Appends the subscribers of a topic to `list`.
    pub(crate) fn list_subscribers(&self, name: &str, list: &mut Vec<ConnId>) {
        if let Some(topic) = self.find(name) {
            let subscribers = &self.topics[topic as usize].subscribers;
            list.extend(subscribers.iter().map(|(_, id)| *id));
        }
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

    fn subscribers(topics: &Topics, name: &str) -> Vec<u32> {
        let mut list = Vec::new();
        topics.list_subscribers(name, &mut list);
        list.iter().map(|id| id.slot).collect()
    }

    #[test]
    fn a_topic_lives_as_long_as_somebody_subscribes() {
        let mut topics = Topics::default();
        let first = topics.join("a", id(1));
        let second = topics.join("a", id(2));
        let other = topics.join("b", id(1));
        assert_eq!(subscribers(&topics, "a"), [1, 2]);
        assert_eq!(topics.name(other), Some("b"));
        topics.leave(first);
        assert_eq!(subscribers(&topics, "a"), [2]);
        topics.leave(second);
        assert_eq!(topics.find("a"), None);
        assert_eq!(subscribers(&topics, "b"), [1]);
        topics.leave(other);
        assert!(topics.topics.is_empty() && topics.by_name.is_empty());
    }
}
