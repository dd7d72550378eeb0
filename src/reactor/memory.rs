//! Keeps a worker within the bound on its memory: charges connections at the end of their turns, slows the ones that hold
//! most, and ends the [victims](crate::connection::victims).
//!
//! Slowing comes first, since it loses nothing: a connection with more than its share is not read, so that it cannot ask for
//! more output, nor send more input, while others finish. But a message that is not read cannot end, and if all wait, no
//! memory is ever freed. So after a while, its patience, the worker reads all connections again: then messages end and memory
//! is freed, or the bound is passed and the connections that hold most are ended.

use crate::connection::due::Due;
use crate::connection::gate::Gate;
use crate::connection::memory::Course;
use crate::connection::victims::{keep_bound, trim};

use super::Reactor;

impl Reactor {
    /// Charges a connection with what it holds after its turn, and keeps the worker within its bound.
    pub(super) fn charge(&mut self, slot: u32) {
        let connections = self.table.len();
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        connection.charge_rings(&mut self.state);
        connection.keep_share(&mut self.state, connections);
        self.keep_memory();
    }

    /// Slows connections or ends some, if the worker's memory is short.
    pub(super) fn keep_memory(&mut self) {
        if self.state.memory.must_slow() {
            self.slow_down();
        }
        keep_bound(&mut self.table, &mut self.state);
    }

    /// The worker's memory gets short: connections with more than their share are read no more for now.
    #[cold]
    fn slow_down(&mut self) {
        trim(&mut self.table, &mut self.state);
        if self.state.memory.is_ample() {
            return;
        }
        let patience = self.state.memory.patience();
        let timer = self.state.schedule(patience, Due::Memory);
        self.state.memory.course = Course::Slowed(timer);
        let connections = self.table.len();
        for connection in self.table.iter_mut() {
            connection.keep_share(&mut self.state, connections);
        }
    }

    /// The patience is over.
    #[cold]
    pub(super) fn lose_patience(&mut self) {
        self.state.memory.course = Course::PatienceLost;
        self.read_all_again();
    }

    /// There is memory enough again.
    #[cold]
    pub(super) fn calm_down(&mut self) {
        let before = std::mem::replace(&mut self.state.memory.course, Course::Calm);
        if let Course::Slowed(timer) = before {
            self.state.wheel.cancel(timer);
            self.read_all_again();
        }
    }

    fn read_all_again(&mut self) {
        for connection in self.table.iter_mut() {
            if connection.gate.has(Gate::MEMORY) {
                connection.listen_again(Gate::MEMORY, self.state.tick);
                self.state.queue(connection);
            }
        }
    }

    /// Moves on the connections that were ended.
    #[cold]
    pub(super) fn close_victims(&mut self) {
        for slot in std::mem::take(&mut self.state.memory.victims) {
            self.settle(slot);
        }
    }
}
