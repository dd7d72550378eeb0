//! The typed sides of a service's connections.

use slab::Slab;

use super::contain::contain;
use super::entry::Entry;
use crate::connection::Connection;
use crate::connection::gate::Gate;
use crate::connection::limits::Limits;
use crate::connection::loop_state::LoopState;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::link::Link;
use crate::handler::outbox::Outbox;
use crate::handler::subscribing::Delivery;
use crate::panics::contain_drop;
use crate::protocol::{Decode, ErrorOf, Protocol};
use crate::shared::backlog::Backlog;
use std::sync::Arc;

/// The typed side of one connection.
pub(super) struct Typed<H: Handler> {
    pub(super) decoder: <H::Protocol as Protocol>::Decoder,
    pub(super) encoder: <H::Protocol as Protocol>::Encoder,
    /// The handler's session, from `on_open` on.
    pub(super) session: Option<H::Session>,
    /// The protocol's reason to refuse the peer's bytes, for `on_close`.
    pub(super) error: Option<ErrorOf<H::Protocol>>,
}

/// The typed sides of a service's connections, and what all of them share.
pub(super) struct TypedTable<H: Handler> {
    pub(super) typed: Slab<Typed<H>>,
    pub(super) link: Link<H::Protocol>,
    /// Publications with a later stamp are not delivered before the code that is entered: letters and publications that a
    /// worker posts to itself take effect in order. `u64::MAX` but while such a letter is carried out.
    pub(super) horizon: u64,
}

impl<H: Handler> TypedTable<H> {
    /// `backlog` is that of the worker.
    pub(super) fn new(
        limits: Limits,
        outbox: Arc<dyn Outbox<H::Protocol>>,
        backlog: Arc<Backlog>,
    ) -> Self {
        TypedTable {
            typed: Slab::new(),
            link: Link::new(limits, outbox, backlog),
            horizon: u64::MAX,
        }
    }

    /// True if the handler knows the connection.
    pub(super) fn is_known(&self, connection: &Connection) -> bool {
        self.typed
            .get(connection.key as usize)
            .is_some_and(|typed| typed.session.is_some())
    }

    /// Runs code with a connection and its typed side. What was published to the connection before is sent to it first; if that
    /// waits for room, it is sent before the first message that the code sends. Afterwards the decoder's changes take effect and the protocol's next deadline is set. `None` if the connection has no typed side, or if the code panicked.
    #[inline(always)]
    pub(super) fn enter<R>(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        unread: usize,
        code: impl FnOnce(&mut Entry<'_, H>) -> R,
    ) -> Option<R> {
        let delivery = Delivery::up_to(self.horizon);
        self.deliver_and_enter(connection, state, unread, delivery, code)
    }

    /// As [`enter`](Self::enter), with a choice of what is sent to the connection first.
    #[inline(always)]
    pub(super) fn deliver_and_enter<R>(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        unread: usize,
        delivery: Delivery,
        code: impl FnOnce(&mut Entry<'_, H>) -> R,
    ) -> Option<R> {
        let TypedTable {
            typed,
            link,
            horizon,
        } = self;
        let Some(Typed {
            decoder,
            encoder,
            session,
            error,
        }) = typed.get_mut(connection.key as usize)
        else {
            contain_drop(code);
            return None;
        };
        connection
            .output
            .borrow_ring(&mut state.pool, link.limits.output);
        let written_before = connection.output.written();
        let result = contain(connection, |connection| {
            let mut entry = Entry {
                decoder,
                session,
                error,
                conn: Conn {
                    encoder,
                    connection,
                    state,
                    link,
                    unread,
                    horizon: *horizon,
                    written_before,
                    work: 0,
                    all_work: 0,
                },
            };
            if link.has_news.get() {
                entry.conn.meet_news(delivery);
            }
            let result = code(&mut entry);
            entry.change_decoder();
            entry.arm_deadline();
            entry.charge_decoder();
            result
        });
        if result.is_none() {
            // The changes that the code may have asked for before it panicked are for no other connection.
            connection.gate.open(Gate::DECODER);
            for change in link.decoder_changes.take() {
                contain_drop(change);
            }
            let held = contain(connection, |_| decoder.held());
            connection.charge_decoder(state, held.unwrap_or(0));
        }
        result
    }
}
