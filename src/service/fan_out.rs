//! The delivery of publications to the subscribers on this worker.

use super::hub::Hub;
use super::local_access::finish_visit;
use crate::connection::Connection;
use crate::connection::id::ConnId;
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::connection::topics::Step;
use crate::connection::victims::keep_bound;
use crate::handler::Handler;
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
                Some(Step::Visit(id, horizon)) => {
                    self.table.horizon = horizon;
                    left = left.saturating_sub(self.visit_subscriber(id, table, state));
                    self.table.horizon = u64::MAX;
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

    /// Sends a subscriber what was published to its topics up to the horizon. Returns the cost.
    fn visit_subscriber(
        &mut self,
        id: ConnId,
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
        self.table.enter(connection, state, unread, |_| {});
        let (messages_now, bytes_now) = sent(connection);
        let bytes = bytes_now.saturating_sub(bytes);
        let cost = (messages_now - messages) + bytes / BYTES_OF_COST;
        if !finish_visit(connection, state) {
            state.queue(connection);
        }
        VISIT_COST + cost as usize
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
