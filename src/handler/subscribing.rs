//! Topics as a connection sees them: it subscribes to them and publishes to them.

use super::conn::Conn;
use super::publication::Publication;
use crate::connection::id::ConnId;
use crate::connection::send_error::SendError;
use crate::connection::topics::SubscribeError;
use crate::protocol::{OwnedOf, Protocol};

impl<P: Protocol> Conn<'_, P> {
    /// Subscribes to a topic: messages that are [published](Self::publish) to it are sent to this connection too. True if the
    /// subscription is new.
    ///
    /// A topic exists while it has subscribers. It is shared by all connections with the same handler type, on all workers.
    /// Subscriptions end with the connection.
    ///
    /// # Errors
    /// [`SubscribeError`], by [`Limits::subscriptions`](crate::Limits::subscriptions) and
    /// [`Limits::topic_name`](crate::Limits::topic_name).
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

    /// Publishes a message to all subscribers of a topic, including this connection if it is one: as
    /// [`Connections::publish`](crate::Connections::publish). It is sent after the callbacks of this iteration, behind everything
    /// that they send themselves.
    ///
    /// # Errors
    /// As [`Connections::publish`](crate::Connections::publish).
    pub fn publish(&self, topic: &str, item: impl Into<OwnedOf<P>>) -> Result<(), SendError<()>> {
        let publication = Publication::new(topic, item.into(), None);
        self.link.outbox.publish(publication)
    }

    /// Publishes a message to all subscribers of a topic but this connection: as [`publish`](Self::publish), where the
    /// publisher has its own copy already.
    ///
    /// ```
    /// use ringwheel::{Conn, protocol::Lines};
    ///
    /// /// Shows a chat message to the others in the room.
    /// fn on_chat(conn: &mut Conn<'_, Lines>, room: &str, text: &str) {
    ///     if conn.publish_to_others(room, text.to_owned()).is_err() {
    ///         conn.send("the server is busy, your message was not sent");
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_to_others(
        &self,
        topic: &str,
        item: impl Into<OwnedOf<P>>,
    ) -> Result<(), SendError<()>> {
        let publication = Publication::new(topic, item.into(), None);
        self.link.outbox.publish(publication.except(self.id()))
    }

    /// Number of connections of this listener that subscribe to a topic on this worker.
    /// [`Connections::count_subscribers`](crate::Connections::count_subscribers) counts on all. Connections that are closing
    /// count until they have ended.
    pub fn local_subscribers(&self, topic: &str) -> usize {
        self.link.topics.borrow().count(topic)
    }

    /// Sends one message to another connection with the same handler type, by its name; cheaper than a
    /// [`handle`](Self::handle) where the name is at hand. It is sent after this callback, and in the order of the worker's
    /// mail.
    ///
    /// # Errors
    /// [`SendError`], with the item, if no listener with this handler type can have such a connection, or the mailbox of its
    /// worker is full. An `Ok` means that the worker has it; if the connection has ended, nothing happens.
    pub fn send_to(
        &self,
        id: ConnId,
        item: impl Into<OwnedOf<P>>,
    ) -> Result<(), SendError<OwnedOf<P>>> {
        self.link.outbox.send_to(id, item.into())
    }
}
