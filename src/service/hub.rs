//! The service of one handler: it keeps the typed sides of the connections and calls the handler.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::Service;
use super::contain::contain;
use super::typed_table::{Typed, TypedTable};
use crate::connection::Connection;
use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::id::ConnId;
use crate::connection::limits::{Limits, Timeouts};
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::letter::Mail;
use crate::handler::outbox::Outbox;
use crate::handler::publication::Publication;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;
use crate::io::output::{Packed, Reply};
use crate::panics::contain_drop;
use crate::protocol::{Decode, Encode, Farewell, Protocol};

/// One handler value, its protocol, and the typed sides of its connections.
pub(crate) struct Hub<H: Handler> {
    pub(super) handler: H,
    protocol: H::Protocol,
    pub(super) timeouts: Timeouts,
    pub(super) table: TypedTable<H>,
    pub(super) mail: Receiver<Mail<H>>,
    /// Mail that was taken out to see if it is another publication to the same topic; handled next.
    pub(super) read_ahead: Option<Mail<H>>,
    /// The publications being delivered; empty in between.
    pub(super) publications: Vec<Arc<Publication<H::Protocol>>>,
    /// All subscribers of the publications being delivered; empty in between.
    pub(super) subscribers: Vec<ConnId>,
}

impl<H: Handler> Hub<H> {
    pub(crate) fn new(
        handler: H,
        protocol: H::Protocol,
        limits: Limits,
        timeouts: Timeouts,
        outbox: Arc<dyn Outbox<H::Protocol>>,
        mail: Receiver<Mail<H>>,
    ) -> Self {
        Hub {
            handler,
            protocol,
            timeouts,
            table: TypedTable::new(limits, outbox),
            mail,
            read_ahead: None,
            publications: Vec::new(),
            subscribers: Vec::new(),
        }
    }

    /// Calls the handler, if it knows the connection. `None` if it does not, or if it panicked.
    pub(super) fn call<R>(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        callback: impl FnOnce(&mut H, &mut Conn<'_, H::Protocol>, &mut H::Session) -> R,
    ) -> Option<R> {
        let Hub { handler, table, .. } = self;
        let unread = connection.kept();
        let outcome = table.enter(connection, state, unread, |entry| {
            entry.call(|conn, session| callback(handler, conn, session))
        });
        outcome.flatten()
    }
}

impl<H: Handler> Service for Hub<H> {
    fn open(&mut self, connection: &mut Connection, state: &mut LoopState) -> bool {
        let Some((decoder, encoder)) = contain(connection, |_| self.protocol.open()) else {
            return false;
        };
        let key = self.table.typed.insert(Typed {
            decoder,
            encoder,
            session: None,
            error: None,
        });
        connection.key = u32::try_from(key).expect("a process has fewer than 2^32 descriptors");
        let Hub { handler, table, .. } = self;
        let opened = table.enter(connection, state, 0, |entry| {
            let Conn {
                encoder,
                connection,
                ..
            } = &mut entry.conn;
            let mut greeting = Reply::new(&mut connection.output);
            encoder.greet(greeting.output());
            greeting.end();
            entry.end_if_overflowed();
            if H::Protocol::OPENS_AT_ONCE && entry.conn.is_open() {
                entry.open(handler);
            }
        });
        if opened.is_some() || self.table.is_known(connection) {
            return true;
        }
        self.table.link.leave_topics(connection);
        self.table.link.drop_sources(connection);
        contain_drop(self.table.typed.remove(key));
        false
    }

    fn receive(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        input: &mut [u8],
    ) -> usize {
        self.deliver(connection, state, input)
    }

    fn check_within_message(&self, connection: &mut Connection) -> bool {
        let is_within = self
            .table
            .typed
            .get(connection.key as usize)
            .and_then(|typed| contain(connection, |_| typed.decoder.is_within_message()));
        is_within.unwrap_or(false)
    }

    fn half_close(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if self.check_within_message(connection) {
            return connection.close(Cause::Truncated);
        }
        if !self.table.is_known(connection) {
            return connection.close(Cause::Peer);
        }
        if !connection.life.is_active() {
            // The protocol has panicked at the question.
            return;
        }
        self.call(connection, state, |handler, conn, session| {
            handler.on_half_close(conn, session);
        });
    }

    fn drained(&mut self, connection: &mut Connection, state: &mut LoopState) {
        self.call(connection, state, |handler, conn, session| {
            handler.on_drained(conn, session)
        });
    }

    fn draw(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let unread = connection.kept();
        self.table.enter(connection, state, unread, |entry| {
            entry.conn.draw_from_source();
        });
    }

    fn drop_sources(&mut self, connection: &mut Connection) {
        self.table.link.drop_sources(connection);
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

    fn timed_out(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        timeout: Timeout,
    ) -> TimeoutDecision {
        if connection.is_finishing() {
            // The handler has closed it, and is asked no more.
            return TimeoutDecision::Evict;
        }
        let decision = self.call(connection, state, |handler, conn, session| {
            handler.on_timeout(conn, session, timeout)
        });
        decision.unwrap_or_default()
    }

    fn tick(&mut self, service: u16, table: &mut ConnTable, state: &mut LoopState) {
        self.run_local(service, table, state, |handler, connections| {
            handler.on_tick(connections)
        });
    }

    fn shutdown(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if !self.table.is_known(connection) {
            return connection.close(Cause::Shutdown);
        }
        self.call(connection, state, |handler, conn, session| {
            handler.on_shutdown(conn, session)
        });
    }

    fn deadline(&mut self, connection: &mut Connection, state: &mut LoopState) {
        self.meet_deadline(connection, state);
    }

    fn farewell(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let why = connection
            .cause
            .map_or(Farewell::Closed, Cause::into_farewell);
        self.table.enter(connection, state, 0, |entry| {
            let Conn {
                encoder,
                connection,
                ..
            } = &mut entry.conn;
            connection.output.begin_last_words();
            // No answer is awaited any more, whatever the protocol would like.
            let _ = encoder.farewell(why, &mut connection.output);
            if connection.output.finish() != Packed::Whole && !connection.output.has_failed() {
                connection.abort(Cause::OutputLimit);
            }
        });
    }

    fn close(&mut self, connection: &mut Connection, state: &mut LoopState) {
        self.table.link.leave_topics(connection);
        self.table.link.drop_sources(connection);
        let Some(typed) = self.table.typed.try_remove(connection.key as usize) else {
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
        let Hub { handler, table, .. } = self;
        contain(connection, |connection| {
            let conn = Conn {
                encoder: &mut encoder,
                connection,
                state,
                link: &table.link,
                unread: 0,
            };
            if let Some(session) = session {
                handler.on_close(&conn, session, reason);
            }
        });
        contain_drop((decoder, encoder));
    }

    fn read_mail(
        &mut self,
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) {
        self.carry_out_mail(service, table, state, budget);
    }

    fn discard_mail(&mut self, state: &mut LoopState) {
        self.drop_mail(state);
    }

    #[cfg(test)]
    fn subscribers(&self, topic: &str) -> Vec<ConnId> {
        let mut list = Vec::new();
        let topics = self.table.link.topics.borrow();
        topics.list_subscribers(topic, &mut list);
        list
    }
}
