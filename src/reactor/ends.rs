//! The ends of connections: the completions that are left are called, then the handler is told, then the connection is removed.
//!
//! A connection that is over cannot be slowed down to pay for its callbacks, and thousands may end in one moment. So the callbacks
//! of all ends have a common time in each iteration of the loop, and connections that have many completions take turns with the
//! others.

use crate::connection::Connection;
use crate::connection::burdens::Burdens;
use crate::connection::callback_time::CallbackTime;
use crate::connection::completion::SendOutcome;
use crate::connection::id::ConnId;
use crate::connection::lifecycle::Stage;
use crate::connection::marks::Marks;
use crate::panics::{contain_call, contain_drop};

use super::Reactor;
use super::closing::release_handles;

/// Number of completions of one connection that are called before those of the next.
const COMPLETIONS: usize = 64;

/// The bounds of the callbacks that ended connections have in an iteration.
#[derive(Clone, Copy)]
struct Allowance {
    time: CallbackTime,
    callbacks: usize,
}

impl Allowance {
    fn without_bounds() -> Self {
        Allowance {
            time: CallbackTime::ENDLESS,
            callbacks: usize::MAX,
        }
    }

    /// Counts a callback. True if the next one must wait for another iteration.
    fn is_over_after_one(&mut self) -> bool {
        self.callbacks = self.callbacks.saturating_sub(1);
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.callbacks == 0 || self.time.is_over()
    }
}

/// True if callbacks of the connection's end are to come, and it is not listed for them.
pub(super) fn has_unlisted_end(connection: &Connection) -> bool {
    let is_untold =
        connection.life.stage() != Stage::Open && !connection.marks.has(Marks::TOLD_OF_END);
    let is_unremoved = connection.life.is_closed() && !connection.marks.has(Marks::ON_CLOSED_LIST);
    (is_untold || is_unremoved) && !connection.burdens.has(Burdens::ENDING)
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
        let mut allowance = Allowance {
            time: self.begin_callbacks(),
            callbacks: self.end_budget,
        };
        while let Some(id) = self.ends.pop_front() {
            if std::mem::take(&mut self.state.memory.awaits_ends) {
                allowance = Allowance::without_bounds();
            }
            if !self.finish_end(id, &mut allowance) {
                self.ends.push_back(id);
            }
            self.after_callbacks(id.slot);
            if allowance.is_over() {
                break;
            }
        }
    }

    /// Calls the last callbacks of all connections that are over.
    pub(super) fn finish_all_ends(&mut self) {
        while let Some(id) = self.ends.pop_front() {
            if !self.finish_end(id, &mut Allowance::without_bounds()) {
                self.ends.push_back(id);
            }
        }
    }

    /// Calls the last callbacks of a connection. False if there are more.
    fn finish_end(&mut self, id: ConnId, allowance: &mut Allowance) -> bool {
        let Some(connection) = self.table.get(id) else {
            return true;
        };
        if connection.life.is_closed() && !call_last_completions(connection, allowance) {
            connection.charge_rings(&mut self.state);
            return false;
        }
        connection.burdens.set(Burdens::ENDING, false);
        if !connection.marks.has(Marks::TOLD_OF_END) {
            connection.marks.set(Marks::TOLD_OF_END, true);
            let service = &mut self.services[connection.service as usize].service;
            service.end(connection, &mut self.state);
            allowance.is_over_after_one();
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
    while !call_last_completions(connection, &mut Allowance::without_bounds()) {}
}

/// Calls completions of a connection that has ended: of messages that are with the kernel, then of those that are lost. False if
/// some are left.
fn call_last_completions(connection: &mut Connection, allowance: &mut Allowance) -> bool {
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
        if allowance.is_over_after_one() {
            break;
        }
    }
    extra.completions.is_empty()
}
