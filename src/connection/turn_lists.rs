//! The lists of a worker's connections that wait for a turn, in the order in which an iteration serves them.

use super::Connection;
use super::burdens::Burdens;
use super::fair_queue::FairQueue;
use super::marks::Marks;

/// Each connection stands on one of the lists at most, and has [`Marks::ON_READY_LIST`] while it does.
#[derive(Debug, Default)]
pub(crate) struct TurnLists {
    /// Ready list: slots of light connections that have work left which no event will announce. An iteration serves them all.
    pub(crate) ready: Vec<u32>,
    /// Light connections whose event came when the iteration was [full](crate::protocol::TurnBudget::is_iteration_full).
    pub(crate) deferred: FairQueue,
    /// Connections that are [too new](Connection::is_unproven) to be served at once, and had an event.
    pub(crate) unproven: FairQueue,
    /// [Heavy](Burdens::HEAVY) connections that had an event. Most are done after one turn.
    pub(crate) heavy: FairQueue,
    /// Heavy connections whose last turn has left work. They may need many more turns, so they come behind those that need few.
    pub(crate) unfinished: FairQueue,
}

impl TurnLists {
    /// True if no connection waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.deferred.is_empty()
            && self.unproven.is_empty()
            && !self.has_heavy()
    }

    /// True if a heavy connection waits.
    #[inline]
    pub(crate) fn has_heavy(&self) -> bool {
        !self.heavy.is_empty() || !self.unfinished.is_empty()
    }

    /// Number of waiting connections that an iteration need not serve all.
    pub(crate) fn postponed(&self) -> usize {
        self.deferred.len() + self.unproven.len() + self.heavy.len() + self.unfinished.len()
    }

    /// Has a connection wait for its turn among those of its weight.
    #[inline]
    pub(super) fn add(&mut self, connection: &mut Connection) {
        if !enlist(connection) {
            return;
        }
        match connection.burdens.has(Burdens::HEAVY) {
            true => self.heavy.push(connection),
            false => self.ready.push(connection.id.slot),
        }
    }

    /// Has a light connection wait for the next iteration, because this one is full.
    pub(super) fn add_deferred(&mut self, connection: &mut Connection) {
        if enlist(connection) {
            self.deferred.push(connection);
        }
    }

    /// Has a new connection wait for its turn.
    pub(super) fn add_unproven(&mut self, connection: &mut Connection) {
        if enlist(connection) {
            self.unproven.push(connection);
        }
    }

    /// Has a connection wait for another turn, because the last one has left work.
    pub(super) fn add_unfinished(&mut self, connection: &mut Connection) {
        if !connection.burdens.has(Burdens::HEAVY) {
            return self.add(connection);
        }
        if enlist(connection) {
            self.unfinished.push(connection);
        }
    }
}

/// Marks a connection as listed. False if it was already.
#[inline]
fn enlist(connection: &mut Connection) -> bool {
    let is_new = !connection.marks.has(Marks::ON_READY_LIST);
    connection.marks.set(Marks::ON_READY_LIST, true);
    is_new
}
