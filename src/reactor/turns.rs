//! The turns of connections. An iteration gives them to some of the waiting connections, list by list.

use crate::connection::Connection;
use crate::connection::callback_budget::CallbackBudget;
use crate::connection::fair_queue::FairQueue;
use crate::connection::id::ConnId;
use crate::connection::marks::Marks;
use crate::connection::turn_lists::TurnLists;

use super::Reactor;

/// Number of whole turns whose work heavy connections may do together in one iteration. The turn that passes it is finished.
pub(super) const HEAVY_TURNS: usize = 4;

impl Reactor {
    /// Reads and answers, then sends and moves the connection on.
    pub(super) fn turn(&mut self, slot: u32) {
        self.read(slot);
        self.settle(slot);
        self.after_callbacks(slot);
    }

    /// Gives the light connections of the ready list their turns. In a drain each turn may call `on_shutdown`, so the turns
    /// stop once the iteration is full: the deadline of the drain must not wait until all handlers are told.
    pub(super) fn work_off_ready_list(&mut self) {
        std::mem::swap(&mut self.state.turns.ready, &mut self.turn_list);
        for index in 0..self.turn_list.len() {
            let slot = self.turn_list[index];
            if let Some(connection) = self.table.in_slot(slot) {
                connection.marks.set(Marks::ON_READY_LIST, false);
                self.turn(slot);
            }
            if self.drain.is_some() && self.state.budget.is_iteration_full() {
                return self.list_again(index + 1);
            }
        }
        self.turn_list.clear();
    }

    /// Puts those that the iteration has not served back on the ready list, before the others. `served` connections had their turn.
    #[cold]
    fn list_again(&mut self, served: usize) {
        self.turn_list.drain(..served);
        self.turn_list.append(&mut self.state.turns.ready);
        std::mem::swap(&mut self.state.turns.ready, &mut self.turn_list);
    }

    /// Gives turns to light connections that earlier iterations have deferred, until this one is full, too. The events of this iteration
    /// were handled first: so a message that arrives now does not wait for a whole burst of slow messages from others.
    pub(super) fn serve_deferred(&mut self) {
        self.state.budget.begin_iteration();
        for _ in 0..self.state.turns.deferred.len() {
            if self.state.budget.is_iteration_full() {
                break;
            }
            let Some(id) = self.take_first(|turns| &mut turns.deferred) else {
                continue;
            };
            self.turn(id.slot);
            self.meet_late_error(id.token());
        }
        // Mail may have filled the rings of those that were not served.
        self.keep_memory();
    }

    /// Gives turns to new connections until they have taken the time of callbacks. So the other connections wait for this time, and not
    /// for the first messages of all new ones.
    pub(super) fn serve_unproven(&mut self) {
        let mut budget = CallbackBudget::new(self.begin_callbacks(), self.callback_limit);
        for _ in 0..self.state.turns.unproven.len() {
            let Some(id) = self.take_first(|turns| &mut turns.unproven) else {
                continue;
            };
            self.turn(id.slot);
            self.meet_late_error(id.token());
            if budget.count() {
                break;
            }
        }
        // Mail may have filled the rings of those that were not served.
        self.keep_memory();
    }

    /// Gives turns to heavy connections until they have done the work of some whole turns. So light connections, whose events
    /// are handled at once, wait for this much and not for all heavy ones.
    ///
    /// First one unfinished connection has a turn, so that the unfinished ones always get on. Then come the connections that had an event,
    /// since most of them are done after a turn, and then the other unfinished ones.
    pub(super) fn serve_heavy(&mut self) {
        let whole = self.state.budget.whole();
        let unfinished = self.state.turns.unfinished.len();
        let first = unfinished.min(1);
        self.serve_from(|turns| &mut turns.unfinished, first, &mut { whole });
        let mut left = whole.saturating_mul(HEAVY_TURNS - first);
        let had_event = self.state.turns.heavy.len();
        self.serve_from(|turns| &mut turns.heavy, had_event, &mut left);
        self.serve_from(|turns| &mut turns.unfinished, unfinished - first, &mut left);
        // Mail may have filled the rings of those that were not served.
        self.keep_memory();
    }

    /// Gives turns to the first `count` heavy connections of a list, as long as work is `left`.
    fn serve_from(
        &mut self,
        list: impl Fn(&mut TurnLists) -> &mut FairQueue,
        count: usize,
        left: &mut usize,
    ) {
        for _ in 0..count {
            if *left == 0 {
                break;
            }
            let Some(id) = self.take_first(&list) else {
                continue;
            };
            // It has a whole budget, whatever the others have used.
            self.state.budget.begin_iteration();
            self.turn(id.slot);
            let used = self.state.budget.used();
            #[cfg(test)]
            self.served.push((id, used));
            *left = left.saturating_sub(used);
        }
    }

    /// Takes the first connection off a list. `None` if it has been removed since.
    fn take_first(&mut self, list: impl Fn(&mut TurnLists) -> &mut FairQueue) -> Option<ConnId> {
        let id = list(&mut self.state.turns).pop()?;
        let connection = self.table.get(id)?;
        connection.marks.set(Marks::ON_READY_LIST, false);
        Some(id)
    }

    /// Takes connections that are being removed off the ready list: others take their slots, and would have their turns.
    ///
    /// One walk serves all of an iteration: a worker that passes the bound on its memory may end many that are listed.
    #[cold]
    pub(super) fn forget_turns_of_closed(&mut self) {
        let Reactor { table, state, .. } = self;
        state.turns.ready.retain(|slot| {
            let Some(connection) = table.in_slot(*slot) else {
                return false;
            };
            let stays = !connection.marks.has(Marks::ON_CLOSED_LIST);
            connection.marks.set(Marks::ON_READY_LIST, stays);
            stays
        });
    }

    /// Ends a connection whose socket has an error that came behind what the last turn has read: a reset may come directly behind the
    /// end of the stream, in the same event.
    pub(super) fn meet_late_error(&mut self, token: usize) {
        let Some(connection) = self.table.by_token(token) else {
            return;
        };
        if meet_error(connection) {
            let slot = connection.id.slot;
            self.settle(slot);
        }
    }
}

/// Ends a connection whose socket has an error, if nothing will be read: no read would meet it. True if it has one.
pub(super) fn meet_error(connection: &mut Connection) -> bool {
    if connection.wants_input() {
        return false;
    }
    let Ok(Some(error)) = connection.output.wire().take_error() else {
        return false;
    };
    connection.fail(error);
    true
}
