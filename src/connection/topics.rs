//! Publish and subscribe: which connections of a service have subscribed to what, and what is published to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use slab::Slab;

use crate::connection::id::ConnId;
use crate::handler::remote::SendError;
use crate::panics::contain_call;
use crate::protocol::{OwnedOf, Protocol};

/// The topics of one service: each exists as long as somebody subscribes to it.
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
    /// Whether it is to the topic that [`Topics::find`] has found.
    pub(crate) fn is_to(&self, topic: u32) -> bool {
        self.topic == topic
    }
}

impl Topics {
    /// Adds a connection, which is not to subscribe to the same topic twice.
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

    /// Removes a connection.
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

    /// The topic of this name, if anybody subscribes to it.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The name of the topic that a subscription is to.
    pub(crate) fn name(&self, subscription: Subscription) -> Option<&str> {
        self.topics
            .get(subscription.topic as usize)
            .map(|topic| &*topic.name)
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

/// What became of a published message, on all loops together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Subscribers whose connection has taken it.
    pub delivered: u64,
    /// Subscribers that did not get it: their output was full, whatever [`Limits::overflow`](crate::Limits::overflow) then
    /// does, or the protocol could not express it.
    pub dropped: u64,
    /// Workers that could not be told: their mailbox was full, or they have ended.
    pub unreached_workers: u64,
}

/// A published message on its way to all loops. When the last of them is done with it, its completion is called.
pub(crate) struct Publication<P: Protocol> {
    pub(crate) topic: Box<str>,
    pub(crate) item: OwnedOf<P>,
    delivered: AtomicU64,
    dropped: AtomicU64,
    unreached_workers: AtomicU64,
    done: Mutex<Option<Box<PublishedCallback>>>,
}

pub(crate) type PublishedCallback = dyn FnOnce(Published) + Send;

impl<P: Protocol> Publication<P> {
    pub(crate) fn new(topic: &str, item: OwnedOf<P>, done: Option<Box<PublishedCallback>>) -> Self {
        Publication {
            topic: topic.into(),
            item,
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unreached_workers: AtomicU64::new(0),
            done: Mutex::new(done),
        }
    }

    /// Counts a worker that could not be told.
    pub(crate) fn miss(&self) {
        self.unreached_workers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what became of it on one loop.
    pub(crate) fn count(&self, delivered: u64, dropped: u64) {
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

impl<P: Protocol> Drop for Publication<P> {
    fn drop(&mut self) {
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = done.take() {
            let published = Published {
                delivered: *self.delivered.get_mut(),
                dropped: *self.dropped.get_mut(),
                unreached_workers: *self.unreached_workers.get_mut(),
            };
            // It may be dropped because something else panics; a second panic would end the process.
            contain_call(move || done(published));
        }
    }
}

/// Reaches the subscribers of all connections that have the same handler, on all workers.
pub(crate) trait Publish<P: Protocol> {
    fn publish(&self, publication: Publication<P>) -> Result<(), SendError<()>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId {
            worker: 0,
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
