//! A graceful end: what has arrived is answered, what is pending is flushed, and a deadline bounds it all.

use std::time::Duration;

use crate::connection::{Draining, Phase};
use crate::handler::Cause;
use crate::loop_state::Due;

use super::Reactor;

/// Turns that a draining connection has to answer what has arrived, so that a peer which never stops talking ends too.
const DRAIN_TURNS: u8 = 8;

impl Reactor {
    /// Begins to drain: after `deadline` whatever is left is dropped.
    pub(crate) fn begin_drain(&mut self, deadline: Duration) {
        if self.draining {
            return;
        }
        // What was sent before the drain began is part of what is drained.
        self.read_mail();
        self.draining = true;
        self.state.schedule(deadline, Due::Drain);
        for slot in self.table.slots() {
            self.drain_connection(slot);
        }
    }

    /// Whether a drain has ended: nothing is left.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining && self.table.len() == 0
    }

    /// Gives a connection its last turns.
    pub(super) fn drain_connection(&mut self, slot: u32) {
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        if connection.phase == Phase::Open {
            connection.draining = Draining::Turns(DRAIN_TURNS);
            connection.readable = true;
            connection.drain_fully = true;
            self.state.queue(connection);
        }
    }

    /// After a turn of a draining connection: tells its handler once all that has arrived is answered.
    pub(super) fn advance_drain(&mut self, slot: u32) {
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        let Draining::Turns(turns) = connection.draining else {
            return;
        };
        if connection.phase != Phase::Open {
            connection.draining = Draining::Told;
            return;
        }
        if connection.has_work() && turns > 0 {
            connection.draining = Draining::Turns(turns - 1);
            return;
        }
        // A shut gate with input behind it opens again, or the deadline ends it.
        if !connection.gate.is_open() && connection.input.is_some() {
            return;
        }
        connection.draining = Draining::Told;
        let service = &mut self.services[connection.service as usize].service;
        service.shutdown(connection, &mut self.state);
        self.settle(slot);
    }

    /// The deadline has passed.
    pub(super) fn end_drain(&mut self) {
        for slot in self.table.slots() {
            if let Some(connection) = self.table.in_slot(slot) {
                connection.abort(Cause::Shutdown);
                self.settle(slot);
            }
        }
    }
}
