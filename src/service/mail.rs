//! Mail: the requests of other threads and of other callbacks are carried out on the worker.

use std::sync::Arc;

use super::hub::Hub;
use super::incoming::Incoming;
use super::local_access::{finish_visit, finish_visit_later};
use super::visit_cost::VisitCost;
use crate::connection::burdens::Burdens;
use crate::connection::callback_time::CallbackTime;
use crate::connection::id::ConnId;
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::connection::victims::keep_bound;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::letter::{Letter, Mail, Named, Posted, Request, Visit};
use crate::handler::link::Published;
use crate::panics::contain_drop;
use crate::protocol::Protocol;
use crate::shared::batch::Batch;
use crate::shared::current::{self, PostedCode};
use crate::shared::lane::Lane;
use crate::shared::places::Charge;

/// Number of visits between two looks at the clock.
const VISITS_PER_LOOK: usize = 8;

/// A visit to all connections of a service that is under way.
pub(super) struct Walk<H: Handler> {
    visit: Visit<H>,
    charge: Charge,
    /// Dropped when the visit is over.
    batch: Option<Arc<Batch>>,
    /// The connections that are not visited yet.
    left: Vec<ConnId>,
}

/// The sender of a letter, as far as its letters count among the mail of a connection.
#[derive(Clone, Copy)]
struct Sender<'a> {
    /// Places and bytes of the letter.
    charge: (usize, usize),
    /// Counts the letter, if it comes from a callback on another worker.
    batch: &'a Option<Arc<Batch>>,
    /// The letter comes from a callback on this worker.
    is_local: bool,
}

/// Runs code that a letter has brought. `batch` counts the letter, if it comes from a callback on another worker.
fn run_posted<R>(batch: &Option<Arc<Batch>>, is_local: bool, code: impl FnOnce() -> R) -> R {
    let _posted = (is_local || batch.is_some()).then(|| PostedCode::begin(batch.clone()));
    code()
}

impl<'a> Sender<'a> {
    fn of(charge: &Charge, batch: &'a Option<Arc<Batch>>, is_local: bool) -> Self {
        let charge = (charge.letters(), charge.bytes());
        Sender {
            charge,
            batch,
            is_local,
        }
    }

    /// Counts the letter on as mail on its way if it has come to a connection without room, until that has room: so a connection
    /// that writes to another one is slowed to the pace at which that one reads.
    ///
    /// A letter of this worker's callbacks is counted only from now on. One of a thread counts nowhere.
    fn hold_if_there_is_no_room<P: Protocol>(self, conn: &mut Conn<'_, P>) {
        if conn.connection.output.len() <= conn.link.limits.high_water {
            return;
        }
        let (letters, bytes) = self.charge;
        let counted = match self.batch {
            Some(batch) => Some(batch.clone()),
            None if self.is_local => current::account(letters, bytes),
            None => None,
        };
        if let Some(batch) = counted {
            conn.hold_sender(batch);
        }
    }
}

impl<H: Handler> Hub<H> {
    /// Carries out the mail of a lane that is ready, until it has reached about `budget` connections, or something comes first:
    /// mail of the worker to itself, or a request. Returns what is left of the budget; 0 also if no mail is left, or if the time is over.
    pub(super) fn carry_out_mail(
        &mut self,
        (service, lane): (u16, Lane),
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) -> usize {
        let mut left = budget;
        while left > 0 && current::posted() == 0 && !state.shared.has_requests() {
            if let Some(walk) = self.lanes[lane as usize].walk.take() {
                left = self.walk_on((walk, lane), table, state, left);
                continue;
            }
            let Some(posted) = self.next_mail(lane) else {
                return 0;
            };
            let runs_code = posted.mail.runs_code();
            let reached = self.carry_out((posted, Some(lane)), service, table, state);
            left = left.saturating_sub(reached);
            if runs_code && state.mail_time.is_over() {
                return 0;
            }
        }
        left
    }

    /// Takes the next piece of mail of a lane.
    fn next_mail(&mut self, lane: Lane) -> Option<Posted<H>> {
        let (mut posted, is_noted) = self.lanes[lane as usize].take()?;
        posted.stamp = current::next_stamp();
        if is_noted {
            // A drain waits for the publications among these letters, too.
            self.noted_stamp = posted.stamp + 1;
        }
        Some(posted)
    }

    /// Carries out the mail that the worker's own callbacks have posted, but not what that leads to.
    pub(super) fn carry_out_local_mail(
        &mut self,
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) {
        for posted in self.mailbox.take_local() {
            self.carry_out((posted, None), service, table, state);
        }
    }

    /// Carries out one piece of mail, which has come by a lane or is the worker's own. Returns its cost: about how many connections it
    /// has reached, at least 1.
    fn carry_out(
        &mut self,
        (posted, lane): (Posted<H>, Option<Lane>),
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) -> usize {
        let Posted {
            mail,
            charge,
            stamp,
            batch,
        } = posted;
        // What was published later comes after this letter, and what was published before comes first.
        self.table.horizon = stamp.max(self.latest_stamp);
        self.table.link.begun.set(current::last_stamp());
        let reached = match mail {
            Mail::One(letter) => {
                let sender = Sender::of(&charge, &batch, lane.is_none());
                state.shared.release_places(charge);
                self.hand_letter(letter, sender, table, state)
            }
            Mail::Several(named) => {
                let sender = Sender::of(&charge, &batch, lane.is_none());
                state.shared.release_places(charge);
                self.hand_message(named, sender, table, state).max(1)
            }
            Mail::Each(visit) => {
                let mut left = table.ids();
                left.retain(|id| id.service == service);
                left.reverse();
                let lane = lane.expect("visits wait among the mail of a lane");
                self.lanes[lane as usize].walk = Some(Walk {
                    visit,
                    charge,
                    batch: batch.clone(),
                    left,
                });
                1
            }
            Mail::Topic(publication) => {
                let published = Published::new(publication, charge);
                let stamp = self.table.link.append(stamp, published);
                self.latest_stamp = self.latest_stamp.max(stamp);
                1
            }
            Mail::Handler { job, .. } => {
                state.shared.release_places(charge);
                run_posted(&batch, lane.is_none(), || {
                    1 + self.run_local(service, table, state, job)
                })
            }
        };
        self.table.horizon = u64::MAX;
        // From here on it does not count among the mail of the connection that has posted it.
        drop(batch);
        reached
    }

    /// Does what a letter asks for. Returns the cost, in letters.
    fn hand_letter(
        &mut self,
        letter: Letter<H::Protocol>,
        sender: Sender<'_>,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) -> usize {
        let Letter {
            to,
            request,
            control,
        } = letter;
        if let Some(control) = &control {
            control.uncount_letter();
        }
        keep_bound(table, state);
        let connection = table.get(to);
        let Some(connection) = connection.filter(|connection| connection.life.is_active()) else {
            contain_drop(request);
            return 1;
        };
        let cost = VisitCost::begin(connection);
        let work = self.call(connection, state, |_, conn, _| {
            let _ = conn.take_work();
            match request {
                Request::Send(item, done) => {
                    conn.keep_order();
                    conn.send_owned_with(&item, done);
                    sender.hold_if_there_is_no_room(conn);
                }
                Request::Run(job) => run_posted(sender.batch, sender.is_local, || job(conn)),
            }
            conn.take_work()
        });
        let cost = cost.end_letter(connection, work.unwrap_or(0));
        self.close_after_letters(connection, state);
        finish_visit_later(connection, state);
        cost
    }

    /// Sends a message to each of the connections that are open. Returns the cost, in letters.
    fn hand_message(
        &mut self,
        named: Named<H::Protocol>,
        sender: Sender<'_>,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) -> usize {
        let mut cost = 0;
        for id in named.to {
            keep_bound(table, state);
            let connection = table.get(id);
            if let Some(connection) = connection.filter(|connection| connection.life.is_active()) {
                let before = VisitCost::begin(connection);
                let work = self.call(connection, state, |_, conn, _| {
                    let _ = conn.take_work();
                    conn.keep_order();
                    conn.send_owned_now(&named.item);
                    sender.hold_if_there_is_no_room(conn);
                    conn.take_work()
                });
                cost += before.end_letter(connection, work.unwrap_or(0));
                finish_visit_later(connection, state);
            }
        }
        cost
    }

    /// Goes on with a visit, until it has cost as much as `budget` letters. Returns what is left of the budget.
    fn walk_on(
        &mut self,
        (mut walk, lane): (Walk<H>, Lane),
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) -> usize {
        let mut left = budget;
        while left > 0 {
            if current::posted() > 0 {
                self.lanes[lane as usize].walk = Some(walk);
                return left;
            }
            let Some(id) = walk.left.pop() else {
                state.shared.release_places(walk.charge);
                contain_drop(walk.visit);
                drop(walk.batch);
                return left;
            };
            keep_bound(table, state);
            let connection = table.get(id);
            let Some(connection) = connection.filter(|connection| connection.life.is_active())
            else {
                continue;
            };
            let before = VisitCost::begin(connection);
            let work = self.call(connection, state, |_, conn, session| {
                let _ = conn.take_work();
                run_posted(&walk.batch, false, || (walk.visit.visitor)(conn, session));
                conn.take_work()
            });
            left = left.saturating_sub(before.end_letter(connection, work.unwrap_or(0)));
            if !finish_visit(connection, state) {
                state.queue(connection);
            }
            if walk.left.len() % VISITS_PER_LOOK == 0 && state.mail_time.is_over() {
                left = 0;
            }
        }
        self.lanes[lane as usize].walk = Some(walk);
        0
    }

    /// Drops the letters that wait, and notes the connections that lose a message by that, or by a publication that does not
    /// reach them: their end is a reset.
    pub(super) fn note_losses(&mut self, table: &mut ConnTable, state: &mut LoopState) {
        let foreign = self.lanes.iter().flat_map(Incoming::take_all);
        let mut addressed = Vec::new();
        for posted in self.mailbox.take_local().into_iter().chain(foreign) {
            if let Mail::Topic(publication) = posted.mail {
                let published = Published::new(publication, posted.charge);
                self.table.link.append(current::next_stamp(), published);
                continue;
            }
            match &posted.mail {
                Mail::One(letter) if matches!(letter.request, Request::Send(..)) => {
                    addressed.push(letter.to);
                }
                Mail::Several(named) => addressed.extend(&named.to),
                _ => {}
            }
            state.shared.release_places(posted.charge);
            contain_drop(posted.mail);
        }
        for id in addressed {
            if let Some(connection) = table.get(id) {
                connection.burdens.set(Burdens::OWES, true);
            }
        }
        let topics = self.table.link.topics.borrow();
        for connection in table.iter_mut() {
            let extra = connection.extra.as_ref();
            let is_ours = connection.service == self.mailbox.service;
            let extra = extra.filter(|_| is_ours);
            if extra.is_some_and(|extra| topics.is_behind(&extra.subscriptions)) {
                connection.burdens.set(Burdens::OWES, true);
            }
        }
    }

    /// Drops the mail that waits now, and the publications that are not delivered. Mail that comes meanwhile, from a
    /// completion that sends again, stays.
    pub(super) fn drop_mail(&mut self, state: &mut LoopState) {
        for walk in self.lanes.iter_mut().filter_map(|it| it.walk.take()) {
            state.shared.release_places(walk.charge);
            contain_drop(walk.visit);
        }
        let undelivered = self.table.link.topics.borrow_mut().clear_logs();
        for published in undelivered {
            published.publication.miss();
            self.table.link.done.borrow_mut().push(published);
        }
        self.drop_done(state, CallbackTime::ENDLESS);
        let foreign = self.lanes.iter().flat_map(Incoming::take_all);
        for posted in self.mailbox.take_local().into_iter().chain(foreign) {
            state.shared.release_places(posted.charge);
            if let Mail::Topic(publication) = &posted.mail {
                publication.miss();
            }
            contain_drop(posted.mail);
        }
    }
}
