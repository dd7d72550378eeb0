//! The delivery of publications to the subscribers on this worker.

use super::Service;
use super::hub::Hub;
use super::local_access::finish_visit;
use super::visit_cost::{VISIT_COST, VisitCost};
use crate::connection::Connection;
use crate::connection::callback_time::CallbackTime;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lag::Lag;
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::connection::topics::Step;
use crate::connection::victims::keep_bound;
use crate::handler::Handler;
use crate::handler::link::Published;
use crate::handler::subscribing::Delivery;
use crate::panics::contain_drop;
use crate::protocol::Protocol;
use crate::shared::places::Places;

/// Number of laggards from which on those are forgotten that wait no more.
const LAGGARDS: usize = 64;
/// A visit that costs more is followed by a look at the clock: it may have taken long. Its price is only an estimate.
const LARGE_VISIT: usize = 4 * VISIT_COST;
/// Number of subscriptions that cost 1 to look through for publications.
const LOOKS_OF_COST: usize = 8;

impl<H: Handler> Hub<H> {
    /// Delivers publications until about `budget` is spent, or large ones have taken the time of callbacks. Returns what is left of
    /// the budget.
    ///
    /// The output of each subscriber leaves at once and its ring goes on to the next, so that a publication to many takes
    /// the memory of one.
    pub(super) fn deliver_publications(
        &mut self,
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) -> usize {
        let time = state.begin_callbacks();
        let mut left = budget;
        while left > 0 {
            let step = self.step(state);
            match step {
                Some(Step::Visit(id, horizon, only)) => {
                    let delivery = Delivery::up_to(horizon).of(only).and_ahead();
                    let cost = self.visit_subscriber(id, delivery, table, state);
                    self.table.link.topics.borrow_mut().charge(cost);
                    left = match cost > LARGE_VISIT && time.is_over() {
                        true => 0,
                        false => left.saturating_sub(cost),
                    };
                }
                Some(Step::Done(done)) => self.table.link.put_done(done),
                None => break,
            }
        }
        self.look_after_laggards(table, state);
        let has_news = self.table.link.topics.borrow().has_entries();
        self.table.link.has_news.set(has_news);
        self.drop_done(state, state.begin_callbacks());
        left
    }

    /// The next step of delivering what was published.
    fn step(&self, state: &LoopState) -> Option<Step<Published<H::Protocol>>> {
        let link = &self.table.link;
        let most = link.limits.crowd();
        let size = |published: &Published<H::Protocol>| published.publication.size;
        link.topics
            .borrow_mut()
            .step(most, size, |published, is_crowded| {
                // A publication counts whole while little room is left in the mailboxes.
                if state.shared.has_plenty_of_room() {
                    published.note_delivered();
                }
                if is_crowded {
                    published.publication.hold_publisher();
                }
            })
    }

    /// Ends the patience with some subscribers if publications that wait fill the mailboxes, so that other publishers are not shut
    /// out: with the subscribers of the topics that have most publications waiting.
    fn look_after_laggards(&mut self, table: &mut ConnTable, state: &mut LoopState) {
        let laggards = self.table.link.laggards.take();
        let is_large = laggards.len() > LAGGARDS.max(2 * self.table.link.topics.borrow().lagging());
        // After a look that lets a subscriber wait on, the next one is in the next tick, unless the mailboxes are half full.
        let is_due = self.laggards_seen != state.tick || state.shared.is_congested();
        let is_filling_up = !laggards.is_empty() && is_due && state.shared.is_filling_up();
        if !is_large && !is_filling_up {
            self.table.link.laggards.replace(laggards);
            return;
        }
        let mut behind = self.topics_behind(laggards, table);
        let given_up = match is_filling_up {
            true => self.topics_to_give_up(&behind, state),
            false => Vec::new(),
        };
        behind.retain(|(id, topics)| {
            let is_given_up = topics.iter().any(|topic| given_up.contains(topic));
            let Some(connection) = table.get(*id).filter(|_| is_given_up) else {
                return true;
            };
            let stays = self.may_wait_on(connection, topics, state);
            if stays {
                self.laggards_seen = state.tick;
            } else {
                self.wait_no_longer(connection, state);
                state.queue(connection);
            }
            stays
        });
        let laggards = behind.into_iter().map(|(id, _)| id);
        self.table.link.laggards.borrow_mut().extend(laggards);
    }

    /// True if a subscriber of these topics is waited for although the mailboxes fill up: they are not half full, nothing has waited
    /// for it for long, and no thread has published, which cannot be slowed. So one that reads fast is not driven out by many who
    /// publish at one time.
    fn may_wait_on(&self, connection: &Connection, topics: &[u32], state: &LoopState) -> bool {
        let link = &self.table.link;
        let time = (state.tick, state.clock.deadline(link.limits.patience));
        let oldest = link.oldest_news(connection);
        if state.shared.is_congested() || connection.lag().has_waited_for_long(oldest, time) {
            return false;
        }
        let log = link.topics.borrow();
        let mut retained = topics.iter().flat_map(|topic| log.retained(*topic));
        !retained.any(|published| published.charge.has_share())
    }

    /// The connections for which publications wait, each with the topics in which they do.
    fn topics_behind(
        &self,
        laggards: Vec<ConnId>,
        table: &mut ConnTable,
    ) -> Vec<(ConnId, Vec<u32>)> {
        let topics = self.table.link.topics.borrow();
        let behind = laggards.into_iter().filter_map(|id| {
            let connection = table.get(id)?;
            let is_waiting = matches!(connection.lag(), Lag::Waiting(_));
            let extra = connection.extra.as_ref().filter(|_| is_waiting)?;
            let topics: Vec<u32> = topics.topics_behind(&extra.subscriptions).collect();
            Some((id, topics)).filter(|(_, topics)| !topics.is_empty())
        });
        behind.collect()
    }

    /// The topics for which most waits, as many as are more than a quarter of the mailboxes together with those that are left.
    fn topics_to_give_up(&self, behind: &[(ConnId, Vec<u32>)], state: &LoopState) -> Vec<u32> {
        let mut topics: Vec<u32> = behind
            .iter()
            .flat_map(|(_, topics)| topics)
            .copied()
            .collect();
        topics.sort_unstable();
        topics.dedup();
        let log = self.table.link.topics.borrow();
        let part = |topic: u32| {
            let retained = log.retained(topic);
            let (letters, bytes) = retained.fold((0, 0), |(letters, bytes), it| {
                (letters + it.charge.letters(), bytes + it.charge.bytes())
            });
            state.shared.part_of_mailboxes(letters, bytes)
        };
        let mut parts: Vec<_> = topics
            .into_iter()
            .map(|topic| (part(topic), topic))
            .collect();
        parts.sort_unstable();
        let mut left: u64 = parts.iter().map(|(part, _)| part).sum();
        let mut given_up = Vec::new();
        while let Some((part, topic)) = parts.pop().filter(|_| left > Places::WHOLE / 4) {
            left -= part;
            given_up.push(topic);
        }
        #[cfg(test)]
        state.shared.given_up.fetch_add(
            given_up.len(),
            crate::shared::sync::atomic::Ordering::Relaxed,
        );
        given_up
    }

    /// Sends a subscriber the publications to its topics. Returns the cost.
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
        let cost = VisitCost::begin(connection);
        let looks = delivery.subscriptions(connection).len();
        let unread = connection.kept();
        // Entering a connection sends what was published to it; there is nothing else to do.
        let work = self
            .table
            .deliver_and_enter(connection, state, unread, delivery, |entry| {
                entry.conn.take_work()
            });
        let cost = cost.end(connection, work.unwrap_or(0)) + looks / LOOKS_OF_COST;
        if !finish_visit(connection, state) {
            state.queue(connection);
        }
        connection.note_progress(state.tick);
        cost
    }

    /// Sends the publications that have waited until the connection's output has fallen to the low-water mark, and tells the
    /// handler if there is still room then.
    pub(super) fn read_on(&mut self, connection: &mut Connection, state: &mut LoopState) {
        if matches!(connection.lag(), Lag::PatienceLost) {
            connection.end_lag(state);
        }
        let Hub { handler, table, .. } = self;
        let unread = connection.kept();
        table.enter(connection, state, unread, |entry| {
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

    /// Looks at a subscriber for which publications wait: sends what there is room for, and ends the patience if something has
    /// waited too long.
    ///
    /// The kernel tells of room late, when much of its buffer is free, so the looks are what moves a slow reader.
    pub(super) fn look_at_laggard(&mut self, connection: &mut Connection, state: &mut LoopState) {
        let Lag::Waiting(mut patience) = connection.lag() else {
            return;
        };
        connection.output.try_again();
        connection.wait_on(state, &self.table.link.limits, patience);
        let unread = connection.kept();
        self.table.enter(connection, state, unread, |_| {});
        if !matches!(connection.lag(), Lag::Waiting(_)) {
            return;
        }
        let link = &self.table.link;
        let oldest = link.oldest_news(connection);
        let time = (state.tick, state.clock.deadline(link.limits.patience));
        let is_late = patience.look(oldest, connection.holds_senders(), time);
        if !is_late && !connection.is_stuck(state, &link.limits) {
            return connection.note_look(patience);
        }
        connection.lose_patience(state);
        self.table.enter(connection, state, unread, |_| {});
    }

    /// Drops the publications that are done with: those that call nobody back, and the others until `time` is over. What is left
    /// then follows in the next iteration; as its places are not free, the loop does not sleep.
    pub(super) fn drop_done(&mut self, state: &mut LoopState, time: CallbackTime) {
        let link = &self.table.link;
        let mut calling = link.calling.take();
        for published in link.done.take() {
            match published.publication.calls_back() {
                true => calling.push_back(published),
                false => drop_published(published, state),
            }
        }
        while let Some(published) = calling.pop_front() {
            drop_published(published, state);
            if time.is_over() {
                break;
            }
        }
        link.calling.replace(calling);
    }
}

fn drop_published<P: Protocol>(published: Published<P>, state: &LoopState) {
    state.shared.release_places(published.charge);
    contain_drop(published.publication);
}
