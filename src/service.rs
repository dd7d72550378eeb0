//! The seam: a listener's typed handler and protocol behind one object-safe trait.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use slab::Slab;

use crate::close_reason::Cause;
use crate::conn::{Conn, Link, TimerId};
use crate::conn_id::ConnId;
use crate::conn_table::ROOM;
use crate::connection::{Connection, Gate};
use crate::contain::{contain, contain_drop};
use crate::handler::Handler;
use crate::limits::Limits;
use crate::loop_state::LoopState;
use crate::mailbox::{Content, Mail, Mailbox};
use crate::protocol::{Decode, Encode, ErrorOf, Protocol, Unpacked};

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
    /// The connection is over; the handler gets its session back.
    fn close(&mut self, connection: &mut Connection, state: &mut LoopState);

    /// Takes the next piece of mail to hand and says whom it is for.
    fn next_mail(&mut self) -> Option<Recipient>;
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
}

/// The typed side of a connection.
struct Typed<H: Handler> {
    decoder: <H::Protocol as Protocol>::Decoder,
    encoder: <H::Protocol as Protocol>::Encoder,
    session: H::Session,
    error: Option<ErrorOf<H::Protocol>>,
}

/// One handler value, its protocol, and the typed sides of its connections.
pub(crate) struct Hub<H: Handler> {
    handler: H,
    protocol: H::Protocol,
    link: Link<H::Protocol>,
    typed: Slab<Typed<H>>,
    mail: Receiver<Mail<H>>,
    at_hand: Option<Mail<H>>,
}

impl<H: Handler> Hub<H> {
    pub(crate) fn new(
        handler: H,
        protocol: H::Protocol,
        limits: Limits,
        mailbox: Arc<Mailbox<H>>,
        mail: Receiver<Mail<H>>,
    ) -> Self {
        let link = Link::new(limits, mailbox);
        Hub {
            handler,
            protocol,
            link,
            typed: Slab::with_capacity(ROOM),
            mail,
            at_hand: None,
        }
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
            encoder, session, ..
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
        contain(connection, |connection| {
            let (decoder, mut encoder) = protocol.open();
            let mut conn = Conn {
                encoder: &mut encoder,
                connection,
                state,
                link,
                unread: 0,
            };
            let session = handler.on_open(&mut conn);
            let key = typed.insert(Typed {
                decoder,
                encoder,
                session,
                error: None,
            });
            connection.key = u32::try_from(key).expect("a process has fewer than 2^32 descriptors");
        })
        .is_some()
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
            ..
        } = self;
        let Some(typed) = typed.get_mut(connection.key as usize) else {
            return input.len();
        };
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        let length = input.len();
        let taken = contain(connection, |connection| {
            deliver(handler, typed, link, connection, state, input)
        });
        if let Some(timer) = connection
            .first_message_timer
            .take_if(|_| connection.messages_in > 0)
        {
            state.wheel.cancel(timer);
        }
        taken.unwrap_or(length)
    }

    fn half_close(&mut self, connection: &mut Connection, state: &mut LoopState) {
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
        self.call(connection, state, |handler, conn, session| {
            handler.on_shutdown(conn, session)
        });
    }

    fn close(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Hub {
            handler,
            typed,
            link,
            ..
        } = self;
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
            handler.on_close(&conn, session, reason);
        });
        contain_drop((decoder, encoder));
    }

    fn next_mail(&mut self) -> Option<Recipient> {
        let mail = self.mail.try_recv().ok()?;
        let recipient = match &mail {
            Mail::One(letter) if matches!(letter.content, Content::Abort) => {
                Recipient::OneClosing(letter.to)
            }
            Mail::One(letter) => Recipient::One(letter.to),
            Mail::Each(_) => Recipient::Each,
        };
        self.at_hand = Some(mail);
        Some(recipient)
    }

    fn drop_mail(&mut self) {
        contain_drop(self.at_hand.take());
    }

    fn apply_mail(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let content = match self.at_hand.take() {
            Some(Mail::One(letter)) => letter.content,
            Some(Mail::Each(visitor)) => {
                self.call(connection, state, |_, conn, session| visitor(conn, session));
                self.at_hand = Some(Mail::Each(visitor));
                return;
            }
            None => return,
        };
        self.call(connection, state, |_, conn, _| match content {
            Content::Send(item, done) => {
                conn.send_with(<H::Protocol as Protocol>::Encoder::borrow(&item), done);
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
        let unpacked = decoder.unpack(&mut input[taken..], &mut conn.connection.output);
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
                conn.connection.messages_in += 1;
                conn.unread = length - taken;
                handler.on_message(&mut conn, session, message);
            }
            Ok(Unpacked::Skip { consumed }) => {
                taken += consumed;
                assert!(
                    consumed > 0 && taken <= length,
                    "a skip consumes from 1 byte to all"
                );
                if conn.connection.output.len() > link.limits.high_water {
                    conn.connection.gate.add(Gate::PRESSURE);
                }
            }
            Ok(Unpacked::NeedMore { at_least }) => {
                let needed = (length - taken).saturating_add(at_least.max(1));
                conn.connection.needed = u32::try_from(needed).unwrap_or(u32::MAX);
                break;
            }
            Err(refusal) => {
                *error = Some(refusal);
                conn.connection.close(Cause::Protocol);
            }
        }
    }
    taken
}
