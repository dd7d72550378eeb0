//! A connection as callbacks see it.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::connection::close_reason::Cause;
use crate::connection::completion::{Completion, SendOutcome};
use crate::connection::id::ConnId;
use crate::connection::limits::{Limits, Overflow};
use crate::connection::loop_state::{Due, LoopState};
use crate::connection::send_status::{Refusal, SendStatus};
use crate::connection::topics::{Publication, Publish, SubscribeError, Topics};
use crate::connection::{Connection, Draining, Gate, OwnEnd, Phase};
use crate::handler::mailbox::Post;
use crate::handler::remote::{ConnHandle, SendError};
use crate::io::output::{Output, Packed};
use crate::protocol::{
    Encode, EncodeParts, Farewell, ItemOf, OwnedOf, PackError, Parting, Protocol,
};
use crate::wheel::TimerKey;

/// A connection, for the length of a callback.
///
/// What is sent is collected and leaves in one write after the callbacks of this turn; only what is large, or much, leaves
/// before. Closing is an intent: it happens after the callback has returned.
pub struct Conn<'a, P: Protocol> {
    pub(crate) encoder: &'a mut P::Encoder,
    pub(crate) connection: &'a mut Connection,
    pub(crate) state: &'a mut LoopState,
    pub(crate) link: &'a Link<P>,
    /// Input that is not part of a delivered message yet, in bytes.
    pub(crate) unread: usize,
}

/// What the connections of one service share.
pub(crate) struct Link<P: Protocol> {
    pub(crate) limits: Limits,
    /// With this much pending the socket is tried before more is packed, so that a peer which reads does not run into
    /// a limit only because the turn is long.
    flush_at: usize,
    pub(crate) post: Arc<dyn Post<P>>,
    /// The topics of this service.
    pub(crate) topics: RefCell<Topics>,
    /// Where is published: on all loops.
    group: Box<dyn Publish<P>>,
}

impl<P: Protocol> Link<P> {
    /// As much as one write usually takes.
    const FLUSH_AT: usize = 64 * 1024;

    pub(crate) fn new(limits: Limits, post: Arc<dyn Post<P>>, group: Box<dyn Publish<P>>) -> Self {
        let flush_at = Self::FLUSH_AT.min(limits.high_water).max(1);
        Link {
            limits,
            flush_at,
            post,
            topics: RefCell::default(),
            group,
        }
    }

    /// Ends the subscriptions of a connection.
    pub(crate) fn leave_all(&self, connection: &mut Connection) {
        if let Some(extra) = &mut connection.extra {
            let mut topics = self.topics.borrow_mut();
            for subscription in extra.subscriptions.drain(..) {
                topics.leave(subscription);
            }
        }
    }
}

/// Counters of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnStats {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to the kernel.
    pub bytes_out: u64,
    /// Messages delivered to the handler; of one that comes in pieces the last counts.
    pub messages_in: u64,
    /// Messages taken by `send`.
    pub messages_out: u64,
    /// Messages dropped by [`Overflow::DropMessage`].
    pub dropped: u64,
}

/// Names a timer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(pub(crate) TimerKey);

/// The connection has as many timers as [`Limits::timers`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTimersError;

impl fmt::Display for TooManyTimersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has as many timers as its limit allows")
    }
}

impl std::error::Error for TooManyTimersError {}

impl<P: Protocol> Conn<'_, P> {
    /// Sends one message. It is packed at once and leaves with all else that this turn sends.
    #[inline]
    pub fn send(&mut self, item: ItemOf<'_, P>) -> SendStatus {
        self.encode_with(|encoder, output| encoder.pack(item, output))
    }

    /// Sends one message that others may share: as [`send`](Self::send), but a protocol can keep a costly encoding with it.
    pub fn send_owned(&mut self, item: &OwnedOf<P>) -> SendStatus {
        self.encode_with(|encoder, output| encoder.pack_owned(item, output))
    }

    /// Sends one message, and calls `done` (on this worker's thread) when all of it was handed to the kernel or when it
    /// is certain that it will not be.
    pub fn send_then(
        &mut self,
        item: ItemOf<'_, P>,
        done: impl FnOnce(SendOutcome) + Send + 'static,
    ) -> SendStatus {
        // Before the protocol packs, which may panic: then it is certain, too.
        let done = Completion::new(done);
        let status = self.send(item);
        self.complete_with(status, Some(done));
        status
    }

    /// As [`send_owned`](Self::send_owned), with a completion.
    pub(crate) fn send_owned_with(&mut self, item: &OwnedOf<P>, done: Option<Completion>) {
        let status = self.send_owned(item);
        self.complete_with(status, done);
    }

    /// Sees that the completion of a message which has this status is called.
    fn complete_with(&mut self, status: SendStatus, done: Option<Completion>) {
        match (status, done) {
            (_, None) => {}
            (SendStatus::Refused(refusal), Some(done)) => {
                done.complete(SendOutcome::Refused(refusal))
            }
            (_, Some(done)) => {
                let output = &self.connection.output;
                let position = output.written() + output.len() as u64;
                self.connection
                    .extra()
                    .completions
                    .push_back((position, done));
                self.connection.completing = true;
            }
        }
    }

    /// Sends one message whose payload is given in parts, without joining them first.
    pub fn send_vectored(&mut self, parts: &[&[u8]]) -> SendStatus
    where
        P::Encoder: EncodeParts,
    {
        self.encode_with(|encoder, output| encoder.pack_parts(parts, output))
    }

    /// The writing half of the connection's protocol, which also has what both halves share.
    ///
    /// With this and the next two methods a protocol gets methods of its own on `Conn`, by a trait if it is in another crate;
    /// `examples/checked_frames` has a whole one.
    ///
    /// ```
    /// use ringwheel::Conn;
    /// use ringwheel::protocol::FixedLength;
    ///
    /// trait RecordConn {
    ///     /// Bytes in each record of this connection.
    ///     fn record_length(&self) -> usize;
    /// }
    ///
    /// impl RecordConn for Conn<'_, FixedLength> {
    ///     fn record_length(&self) -> usize {
    ///         self.encoder().length()
    ///     }
    /// }
    /// ```
    pub fn encoder(&self) -> &P::Encoder {
        self.encoder
    }

    /// The writing half of the connection's protocol, to be changed. Bytes are written with
    /// [`encode_with`](Self::encode_with).
    pub fn encoder_mut(&mut self) -> &mut P::Encoder {
        self.encoder
    }

    /// Sends what `encode` writes as one message, as [`send`](Self::send) sends an item: the limits and the
    /// [`Overflow`] policy apply, it counts in [`ConnStats::messages_out`], and nothing is written if the connection is
    /// closing. For what a protocol sends besides its items, such as a ping.
    ///
    /// What `encode` has written before an error is taken back.
    ///
    /// ```
    /// use ringwheel::protocol::Lines;
    /// use ringwheel::{Conn, SendStatus};
    ///
    /// trait LinesConn {
    ///     /// An empty line, by which the client knows that we are here.
    ///     fn send_sign_of_life(&mut self) -> SendStatus;
    /// }
    ///
    /// impl LinesConn for Conn<'_, Lines> {
    ///     fn send_sign_of_life(&mut self) -> SendStatus {
    ///         self.encode_with(|_encoder, output| {
    ///             output.put_slice(b"\r\n");
    ///             Ok(())
    ///         })
    ///     }
    /// }
    /// ```
    // Inlined into each kind of send: a call of its own is a fifth of the instructions of a small message.
    #[inline(always)]
    pub fn encode_with(
        &mut self,
        encode: impl FnOnce(&mut P::Encoder, &mut Output) -> Result<(), PackError>,
    ) -> SendStatus {
        let connection = &mut *self.connection;
        if connection.phase != Phase::Open || connection.own_end != OwnEnd::Open {
            return SendStatus::Refused(Refusal::Closing);
        }
        connection.output.begin();
        if let Err(reason) = encode(self.encoder, &mut connection.output) {
            return self.refuse(reason);
        }
        if connection.output.len() >= self.link.flush_at {
            return self.press();
        }
        match connection.output.finish() {
            Packed::Whole => {}
            overflow => return self.overflow(overflow),
        }
        connection.messages_out += 1;
        SendStatus::Queued
    }

    /// Ends a message with which much is pending: above the limit, or above the high-water mark unless the socket takes
    /// some.
    #[cold]
    fn press(&mut self) -> SendStatus {
        if self.connection.output.exceeds_limit() {
            self.connection.output.refuse();
        }
        match self.connection.output.finish() {
            Packed::Whole => {}
            overflow => return self.overflow(overflow),
        }
        self.connection.messages_out += 1;
        self.connection.output.flush();
        if self.connection.output.len() > self.link.limits.high_water {
            self.connection.shut(Gate::PRESSURE);
            return SendStatus::AboveHighWater;
        }
        SendStatus::Queued
    }

    #[cold]
    fn refuse(&mut self, reason: PackError) -> SendStatus {
        if self.connection.output.take_back() == Packed::Torn {
            self.connection.abort(Cause::OutputLimit);
        }
        SendStatus::Refused(Refusal::Pack(reason))
    }

    #[cold]
    fn overflow(&mut self, packed: Packed) -> SendStatus {
        if self.connection.output.has_failed() {
            return SendStatus::Refused(Refusal::Closing);
        }
        match self.link.limits.overflow {
            Overflow::DropMessage if packed == Packed::Overflowed => {
                self.connection.extra().dropped += 1;
                SendStatus::Refused(Refusal::Dropped)
            }
            Overflow::Refuse if packed == Packed::Overflowed => {
                SendStatus::Refused(Refusal::OutputLimit)
            }
            // The peer must not take a stream with a hole for a whole one: it sees a reset.
            _ => {
                self.connection.abort(Cause::OutputLimit);
                SendStatus::Refused(Refusal::OutputLimit)
            }
        }
    }

    /// Hands what is pending to the kernel now, instead of at the end of this turn.
    pub fn flush(&mut self) {
        if self.connection.own_end == OwnEnd::Sent {
            return;
        }
        self.connection.output.flush();
    }

    /// Ends the connection in order: what is pending is flushed, our end of stream is sent, and the peer's is awaited
    /// until [`Listen::close_timeout`](crate::Listen::close_timeout). No further message is delivered.
    ///
    /// A protocol that says farewell does so behind what was sent, and awaits the peer's answer before that.
    pub fn close(&mut self) {
        if self.connection.is_parting() {
            return;
        }
        if self.connection.phase != Phase::Open || self.connection.own_end != OwnEnd::Open {
            return self.connection.close(Cause::Local);
        }
        let why = match self.connection.draining {
            _ if self.connection.peer_has_ended() => Farewell::PeerEnded,
            Draining::No => Farewell::Closed,
            _ => Farewell::Shutdown,
        };
        let output = &mut self.connection.output;
        output.begin();
        let parting = self.encoder.farewell(why, output);
        match output.finish() {
            Packed::Whole if parting == Parting::AwaitAnswer && why != Farewell::PeerEnded => {
                self.connection.part(Cause::Local);
                self.state.queue(self.connection);
            }
            Packed::Torn => self.connection.abort(Cause::OutputLimit),
            _ => {
                self.connection.own_end = OwnEnd::Concluded;
                self.connection.close(Cause::Local);
            }
        }
    }

    /// Ends the connection at once with a reset. What is pending is lost.
    pub fn abort(&mut self) {
        self.connection.abort(Cause::Aborted);
    }

    /// Sends our end of stream once what is pending has left. Messages still arrive; nothing more can be sent.
    pub fn shutdown_write(&mut self) {
        if !self.connection.is_parting() {
            self.connection.own_end = self.connection.own_end.max(OwnEnd::Requested);
        }
    }

    /// Stops the delivery of messages, also of those that have arrived already, until
    /// [`resume_reading`](Self::resume_reading). Nothing is read meanwhile, so the peer feels it through its window.
    pub fn pause_reading(&mut self) {
        if !self.connection.is_parting() {
            self.connection.shut(Gate::PAUSED);
        }
    }

    /// Undoes [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&mut self) {
        self.connection.gate.remove(Gate::PAUSED);
        self.state.queue(self.connection);
    }

    /// Sets a timer: [`Handler::on_timer`](crate::Handler::on_timer) is called with `token` once `after` has passed, not
    /// earlier, counted from the beginning of the loop's current iteration. Timers end with the connection.
    ///
    /// # Errors
    /// [`TooManyTimersError`] when the connection has [`Limits::timers`] timers already.
    pub fn set_timer(
        &mut self,
        after: Duration,
        token: u64,
    ) -> Result<TimerId, TooManyTimersError> {
        if self.connection.extra().timers.len() >= self.link.limits.timers {
            return Err(TooManyTimersError);
        }
        let key = self
            .state
            .schedule(after, Due::Handler(self.connection.id, token));
        self.connection.extra().timers.insert(key);
        Ok(TimerId(key))
    }

    /// Cancels a timer; false if it has fired or was cancelled before.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let extra = self.connection.extra.as_mut();
        let is_set = extra.is_some_and(|extra| extra.timers.remove(&timer.0));
        is_set && self.state.wheel.cancel(timer.0).is_some()
    }

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
        let subscriptions = &mut self.connection.extra().subscriptions;
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
        let subscription = self.connection.extra().subscriptions.swap_remove(index);
        self.link.topics.borrow_mut().leave(subscription);
        true
    }

    /// Which of the connection's subscriptions is to this topic.
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
        self.link.group.publish(publication)
    }

    /// A handle to this connection that other threads, and other connections' callbacks, can use.
    pub fn handle(&mut self) -> ConnHandle<P> {
        let id = self.connection.id;
        let alive = self
            .connection
            .extra()
            .alive
            .get_or_insert_with(|| Arc::new(AtomicBool::new(true)));
        ConnHandle::new(id, self.link.post.clone(), alive.clone())
    }

    /// The connection's name, unique for the life of the server.
    pub fn id(&self) -> ConnId {
        self.connection.id
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.connection.peer
    }

    /// Our address; asks the kernel each time.
    ///
    /// # Errors
    /// What the kernel says, as when the connection was reset.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.connection.output.local_addr()
    }

    /// Bytes that have arrived and are not part of a delivered message yet.
    pub fn read_buffer_len(&self) -> usize {
        self.unread
    }

    /// Bytes that were sent and are not with the kernel yet.
    pub fn write_buffer_len(&self) -> usize {
        self.connection.output.len()
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.connection.phase == Phase::Open && self.connection.own_end == OwnEnd::Open
    }

    /// The connection's counters.
    pub fn stats(&self) -> ConnStats {
        ConnStats {
            bytes_in: self.connection.received,
            bytes_out: self.connection.output.written(),
            messages_in: self.connection.messages_in,
            messages_out: self.connection.messages_out,
            dropped: self
                .connection
                .extra
                .as_ref()
                .map_or(0, |extra| extra.dropped),
        }
    }

    /// The time at which the loop's current iteration began, counted from the start of the worker's loop: the clock of
    /// [`UnpackContext::now`](crate::protocol::UnpackContext::now). It never goes back and costs no system call. Each worker
    /// has a clock of its own.
    ///
    /// ```
    /// # use ringwheel::{Conn, protocol::Lines};
    /// # use std::time::Duration;
    /// fn is_too_soon(conn: &Conn<'_, Lines>, last_request: Duration) -> bool {
    ///     conn.now() < last_request + Duration::from_millis(100)
    /// }
    /// ```
    pub fn now(&self) -> Duration {
        self.state.now
    }

    /// How long ago the peer was last heard of, in whole ticks. Sending is no sign of life.
    pub fn idle_for(&self) -> Duration {
        self.state
            .clock
            .begin(self.state.tick - self.connection.active_at)
    }

    /// Counts as a sign of life: the idle time starts anew.
    pub fn touch(&mut self) {
        self.connection.active_at = self.state.tick;
    }
}

impl<P: Protocol> fmt::Debug for Conn<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.connection.id)
            .field("peer", &self.connection.peer)
            .field("phase", &self.connection.phase)
            .finish_non_exhaustive()
    }
}
