//! The service of one handler: it keeps the typed sides of the connections and calls the handler.

use std::sync::Arc;

use super::Service;
use super::contain::{contain, contain_last};
use super::incoming::Incoming;
use super::typed_table::{Typed, TypedTable};
use crate::connection::Connection;
use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::limits::{Limits, Timeouts};
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::mailbox::{Lanes, Mailbox};
use crate::handler::outbox::Outbox;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;
use crate::io::address::Address;
use crate::io::output::{Packed, Reply};
use crate::panics::contain_drop;
use crate::protocol::{Decode, Encode, Farewell, Protocol};
use crate::shared::control::Requests;
use crate::shared::current;
use crate::shared::lane::Lane;

/// One handler value, its protocol, and the typed sides of its connections.
pub(crate) struct Hub<H: Handler> {
    pub(super) handler: H,
    protocol: H::Protocol,
    pub(super) timeouts: Timeouts,
    pub(super) table: TypedTable<H>,
    /// Mail of other threads, by its lane.
    pub(super) lanes: [Incoming<H>; 2],
    /// The other end of the mailbox, in which the worker's own callbacks put theirs.
    pub(super) mailbox: Arc<Mailbox<H>>,
    /// The stamp from which on publications are later than the beginning of the drain.
    pub(super) noted_stamp: u64,
    /// The latest stamp of the publications that were carried out as mail. It is later than that of a letter behind them if a
    /// callback in between has published to its own connection ahead of its turn.
    pub(super) latest_stamp: u64,
    /// The tick in which subscribers that lag were last waited for although the mailboxes fill up.
    pub(super) laggards_seen: u64,
}

impl<H: Handler> Hub<H> {
    pub(crate) fn new(
        handler: H,
        protocol: H::Protocol,
        limits: Limits,
        timeouts: Timeouts,
        outbox: Arc<dyn Outbox<H::Protocol>>,
        (mailbox, lanes): (Arc<Mailbox<H>>, Lanes<H>),
    ) -> Self {
        let backlog = mailbox.shared.backlog.clone();
        Hub {
            handler,
            protocol,
            timeouts,
            table: TypedTable::new(limits, outbox, backlog),
            lanes: lanes.map(Incoming::new),
            mailbox,
            noted_stamp: 0,
            latest_stamp: 0,
            laggards_seen: 0,
        }
    }

    /// Sets the address of the listener if it is a Unix socket.
    pub(crate) fn reached_at(mut self, unix_address: Option<Address>) -> Self {
        self.table.link.unix_address = unix_address;
        self
    }

    /// Calls the handler, if it knows the connection and has not closed it: a close may wait for sources. `None` if it is not
    /// called, or if it panicked.
    pub(super) fn call<R>(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        callback: impl FnOnce(&mut H, &mut Conn<'_, H::Protocol>, &mut H::Session) -> R,
    ) -> Option<R> {
        if connection.is_finishing() {
            contain_drop(callback);
            return None;
        }
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
        self.leave(connection, state);
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
        self.read_on(connection, state);
    }

    fn draw(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let unread = connection.kept();
        self.table.enter(connection, state, unread, |entry| {
            // Publications come first, and may have filled the output.
            let conn = &mut entry.conn;
            if conn.connection.may_draw(conn.link.limits.low_water) {
                conn.draw_from_source();
            }
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
            // The decision may close the connection.
            conn.keep_order();
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

    fn leave(&mut self, connection: &mut Connection, state: &mut LoopState) {
        self.table.link.leave_topics(connection, state);
        self.table.link.drop_sources(connection);
    }

    fn end(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Hub { handler, table, .. } = self;
        let TypedTable { typed, link, .. } = table;
        debug_assert!(
            !connection.life.is_closed() || !connection.has_completions(),
            "the last completions come before the end"
        );
        let Some(typed) = typed.get_mut(connection.key as usize) else {
            return;
        };
        let Some(session) = typed.session.take() else {
            return;
        };
        let cause = connection.cause.unwrap_or(Cause::Aborted);
        // The socket of a connection that only closes may still fail.
        let failure = match cause {
            Cause::Io => connection.output.take_failure(),
            _ => None,
        };
        let reason = cause.into_reason(typed.error.take(), failure);
        contain_last(connection.id, || {
            let conn = Conn {
                encoder: &mut typed.encoder,
                connection,
                state,
                link,
                unread: 0,
                horizon: u64::MAX,
                written_before: 0,
                work: 0,
                all_work: 0,
            };
            handler.on_close(&conn, session, reason);
        });
    }

    fn forget(&mut self, connection: &Connection) {
        if let Some(typed) = self.table.typed.try_remove(connection.key as usize) {
            contain_drop(typed);
        }
    }

    fn obey(&mut self, connection: &mut Connection, state: &mut LoopState, requests: Requests) {
        self.do_requests(connection, state, requests);
    }

    fn get_mail_ready(&mut self, lane: Lane) {
        self.lanes[lane as usize].get_ready();
    }

    fn read_mail(
        &mut self,
        name: (u16, Lane),
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) -> usize {
        self.carry_out_mail(name, table, state, budget)
    }

    fn read_local_mail(&mut self, service: u16, table: &mut ConnTable, state: &mut LoopState) {
        self.carry_out_local_mail(service, table, state);
    }

    fn fan_out(&mut self, table: &mut ConnTable, state: &mut LoopState, budget: usize) -> usize {
        self.deliver_publications(table, state, budget)
    }

    fn judge_lag(&mut self, connection: &mut Connection, state: &mut LoopState) {
        self.look_at_laggard(connection, state);
    }

    fn wait_no_longer(&mut self, connection: &mut Connection, state: &mut LoopState) {
        connection.lose_patience(state);
        self.table.enter(connection, state, 0, |_| {});
    }

    fn note_mail(&mut self) {
        self.lanes.iter_mut().for_each(Incoming::note);
        self.noted_stamp = current::next_stamp();
    }

    fn has_noted_mail(&self) -> bool {
        let topics = self.table.link.topics.borrow();
        self.lanes.iter().any(Incoming::has_noted) || topics.has_entries_before(self.noted_stamp)
    }

    fn give_up_mail(&mut self, table: &mut ConnTable, state: &mut LoopState) {
        self.note_losses(table, state);
    }

    fn discard_mail(&mut self, state: &mut LoopState) {
        self.drop_mail(state);
    }

    #[cfg(test)]
    fn held(&self, connection: &Connection) -> usize {
        let typed = self.table.typed.get(connection.key as usize);
        typed.map_or(0, |typed| typed.decoder.held())
    }

    #[cfg(test)]
    fn oldest_waiting(&self, connection: &Connection) -> Option<u64> {
        let link = &self.table.link;
        link.is_lagging(connection)
            .then(|| link.oldest_news(connection))?
    }

    #[cfg(test)]
    fn subscribers(&self, topic: &str) -> usize {
        self.table.link.topics.borrow().count(topic)
    }
}

impl<H: Handler> Drop for Hub<H> {
    fn drop(&mut self) {
        for posted in self.mailbox.close_local() {
            self.mailbox.shared.release_places(posted.charge);
            contain_drop(posted.mail);
        }
    }
}
