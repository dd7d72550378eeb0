//! The delivery of publications to the subscribers on this worker.

use super::hub::Hub;
use super::local_access::finish_visit;
use crate::connection::Connection;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lag::Lag;
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::connection::topics::Step;
use crate::connection::victims::keep_bound;
use crate::handler::Handler;
use crate::handler::subscribing::Delivery;
use crate::panics::contain_drop;

/// Cost of a visit to a subscriber, of which a write is the greatest part. A message costs 1 besides.
const VISIT_COST: usize = 32;
/// Bytes that cost 1.
const BYTES_OF_COST: u64 = 1024;

impl<H: Handler> Hub<H> {
    /// Delivers publications until about `budget` is spent. Returns what is left of it.
    ///
    /// The output of each subscriber leaves at once and its ring goes on to the next, so that a publication to many takes
    /// the memory of one.
    pub(super) fn deliver_publications(
        &mut self,
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) -> usize {
        let mut left = budget;
        while left > 0 {
            let step = self.table.link.topics.borrow_mut().step();
            match step {
                Some(Step::Visit(id, horizon, only)) => {
                    let delivery = Delivery::up_to(horizon).if_there_is_room().of(only);
                    let cost = self.visit_subscriber(id, delivery, table, state);
                    left = left.saturating_sub(cost);
                }
                Some(Step::Done(done)) => self.table.link.done.borrow_mut().extend(done),
                None => break,
            }
        }
        let has_news = self.table.link.topics.borrow().has_entries();
        self.table.link.has_news.set(has_news);
        self.drop_done(state);
        left
    }

    /// Sends a subscriber what was published to its topics. Returns the cost.
    fn visit_subscriber(
        &mut self,
        id: ConnId,
        delivery: Delivery,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) -> usize {
        keep_bound(table, state);
        let connection = table.get(id);
        let Some(connection) = connection.filter(|connection| connection.life.is_active()) else {
            return 1;
        };
        let sent = |connection: &Connection| {
            let output = &connection.output;
            (
                connection.messages_out,
                output.written() + output.len() as u64,
            )
        };
        let (messages, bytes) = sent(connection);
        let unread = connection.kept();
        // Entering a connection sends what was published to it; there is nothing else to do.
        self.table
            .deliver_and_enter(connection, state, unread, delivery, |_| {});
        let (messages_now, bytes_now) = sent(connection);
        let bytes = bytes_now.saturating_sub(bytes);
        let cost = (messages_now - messages) + bytes / BYTES_OF_COST;
        if !finish_visit(connection, state) {
            state.queue(connection);
        }
        connection.note_progress(state.tick);
        VISIT_COST + cost as usize
    }

    /// Sends a connection whose output has fallen to the low-water mark what has waited for it, and tells the handler if there
    /// is still room then.
    pub(super) fn read_on(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if matches!(connection.lag(), Lag::PatienceLost) {
            connection.end_lag(state);
        }
        let Hub { handler, table, .. } = self;
        let unread = connection.kept();
        table.enter_with_room(connection, state, unread, |entry| {
            let conn = &mut entry.conn;
            if conn.connection.output.len() > conn.link.limits.low_water {
                // Publications have come first, and have filled the output again.
                conn.connection.hold_back(Gate::PRESSURE);
            } else if !conn.connection.is_finishing() {
                entry.call(|conn, session| handler.on_drained(conn, session));
            }
        });
        if matches!(connection.lag(), Lag::Waiting(_)) && !table.link.is_lagging(connection) {
            connection.end_lag(state);
        }
    }

    /// A term of the patience with a subscriber is over: begins another if it has kept up, and sends it all that waits if it has
    /// not.
    pub(super) fn end_patience(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Lag::Waiting(patience) = connection.lag() else {
            return;
        };
        connection.output.try_again();
        let link = &self.table.link;
        let is_late = link.has_late_news(connection, patience.stamp);
        if connection.has_kept_up(&patience, &link.limits) && !is_late {
            return connection.renew_patience(state, &link.limits);
        }
        connection.lose_patience(state);
        let unread = connection.kept();
        self.table.enter(connection, state, unread, |_| {});
    }

    /// Drops the publications that are done with, which may call back.
    pub(super) fn drop_done(&mut self, state: &mut LoopState) {
        let done = self.table.link.done.take();
        for published in done {
            state.shared.release_places(published.charge);
            contain_drop(published.publication);
        }
    }
}
