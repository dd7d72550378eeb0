//! The ends of connections: the completions that are left are called, then the handler is told, then the connection is removed.
//!
//! A connection that is over cannot be slowed down to pay for its callbacks, and thousands may end in one moment. So the callbacks
//! of all ends have a common time in each iteration of the loop, and connections that have many completions take turns with the
//! others.

use crate::connection::Connection;
use crate::connection::burdens::Burdens;
use crate::connection::callback_budget::CallbackBudget;
use crate::connection::completion::SendOutcome;
use crate::connection::id::ConnId;
use crate::connection::lifecycle::Stage;
use crate::connection::marks::Marks;
use crate::panics::{contain_call, contain_drop};

use super::Reactor;

/// Number of completions of one connection that are called before those of the next.
const COMPLETIONS: usize = 64;

/// True if callbacks of the connection's end are to come, and it is not listed for them.
pub(super) fn has_unlisted_end(connection: &Connection) -> bool {
    let is_untold =
        connection.life.stage() != Stage::Open && !connection.marks.has(Marks::TOLD_OF_END);
    let is_unremoved = connection.life.is_closed() && !connection.marks.has(Marks::ON_CLOSED_LIST);
    (is_untold || is_unremoved) && !connection.burdens.has(Burdens::ENDING)
}

/// Tells a connection's handles that it has ended.
pub(super) fn release_handles(connection: &mut Connection) {
    let extra = connection.extra.as_ref();
    if let Some(control) = extra.and_then(|extra| extra.control.as_ref()) {
        control.end();
    }
}

impl Reactor {
    /// Ends all by which the handler reached a connection that is over: timers, topics, handles. Its last callbacks follow at the
    /// end of the iteration, or later.
    pub(super) fn begin_end(&mut self, slot: u32) {
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        connection.burdens.set(Burdens::ENDING, true);
        self.ends.push_back(connection.id);
        if !connection.marks.has(Marks::TOLD_OF_END) {
            connection.cancel_timers_of_open(&mut self.state);
            release_handles(connection);
            let service = &mut self.services[connection.service as usize].service;
            service.leave(connection, &mut self.state);
        }
    }

    /// Calls the last callbacks of connections that are over, within the bounds of an iteration.
    pub(super) fn finish_ends(&mut self) {
        let mut budget = CallbackBudget::new(self.begin_callbacks(), self.callback_limit);
        while let Some(id) = self.ends.pop_front() {
            if std::mem::take(&mut self.state.memory.awaits_ends) {
                budget = CallbackBudget::ENDLESS;
            }
            if !self.finish_end(id, &mut budget) {
                self.ends.push_back(id);
            }
            self.after_callbacks(id.slot);
            if budget.is_spent() {
                break;
            }
        }
    }

    /// Calls the last callbacks of all connections that are over.
    pub(super) fn finish_all_ends(&mut self) {
        let mut budget = CallbackBudget::ENDLESS;
        while let Some(id) = self.ends.pop_front() {
            if !self.finish_end(id, &mut budget) {
                self.ends.push_back(id);
            }
        }
    }

    /// Calls the last callbacks of a connection. False if there are more.
    fn finish_end(&mut self, id: ConnId, budget: &mut CallbackBudget) -> bool {
        let Some(connection) = self.table.get(id) else {
            return true;
        };
        if connection.life.is_closed() && !call_last_completions(connection, budget) {
            connection.charge_rings(&mut self.state);
            return false;
        }
        connection.burdens.set(Burdens::ENDING, false);
        if !connection.marks.has(Marks::TOLD_OF_END) {
            connection.marks.set(Marks::TOLD_OF_END, true);
            let service = &mut self.services[connection.service as usize].service;
            service.end(connection, &mut self.state);
            budget.count();
        }
        if connection.life.is_closed() {
            connection.marks.set(Marks::ON_CLOSED_LIST, true);
            self.closed.push(id.slot);
        }
        true
    }
}

/// Calls the completions of a connection that is removed.
pub(super) fn call_all_completions(connection: &mut Connection) {
    let mut budget = CallbackBudget::ENDLESS;
    while !call_last_completions(connection, &mut budget) {}
}

/// Calls completions of a connection that has ended: of messages that are with the kernel, then of those that are lost. False if
/// some are left.
fn call_last_completions(connection: &mut Connection, budget: &mut CallbackBudget) -> bool {
    let written = connection.output.written();
    let Some(extra) = &mut connection.extra else {
        return true;
    };
    for _ in 0..COMPLETIONS {
        if extra.completions.is_empty() {
            return true;
        }
        match extra.completions.pop_written(written) {
            Some(completion) => contain_call(|| completion.complete(SendOutcome::Written)),
            // Its drop tells the loss.
            None => contain_drop(extra.completions.pop()),
        }
        if budget.count() {
            break;
        }
    }
    extra.completions.is_empty()
}
