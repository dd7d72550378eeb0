//! Topics as a connection sees them: it subscribes to them and publishes to them.

use super::conn::Conn;
use super::publication::Publication;
use crate::connection::send_error::SendError;
use crate::connection::topics::SubscribeError;
use crate::protocol::{OwnedOf, Protocol};

impl<P: Protocol> Conn<'_, P> {
    /// Subscribes to a topic: what is [published](Self::publish) to it from now on is sent to this connection too. A topic
    /// is there when somebody subscribes, and is one for all connections with the same handler type, on all workers.
    /// Subscriptions end with the connection. True if it is new.
    ///
    /// # Errors
    /// [`SubscribeError`], by [`Limits::subscriptions`] and [`Limits::topic_name`].
    pub fn subscribe(&mut self, topic: &str) -> Result<bool, SubscribeError> {
        if topic.len() > self.link.limits.topic_name {
            return Err(SubscribeError::NameLength);
        }
        if self.subscription_to(topic).is_some() {
            return Ok(false);
        }
        let id = self.connection.id;
        let subscriptions = &mut self.connection.extra_or_new().subscriptions;
        if subscriptions.len() >= self.link.limits.subscriptions {
            return Err(SubscribeError::Count);
        }
        subscriptions.push(self.link.topics.borrow_mut().join(topic, id));
        Ok(true)
    }

    /// Ends a subscription; false if there is none.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        let Some(index) = self.subscription_to(topic) else {
            return false;
        };
        let subscription = self
            .connection
            .extra_or_new()
            .subscriptions
            .swap_remove(index);
        self.link.topics.borrow_mut().leave(subscription);
        true
    }

    /// The index of the connection's subscription to this topic.
    fn subscription_to(&self, topic: &str) -> Option<usize> {
        let extra = self.connection.extra.as_ref()?;
        let topic = self.link.topics.borrow().find(topic)?;
        extra
            .subscriptions
            .iter()
            .position(|subscription| subscription.is_to(topic))
    }

    /// The topics that the connection subscribes to, in no particular order.
    pub fn subscriptions(&self) -> Vec<String> {
        let topics = self.link.topics.borrow();
        let extra = self.connection.extra.as_ref();
        extra
            .map_or(&[][..], |extra| &extra.subscriptions)
            .iter()
            .filter_map(|subscription| topics.name(*subscription).map(String::from))
            .collect()
    }

    /// Publishes a message to all subscribers of a topic, this connection among them if it is one: as
    /// [`Connections::publish`](crate::Connections::publish). It is sent after the callbacks of this iteration, so behind what they
    /// send themselves.
    ///
    /// # Errors
    /// As [`Connections::publish`](crate::Connections::publish).
    pub fn publish(&self, topic: &str, item: impl Into<OwnedOf<P>>) -> Result<(), SendError<()>> {
        let publication = Publication::new(topic, item.into(), None);
        self.link.outbox.publish(publication)
    }
}
