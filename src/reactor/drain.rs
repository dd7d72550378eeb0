//! The drain of a server that shuts down: input that has arrived is answered, output is flushed, and a deadline bounds both.

use std::collections::HashMap;
use std::time::Duration;

use crate::connection::Draining;
use crate::connection::close_reason::Cause;
use crate::connection::due::Due;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lag::Lag;

use super::Reactor;

/// A drain that is under way.
pub(super) struct Drain {
    /// Count of received bytes, by slot, at which the handler is told of the end. All that can have arrived when the
    /// drain began lies below it, so even a peer that never stops talking is ended.
    targets: HashMap<u32, u64>,
    /// Mail from before the drain is not carried out yet; connections are told after that.
    awaits_mail: bool,
}

impl Reactor {
    /// Begins to drain. Connections that are left after `deadline` are dropped.
    pub(crate) fn begin_drain(&mut self, deadline: Duration) {
        if self.drain.is_some() {
            return;
        }
        self.state.schedule(deadline, Due::Drain);
        for slot in &mut self.services {
            slot.service.note_mail();
        }
        self.drain = Some(Drain {
            targets: HashMap::new(),
            awaits_mail: true,
        });
        self.advance_mail_of_drain();
    }

    /// Lets connections answer what has arrived, once the mail from before the drain is carried out within the usual budgets.
    pub(super) fn advance_mail_of_drain(&mut self) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        let has_mail = self
            .services
            .iter()
            .any(|slot| slot.service.has_noted_mail());
        if !drain.awaits_mail || has_mail {
            return;
        }
        drain.awaits_mail = false;
        for id in self.table.ids() {
            self.drain_connection(id.slot);
        }
    }

    /// True once a drain has ended: no connection is left, and no mail from before.
    pub(crate) fn is_drained(&self) -> bool {
        let is_over = |drain: &Drain| !drain.awaits_mail && self.table.len() == 0;
        self.drain.as_ref().is_some_and(is_over)
    }

    /// Lets a connection answer what has arrived.
    pub(super) fn drain_connection(&mut self, slot: u32) {
        let (Some(drain), Some(connection)) = (&mut self.drain, self.table.in_slot(slot)) else {
            return;
        };
        if connection.life.is_active() && !drain.awaits_mail {
            let arrived = connection.output.stream().receive_capacity();
            drain
                .targets
                .insert(slot, connection.received.saturating_add(arrived as u64));
            connection.draining = Draining::Answering;
            if matches!(connection.lag(), Lag::Waiting(_)) {
                // Its publishers must not miss their own time. Those who lag from now on are waited for as ever.
                let service = &mut self.services[connection.service as usize].service;
                service.wait_no_longer(connection, &mut self.state);
            }
            connection.readable = true;
            connection.drain_fully = true;
            self.state.queue(connection);
        }
    }

    /// After a turn of a draining connection: tells its handler once all that has arrived is answered.
    pub(super) fn advance_drain(&mut self, slot: u32) {
        let (Some(drain), Some(connection)) = (&mut self.drain, self.table.in_slot(slot)) else {
            return;
        };
        let is_behind = drain
            .targets
            .get(&slot)
            .is_some_and(|target| connection.received - (connection.kept() as u64) < *target);
        let is_active = connection.life.is_active();
        // Input behind a shut gate is answered when the gate opens, unless the deadline ends it before. A handler that has
        // paused reading has an answer to give, and resumes.
        let has_more = connection.input.is_some() || connection.readable;
        let held_back =
            connection.gate.has(Gate::PAUSED) || (connection.gate.has(Gate::PASSING) && has_more);
        if is_active && (held_back || (is_behind && connection.has_work())) {
            return;
        }
        drain.targets.remove(&slot);
        connection.draining = Draining::Told;
        let is_closing = connection.life.is_parting() || connection.is_finishing();
        if is_active && !is_closing {
            let service = &mut self.services[connection.service as usize].service;
            service.shutdown(connection, &mut self.state);
            self.settle(slot);
        }
    }

    /// The deadline has passed.
    pub(super) fn end_drain(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.awaits_mail = false;
        }
        for slot in &mut self.services {
            slot.service.give_up_mail(&mut self.table, &mut self.state);
        }
        for ConnId { slot, .. } in self.table.ids() {
            if let Some(connection) = self.table.in_slot(slot) {
                // Output that the kernel has is sent while the peer reads; if any is lost, the peer sees a reset.
                connection.end_now(Cause::Shutdown);
                self.settle(slot);
            }
        }
    }
}
