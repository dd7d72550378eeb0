//! The checks of a drain: no subscriber is told of it before the others have answered, and none waits too long for that.

use crate::connection::Draining;
use crate::connection::gate::Gate;
use crate::connection::lag::Lag;

use super::DRAIN;
use super::ledger::{Ledger, ticks, ticks_up};
use super::world::World;

impl Ledger {
    /// Checks, if this is posted in answer to input that had arrived before the drain, that no subscriber was told of the drain: it
    /// may have closed.
    pub(super) fn claim_nobody_misses(&mut self, service: usize, topic: usize) {
        let is_time = self.drain_waits_until.is_some_and(|until| self.now < until);
        let Some(poster) = self.poster.filter(|_| is_time && self.answers) else {
            return;
        };
        let record = &self.records[poster];
        if record.heard > record.arrived_by_drain {
            return;
        }
        self.tally.count("publication in a drain");
        let mut others = (0..self.records.len()).filter(|number| {
            let record = &self.records[*number];
            record.service == service && record.told.contains(&topic)
        });
        if let Some(other) = others.next() {
            self.claim(false, || {
                format!("{other} is told of the drain before {poster} has answered, whose publication it may miss")
            });
        }
    }
}

impl World {
    /// Checks that subscribers wait for connections that are held back until half of the drain's time is over, and for others until
    /// three quarters of it are.
    pub(super) fn check_drain(&mut self) {
        self.reactor.check_drain();
        let Some(drain) = self.drain_due else {
            return;
        };
        let now = ticks(self.now());
        let is_past = |time| now > ticks_up(drain.set + time) + 1;
        let may_last = Gate::LASTING;
        let (mut is_awaited, mut waits) = (false, false);
        for connection in self.reactor.table.iter_mut() {
            let is_answering = connection.draining == Draining::Answering;
            is_awaited |= is_answering && !connection.gate.has(may_last);
            let lags = matches!(connection.lag(), Lag::Waiting(_));
            waits |= connection.draining == Draining::Answered && !lags;
        }
        if waits {
            self.book.open().tally.count("subscriber waits in a drain");
        }
        // It is told in its next turn, which may come behind those of other connections.
        let has_its_turn = !self.reactor.state.turns.is_empty();
        // The mail that answers have led to is carried out within its budgets.
        let awaits_nobody = !is_awaited && !self.shared.has_mail();
        let is_late = is_past(DRAIN * 3 / 4) || (is_past(DRAIN / 2) && awaits_nobody);
        assert!(
            !waits || !is_late || has_its_turn,
            "a subscriber waits in the drain for connections that are held back"
        );
    }
}
