//! Topics as a connection sees them: it subscribes to them and publishes to them.

use std::any::Any;
use std::sync::Arc;

use super::conn::Conn;
use super::letter::{Letter, Request};
use super::mailbox::OwnMail;
use super::publication::Publication;
use crate::connection::Connection;
use crate::connection::id::ConnId;
use crate::connection::lag::Lag;
use crate::connection::send_error::SendError;
use crate::connection::send_status::{Refusal, SendStatus};
use crate::connection::subscribe_error::SubscribeError;
use crate::connection::topics::Subscription;
use crate::connection::topics::reading::Reading;
use crate::protocol::{OwnedOf, Protocol};
use crate::shared::current;

/// Most publications with later stamps that a visit may send beside those of its round.
const AHEAD: usize = 64;

/// The publications that a connection is to get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// The stamp of the last of them.
    horizon: u64,
    /// Number of later ones that may be sent with them.
    ahead: usize,
    /// Publications wait if there is no room for them below the high-water mark.
    may_wait: bool,
    /// The only subscription by which the connection has something to read, if that is known.
    only: Option<Subscription>,
}

impl Delivery {
    /// All up to this stamp.
    #[inline]
    pub(crate) fn up_to(horizon: u64) -> Self {
        Delivery {
            horizon,
            ahead: 0,
            may_wait: false,
            only: None,
        }
    }

    /// Also sends some later publications, so that the publications to many topics leave in one write.
    #[inline]
    pub(crate) fn and_ahead(self) -> Self {
        Delivery {
            ahead: AHEAD,
            ..self
        }
    }

    /// The subscriptions that are searched for publications; none if the only one with publications is known.
    pub(crate) fn subscriptions(self, connection: &Connection) -> &[Subscription] {
        match (self.only, &connection.extra) {
            (None, Some(extra)) => &extra.subscriptions,
            _ => &[],
        }
    }

    /// Lets publications wait if there is no room for them below the high-water mark.
    #[inline]
    fn if_there_is_room(self) -> Self {
        Delivery {
            may_wait: true,
            ..self
        }
    }

    /// Looks at one subscription only, if there is one: the connection has nothing to read by others.
    #[inline]
    pub(crate) fn of(self, only: Option<Subscription>) -> Self {
        Delivery { only, ..self }
    }
}

impl<P: Protocol> Conn<'_, P> {
    /// Subscribes to a topic: messages that are [published](Self::publish) to it are sent to this connection too. True if the
    /// subscription is new.
    ///
    /// The connection gets all messages that are published from now on, and on one worker no earlier ones. A message that another
    /// worker or thread has published just before may still be on its way to this worker, and arrives: who sends a history first and
    /// then subscribes gives messages numbers, and leaves out what the history has. A closure that was posted to this connection
    /// before a message, and subscribes after it, gets the message, even if a subscription that has ended meanwhile got it, too.
    ///
    /// A topic exists while it has subscribers. It is shared by all connections with the same handler type, on all workers.
    /// Subscriptions end with the connection.
    ///
    /// A subscription counts 288 bytes and the length of the name, rounded up to a multiple of 64, towards
    /// [`ServerBuilder::worker_memory`](crate::ServerBuilder::worker_memory): the most that it takes in a topic of its own.
    ///
    /// # Errors
    /// [`SubscribeError`], by [`Limits::subscriptions`](crate::Limits::subscriptions) and
    /// [`Limits::topic_name`](crate::Limits::topic_name).
    pub fn subscribe(&mut self, topic: &str) -> Result<bool, SubscribeError> {
        self.pack_own_mail();
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
        let mut topics = self.link.topics.borrow_mut();
        subscriptions.push(topics.join_behind(topic, id, self.horizon, self.link.begun.get()));
        drop(topics);
        self.connection.charge_subscription(self.state, topic.len());
        Ok(true)
    }

    /// Ends a subscription; false if there is none. The connection still gets what was published before.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.pack_own_mail();
        let Some(index) = self.subscription_to(topic) else {
            return false;
        };
        let subscriptions = &mut self.connection.extra_or_new().subscriptions;
        let subscription = subscriptions.swap_remove(index);
        if subscriptions.len() < subscriptions.capacity() / 4 {
            subscriptions.shrink_to(2 * subscriptions.len());
        }
        self.link.topics.borrow_mut().leave(subscription);
        self.connection
            .uncharge_subscription(self.state, topic.len());
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

    /// Publishes a message to all subscribers of a topic, including this connection if it is one.
    ///
    /// On this worker it takes effect in the order of events: each present subscriber gets it, before all that is sent to that
    /// subscriber later, and a later subscriber does not get it. To other workers it goes as
    /// [`Connections::publish`](crate::Connections::publish) does. It waits for a subscriber whose output is above
    /// [`Limits::high_water`](crate::Limits::high_water), for no longer than [`Limits::patience`](crate::Limits::patience) says; the
    /// others have it meanwhile. A subscriber whose output is full after that does not get it;
    /// [`Limits::overflow`](crate::Limits::overflow) says what else follows.
    ///
    /// Each subscriber packs it when it is delivered. One whose protocol cannot express it
    /// ([`PackError`](crate::protocol::PackError), such as a line that is too long) does not get it: this is still an `Ok`, and the log gets a
    /// warning, at most one per second of each worker. Check before what a client may have made too long.
    ///
    /// A connection that publishes faster than the workers deliver, or than the slowest subscriber reads, is slowed down: while
    /// more of its publications are on their way than [`Limits::publications`](crate::Limits::publications) allows, its messages are
    /// not delivered, and its timers wait.
    ///
    /// # Errors
    /// [`SendError::Full`] if the mailboxes of some worker are full, [`SendError::Closed`] if one has ended: the subscribers on
    /// that worker do not get the message, the others do. To be slowed down does not rule out that the mailboxes are full:
    /// [`ServerBuilder::mailbox_bytes`](crate::ServerBuilder::mailbox_bytes) says how many publishers of which size they hold.
    pub fn publish(&self, topic: &str, item: impl Into<OwnedOf<P>>) -> Result<(), SendError<()>> {
        self.put_publication(Publication::new(topic, item.into(), None))
    }

    /// Publishes a message to all subscribers of a topic but this connection: as [`publish`](Self::publish), where the
    /// publisher has its own copy already. A message that the protocol cannot express reaches nobody here, too.
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
        self.put_publication(publication.except(self.id()))
    }

    fn put_publication(&self, publication: Publication<P>) -> Result<(), SendError<()>> {
        let limits = self.link.limits.publications;
        // A connection that has not posted before gets its control after the turn.
        let extra = self.connection.extra.as_ref();
        let extra = extra.filter(|_| !current::runs_posted_code());
        let publication = match extra.and_then(|extra| extra.control.as_ref()) {
            Some(control) => publication.from(control.clone(), limits),
            None => publication.by_callback(),
        };
        let publication = publication.beyond(limits);
        if publication.held().is_some() {
            current::end_turn();
        }
        self.link.outbox.publish(publication)
    }

    /// Sends the publications to the connection's topics that it has not got.
    #[cold]
    pub(crate) fn read_topics(&mut self, delivery: Delivery) {
        let link = self.link;
        let mut reading = match delivery.only {
            Some(only) => Reading::of(only, delivery.horizon),
            None => {
                let subscriptions = delivery.subscriptions(self.connection);
                let mut topics = link.topics.borrow_mut();
                topics.begin_reading(subscriptions, delivery.horizon, delivery.ahead)
            }
        };
        while !reading.is_done() {
            if delivery.may_wait && self.connection.must_lag(&link.limits) && self.lag() {
                break;
            }
            let mut topics = link.topics.borrow_mut();
            let Some(published) = topics.read_next(&mut reading) else {
                break;
            };
            let publication = published.publication.clone();
            drop(topics);
            self.send_publication(&publication);
            if !delivery.may_wait && publication.has_publisher() {
                self.hold_sender(publication);
            }
        }
        link.topics.borrow_mut().end_reading(reading);
    }

    fn send_publication(&mut self, publication: &Publication<P>) {
        if publication.except == Some(self.connection.id) {
            return;
        }
        match self.send_owned_now(&publication.item) {
            SendStatus::Queued | SendStatus::AboveHighWater => publication.count(1, 0),
            SendStatus::Refused(Refusal::Closing) => {}
            SendStatus::Refused(_) => publication.count(0, 1),
        }
    }

    /// Holds the sender of mail back that has come without room for it: what must keep its order with something else does not
    /// wait, and what does not wait does not slow its sender down.
    pub(crate) fn hold_sender(&mut self, mail: Arc<dyn Any + Send + Sync>) {
        let limits = &self.link.limits;
        if !self.connection.must_lag(limits) {
            return;
        }
        self.connection.begin_lag(self.state, limits);
        if matches!(self.connection.lag(), Lag::Waiting(_)) {
            self.connection.hold_sender(mail);
        }
    }

    /// Lets the publications wait that the connection has not got, if there are any. False if they are to be
    /// sent at once.
    fn lag(&mut self) -> bool {
        if self.link.oldest_news(self.connection).is_none() {
            return true;
        }
        let is_new = matches!(self.connection.lag(), Lag::None);
        let waits = self.connection.begin_lag(self.state, &self.link.limits);
        if let Some(extra) = self.connection.extra.as_ref().filter(|_| waits) {
            self.link.topics.borrow_mut().lag(&extra.subscriptions);
            if is_new {
                self.link.laggards.borrow_mut().push(self.connection.id);
            }
        }
        waits
    }

    /// Sends the publications that the connection has not got before code runs with it. Those without room below the high-water
    /// mark wait, until the code sends something.
    #[cold]
    pub(crate) fn meet_news(&mut self, delivery: Delivery) {
        self.read_topics(delivery.if_there_is_room());
        // Reading the lag takes two cache misses in each delivery, so it is read only while some subscriber lags.
        if self.link.topics.borrow().lagging() > 0
            && matches!(self.connection.lag(), Lag::Waiting(_))
        {
            current::note_unseen();
        }
    }

    /// Sends the publications that wait, so that the next message comes behind them.
    #[inline]
    pub(crate) fn keep_order(&mut self) {
        if self.link.has_news.get() {
            self.read_topics(Delivery::up_to(self.horizon));
        }
    }

    /// Packs the messages that this callback has sent to its own connection by other ways than through the connection, so
    /// that what it sends next comes behind them.
    #[inline]
    pub(crate) fn pack_own_mail(&mut self) {
        if current::has_unseen() {
            self.pack_unseen_mail();
        }
    }

    #[cold]
    fn pack_unseen_mail(&mut self) {
        current::note_seen();
        self.keep_order();
        let id = self.id();
        while let Some(mail) = self.link.outbox.take_own(id) {
            match mail {
                OwnMail::Send(letter, charge) => {
                    self.state.shared.release_places(charge);
                    self.carry_out_send(letter);
                }
                OwnMail::Named(item) => _ = self.send_owned_now(&item),
                OwnMail::Topic {
                    published,
                    stamp,
                    is_early,
                } => {
                    let stamp = match is_early {
                        true => self.link.append_early(stamp, published),
                        false => self.link.append(stamp, published),
                    };
                    self.read_topics(Delivery::up_to(stamp));
                }
            }
        }
    }

    fn carry_out_send(&mut self, letter: Letter<P>) {
        if let Some(control) = letter.control {
            control.uncount_letter();
        }
        if let Request::Send(item, done) = letter.request {
            self.send_owned_with(&item, done);
        }
    }

    /// Number of connections of this listener that subscribe to a topic on this worker.
    /// [`Connections::count_subscribers`](crate::Connections::count_subscribers) counts on all. Connections that are closing
    /// count until they have ended.
    pub fn local_subscribers(&self, topic: &str) -> usize {
        self.link.topics.borrow().count(topic)
    }

    /// Sends one message to another connection with the same handler type, by its name; cheaper than a
    /// [`handle`](Self::handle) where the name is at hand. To a connection of this worker it is sent before everything that is
    /// sent to it later; to another worker, in the order of its mail.
    ///
    /// # Errors
    /// [`SendError`], with the item, if no listener with this handler type can have such a connection, or the mailboxes of its
    /// worker are full. An `Ok` means that the worker has it; if the connection has ended, nothing happens, and if its protocol
    /// cannot express the item, the log gets a warning.
    pub fn send_to(
        &self,
        id: ConnId,
        item: impl Into<OwnedOf<P>>,
    ) -> Result<(), SendError<OwnedOf<P>>> {
        self.link.outbox.send_to(id, item.into())
    }
}
