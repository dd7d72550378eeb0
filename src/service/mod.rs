//! The seam: a listener's typed handler and protocol behind one object-safe trait.

pub(crate) mod contain;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use slab::Slab;

use crate::connection::close_reason::Cause;
use crate::connection::id::ConnId;
use crate::connection::limits::{Limits, Timeouts};
use crate::connection::loop_state::{Due, LoopState};
use crate::connection::send_status::{Refusal, SendStatus};
use crate::connection::table::ROOM;
use crate::connection::topics::{Publication, Publish};
use crate::connection::{Connection, Gate, OwnEnd};
use crate::handler::Handler;
use crate::handler::conn::{Conn, Link, TimerId};
use crate::handler::mailbox::{Content, Mail, Mailbox};
use crate::io::output::Packed;
use crate::panics::contain_drop;
use crate::protocol::{Decode, Encode, ErrorOf, Farewell, Protocol, UnpackContext, Unpacked};
use crate::service::contain::contain;

/// A listener's connections on one worker. The only virtual call on the path of a message.
///
/// Every method contains the panics of the user's code: the connection then closes with [`Cause::Panic`].
pub(crate) trait Service {
    /// Makes the typed side of a new connection and tells the handler. False if that panicked: there is then nothing to
    /// close.
    fn open(&mut self, connection: &mut Connection, state: &mut LoopState) -> bool;
    /// Delivers the messages at the front of `input` while the connection's gate is open. Returns the bytes consumed.
    fn receive(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        input: &mut [u8],
    ) -> usize;
    /// Whether the protocol has taken in the beginning of a message whose end has not come.
    fn is_within_message(&self, connection: &mut Connection) -> bool;
    fn half_close(&mut self, connection: &mut Connection, state: &mut LoopState);
    fn drained(&mut self, connection: &mut Connection, state: &mut LoopState);
    fn timer(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        timer: TimerId,
        token: u64,
    );
    fn shutdown(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The protocol's deadline may have come.
    fn deadline(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The connection is about to send its end of the stream: the protocol's last words.
    fn farewell(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The connection is over; the handler gets its session back.
    fn close(&mut self, connection: &mut Connection, state: &mut LoopState);

    /// Takes the next piece of mail to hand and says whom it is for.
    fn next_mail(&mut self) -> Option<Recipient>;
    /// Appends the subscribers for whom the mail at hand is.
    fn list_subscribers(&self, list: &mut Vec<ConnId>);
    /// Does what the mail at hand asks for.
    fn apply_mail(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// Drops the mail at hand, whether it found anybody or not.
    fn drop_mail(&mut self);
}

/// Whom a piece of mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// If it is open.
    One(ConnId),
    /// Also if it is closing.
    OneClosing(ConnId),
    Each,
    /// Those who [subscribe](Service::list_subscribers), for so many letters at a time.
    Subscribers(usize),
}

impl Recipient {
    /// Letters that are at hand.
    pub(crate) fn letters(self) -> usize {
        match self {
            Recipient::Subscribers(letters) => letters,
            _ => 1,
        }
    }
}

/// The typed side of a connection.
struct Typed<H: Handler> {
    decoder: <H::Protocol as Protocol>::Decoder,
    encoder: <H::Protocol as Protocol>::Encoder,
    /// There from `on_open` on.
    session: Option<H::Session>,
    error: Option<ErrorOf<H::Protocol>>,
}

/// One handler value, its protocol, and the typed sides of its connections.
pub(crate) struct Hub<H: Handler> {
    handler: H,
    protocol: H::Protocol,
    link: Link<H::Protocol>,
    timeouts: Timeouts,
    typed: Slab<Typed<H>>,
    mail: Receiver<Mail<H>>,
    at_hand: Option<Mail<H>>,
    /// The publications at hand: some in a row to the same topic, so that a subscriber gets them in one write.
    published: Vec<Arc<Publication<H::Protocol>>>,
    /// Mail that was taken out to see whether it is another of them.
    next: Option<Mail<H>>,
}

/// Publications that are handed out together at most.
const PUBLISHED_TOGETHER: usize = 64;

impl<H: Handler> Hub<H> {
    pub(crate) fn new(
        handler: H,
        protocol: H::Protocol,
        limits: Limits,
        timeouts: Timeouts,
        mailbox: Arc<Mailbox<H>>,
        mail: Receiver<Mail<H>>,
        group: Box<dyn Publish<H::Protocol>>,
    ) -> Self {
        let link = Link::new(limits, mailbox, group);
        Hub {
            handler,
            protocol,
            link,
            timeouts,
            typed: Slab::with_capacity(ROOM),
            mail,
            at_hand: None,
            published: Vec::new(),
            next: None,
        }
    }

    /// The next piece of mail, which is a publication to `topic`.
    fn next_publication(&mut self, topic: &str) -> Option<Arc<Publication<H::Protocol>>> {
        if self.next.is_none() {
            self.next = self.mail.try_recv().ok();
        }
        match self.next.take_if(
            |mail| matches!(mail, Mail::Topic(publication) if *publication.topic == *topic),
        ) {
            Some(Mail::Topic(publication)) => Some(publication),
            _ => None,
        }
    }

    /// Sends what is published to one subscriber.
    fn deliver_published(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Hub {
            typed,
            link,
            published,
            ..
        } = self;
        let Some(Typed {
            decoder, encoder, ..
        }) = typed.get_mut(connection.key as usize)
        else {
            return;
        };
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        contain(connection, |connection| {
            let unread = connection.kept();
            let mut conn = Conn {
                encoder,
                connection,
                state,
                link,
                unread,
            };
            for publication in published.iter() {
                match conn.send_owned(&publication.item) {
                    SendStatus::Queued | SendStatus::AboveHighWater => publication.count(1, 0),
                    SendStatus::Refused(Refusal::Closing) => {}
                    SendStatus::Refused(_) => publication.count(0, 1),
                }
            }
            arm_deadline::<H>(decoder, encoder, connection, state);
        });
    }

    /// Calls the handler with the typed side of a connection.
    fn call(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        callback: impl FnOnce(&mut H, &mut Conn<'_, H::Protocol>, &mut H::Session),
    ) {
        let Hub {
            handler,
            typed,
            link,
            ..
        } = self;
        let Some(Typed {
            decoder,
            encoder,
            session: Some(session),
            ..
        }) = typed.get_mut(connection.key as usize)
        else {
            return;
        };
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        contain(connection, |connection| {
            let unread = connection.kept();
            callback(
                handler,
                &mut Conn {
                    encoder,
                    connection,
                    state,
                    link,
                    unread,
                },
                session,
            );
        });
        arm_deadline::<H>(decoder, encoder, connection, state);
    }

    /// Whether the handler knows the connection.
    fn is_open(&self, connection: &Connection) -> bool {
        self.typed
            .get(connection.key as usize)
            .is_some_and(|typed| typed.session.is_some())
    }
}

/// Sets the timer of the protocol's next deadline, unless it is set for then or before. Contains the protocol's panic.
#[inline]
fn arm_deadline<H: Handler>(
    decoder: &mut <H::Protocol as Protocol>::Decoder,
    encoder: &mut <H::Protocol as Protocol>::Encoder,
    connection: &mut Connection,
    state: &mut LoopState,
) {
    if <H::Protocol as Protocol>::Decoder::HAS_DEADLINES {
        let now = state.now;
        let deadline = contain(connection, |_| decoder.next_deadline(encoder, now));
        if let Some(deadline) = deadline.flatten() {
            set_protocol_timer(connection, state, deadline);
        }
    }
}

#[inline(never)]
fn set_protocol_timer(connection: &mut Connection, state: &mut LoopState, deadline: Duration) {
    // One that has passed already is met in the next iteration, so that no two meet each other for ever.
    let tick = state.clock.deadline(deadline).max(state.tick + 1);
    let set = connection.protocol_timer;
    match set.and_then(|timer| state.wheel.deadline(timer)) {
        Some(before) if before <= tick => {}
        Some(_) => _ = set.map(|timer| state.wheel.rearm(timer, tick)),
        None => {
            let due = Due::Protocol(connection.id);
            connection.protocol_timer = Some(state.wheel.insert(tick, due));
        }
    }
}

/// Sets the timer for a message that was begun, unless one is set, or cancels that of one that is whole.
///
/// One that is set stays when another message was begun within the same turn; when it fires the messages are counted.
fn watch_message(
    connection: &mut Connection,
    state: &mut LoopState,
    is_within: bool,
    after: Duration,
) {
    if !is_within {
        cancel_message_timer(connection, state);
    } else if connection.message_timer.is_none() {
        connection.begin_message();
        let due = Due::Message(connection.id, connection.messages_in);
        connection.message_timer = Some(state.schedule(after, due));
    }
}

fn cancel_message_timer(connection: &mut Connection, state: &mut LoopState) {
    if let Some(timer) = connection.message_timer.take() {
        state.wheel.cancel(timer);
    }
}

impl<H: Handler> Service for Hub<H> {
    fn open(&mut self, connection: &mut Connection, state: &mut LoopState) -> bool {
        let Hub {
            handler,
            protocol,
            typed,
            link,
            ..
        } = self;
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        let is_open = contain(connection, |connection| {
            let (mut decoder, mut encoder) = protocol.open();
            encoder.greet(&mut connection.output);
            let session = H::Protocol::OPENS_AT_ONCE.then(|| {
                handler.on_open(&mut Conn {
                    encoder: &mut encoder,
                    connection,
                    state,
                    link,
                    unread: 0,
                })
            });
            arm_deadline::<H>(&mut decoder, &mut encoder, connection, state);
            let key = typed.insert(Typed {
                decoder,
                encoder,
                session,
                error: None,
            });
            connection.key = u32::try_from(key).expect("a process has fewer than 2^32 descriptors");
        })
        .is_some();
        if !is_open {
            link.leave_all(connection);
        }
        is_open
    }

    fn receive(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        input: &mut [u8],
    ) -> usize {
        let Hub {
            handler,
            typed,
            link,
            timeouts,
            ..
        } = self;
        let Some(typed) = typed.get_mut(connection.key as usize) else {
            return input.len();
        };
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        let length = input.len();
        let before = connection.messages_in;
        let taken = contain(connection, |connection| {
            let taken = deliver(handler, typed, link, connection, state, input);
            typed.decoder.end_turn();
            arm_deadline::<H>(&mut typed.decoder, &mut typed.encoder, connection, state);
            let is_within = timeouts.message.is_some() && typed.decoder.is_within_message();
            (taken, is_within)
        });
        let (taken, is_within) = taken.unwrap_or((length, false));
        if before == 0 && connection.messages_in > 0 {
            cancel_message_timer(connection, state);
        }
        if let Some(after) = timeouts.message {
            let is_first = connection.messages_in == 0 && timeouts.first_message.is_some();
            if typed.session.is_some() && !is_first {
                watch_message(connection, state, is_within || taken < length, after);
            }
        }
        taken
    }

    fn is_within_message(&self, connection: &mut Connection) -> bool {
        let is_within = self
            .typed
            .get(connection.key as usize)
            .and_then(|typed| contain(connection, |_| typed.decoder.is_within_message()));
        is_within.unwrap_or(false)
    }

    fn half_close(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if self.is_within_message(connection) {
            return connection.close(Cause::Truncated);
        }
        if !self.is_open(connection) {
            return connection.close(Cause::Peer);
        }
        self.call(connection, state, |handler, conn, session| {
            handler.on_half_close(conn, session)
        });
    }

    fn drained(&mut self, connection: &mut Connection, state: &mut LoopState) {
        self.call(connection, state, |handler, conn, session| {
            handler.on_drained(conn, session)
        });
    }

    fn timer(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        timer: TimerId,
        token: u64,
    ) {
        self.call(connection, state, |handler, conn, session| {
            handler.on_timer(conn, session, timer, token)
        });
    }

    fn shutdown(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if !self.is_open(connection) {
            return connection.close(Cause::Shutdown);
        }
        self.call(connection, state, |handler, conn, session| {
            handler.on_shutdown(conn, session)
        });
    }

    fn deadline(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Hub { typed, link, .. } = self;
        let Some(Typed {
            decoder,
            encoder,
            error,
            ..
        }) = typed.get_mut(connection.key as usize)
        else {
            return;
        };
        if connection.own_end >= OwnEnd::Requested {
            // Nothing can be said any more.
            return;
        }
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        contain(connection, |connection| {
            let due = decoder.next_deadline(encoder, state.now);
            if due.is_some_and(|due| due <= state.now) {
                connection.look_for_input();
                let peer_is_held_back = connection.is_unheard() || !connection.output.is_empty();
                let Connection { output, peer, .. } = &mut *connection;
                let mut context = UnpackContext::new(output, encoder, state.now, peer);
                context.peer_is_held_back = peer_is_held_back;
                if let Err(refusal) = decoder.on_deadline(&mut context) {
                    *error = Some(refusal);
                    connection.close(Cause::Protocol);
                }
                if connection.output.has_overflowed() {
                    connection.abort(Cause::OutputLimit);
                }
            }
            arm_deadline::<H>(decoder, encoder, connection, state);
        });
    }

    fn farewell(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Hub { typed, link, .. } = self;
        let Some(typed) = typed.get_mut(connection.key as usize) else {
            return;
        };
        let why = connection
            .cause
            .map_or(Farewell::Closed, Cause::into_farewell);
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        contain(connection, |connection| {
            connection.output.begin();
            // However it parts, nobody waits any more.
            let _ = typed.encoder.farewell(why, &mut connection.output);
            if connection.output.finish() == Packed::Torn {
                connection.abort(Cause::OutputLimit);
            }
        });
    }

    fn close(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Hub {
            handler,
            typed,
            link,
            ..
        } = self;
        link.leave_all(connection);
        let Some(typed) = typed.try_remove(connection.key as usize) else {
            return;
        };
        let Typed {
            decoder,
            mut encoder,
            session,
            error,
        } = typed;
        let reason = connection
            .cause
            .unwrap_or(Cause::Aborted)
            .into_reason(error, connection.output.take_failure());
        contain(connection, |connection| {
            let conn = Conn {
                encoder: &mut encoder,
                connection,
                state,
                link,
                unread: 0,
            };
            if let Some(session) = session {
                handler.on_close(&conn, session, reason);
            }
        });
        contain_drop((decoder, encoder));
    }

    fn next_mail(&mut self) -> Option<Recipient> {
        let mail = match self.next.take() {
            Some(mail) => mail,
            None => self.mail.try_recv().ok()?,
        };
        if let Mail::Topic(first) = mail {
            let topic = first.clone();
            self.published.push(first);
            while self.published.len() < PUBLISHED_TOGETHER {
                let Some(publication) = self.next_publication(&topic.topic) else {
                    break;
                };
                self.published.push(publication);
            }
            return Some(Recipient::Subscribers(self.published.len()));
        }
        let recipient = match &mail {
            Mail::One(letter) if matches!(letter.content, Content::Abort) => {
                Recipient::OneClosing(letter.to)
            }
            Mail::One(letter) => Recipient::One(letter.to),
            Mail::Each(_) | Mail::Topic(_) => Recipient::Each,
        };
        self.at_hand = Some(mail);
        Some(recipient)
    }

    fn drop_mail(&mut self) {
        contain_drop(self.at_hand.take());
        for publication in self.published.drain(..) {
            contain_drop(publication);
        }
    }

    fn list_subscribers(&self, list: &mut Vec<ConnId>) {
        if let Some(publication) = self.published.first() {
            let topics = self.link.topics.borrow();
            topics.list_subscribers(&publication.topic, list);
        }
    }

    fn apply_mail(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let content = match self.at_hand.take() {
            Some(Mail::One(letter)) => letter.content,
            Some(Mail::Each(visitor)) => {
                self.call(connection, state, |_, conn, session| visitor(conn, session));
                self.at_hand = Some(Mail::Each(visitor));
                return;
            }
            Some(Mail::Topic(_)) | None => return self.deliver_published(connection, state),
        };
        self.call(connection, state, |_, conn, _| match content {
            Content::Send(item, done) => {
                conn.send_owned_with(&item, done);
            }
            Content::Close => conn.close(),
            Content::Abort => conn.abort(),
            Content::Run(job) => job(conn),
        });
    }
}

/// The message loop: unpacks and delivers until the input ends, more is needed, or the gate shuts.
#[inline]
fn deliver<H: Handler>(
    handler: &mut H,
    typed: &mut Typed<H>,
    link: &Link<H::Protocol>,
    connection: &mut Connection,
    state: &mut LoopState,
    input: &mut [u8],
) -> usize {
    let Typed {
        decoder,
        encoder,
        session,
        error,
    } = typed;
    let length = input.len();
    let mut conn = Conn {
        encoder,
        connection,
        state,
        link,
        unread: length,
    };
    let mut taken = 0;
    conn.connection.needed = 1;
    while taken < length && conn.connection.gate.is_open() {
        let was_message = {
            let Connection { output, peer, .. } = &mut *conn.connection;
            let mut context = UnpackContext::new(output, &mut *conn.encoder, conn.state.now, peer);
            let unpacked = decoder.unpack(&mut input[taken..], &mut context);
            if conn.connection.output.has_overflowed() {
                // A reply of the protocol itself did not fit.
                conn.connection.abort(Cause::OutputLimit);
                break;
            }
            match unpacked {
                Ok(Unpacked::Message { message, consumed }) => {
                    taken += consumed;
                    assert!(
                        consumed > 0 && taken <= length,
                        "a message consumes from 1 byte to all"
                    );
                    conn.state.delivered += 1;
                    conn.connection.messages_in += 1;
                    conn.unread = length - taken;
                    match session {
                        _ if conn.connection.is_parting() => {}
                        Some(session) => handler.on_message(&mut conn, session, message),
                        None => unreachable!("a message comes after the opening handshake"),
                    }
                    true
                }
                Ok(Unpacked::Skip { consumed }) => {
                    taken += consumed;
                    assert!(
                        consumed > 0 && taken <= length,
                        "a skip consumes from 1 byte to all"
                    );
                    if conn.connection.output.len() > link.limits.high_water {
                        conn.connection.shut(Gate::PRESSURE);
                    }
                    false
                }
                Ok(Unpacked::Opened { consumed }) => {
                    taken += consumed;
                    assert!(
                        session.is_none() && consumed > 0 && taken <= length,
                        "a connection opens once, with from 1 byte to all"
                    );
                    conn.unread = length - taken;
                    // The deadline of the handshake is met; another may follow.
                    if let Some(timer) = conn.connection.protocol_timer.take() {
                        conn.state.wheel.cancel(timer);
                    }
                    *session = Some(handler.on_open(&mut conn));
                    false
                }
                Ok(Unpacked::End { consumed }) => {
                    taken += consumed;
                    assert!(
                        consumed > 0 && taken <= length,
                        "an end consumes from 1 byte to all"
                    );
                    conn.connection.close(Cause::Peer);
                    false
                }
                Ok(Unpacked::NeedMore { at_least }) => {
                    let needed = (length - taken).saturating_add(at_least.max(1));
                    conn.connection.needed = u32::try_from(needed).unwrap_or(u32::MAX);
                    break;
                }
                Err(refusal) => {
                    *error = Some(refusal);
                    conn.connection.close(Cause::Protocol);
                    false
                }
            }
        };
        if was_message && decoder.is_within_message() {
            // It was a piece, and not the last.
            conn.connection.messages_in -= 1;
        }
    }
    taken
}
