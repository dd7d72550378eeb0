//! Checks of the order in which connections have their turns.

use crate::connection::burdens::Burdens;
use crate::connection::fair_queue::FairQueue;
use crate::connection::id::ConnId;
use crate::reactor::turns::HEAVY_TURNS;

use super::BUDGET;
use super::world::World;

impl World {
    pub(super) fn is_heavy(&mut self, token: usize) -> bool {
        let connection = self.reactor.table.by_token(token);
        connection.is_some_and(|connection| connection.burdens.has(Burdens::HEAVY))
    }

    /// Checks the turns of heavy connections in the iteration that has ended. Both lists are those before it.
    pub(super) fn check_turns_of_heavy(&mut self, had_event: &FairQueue, unfinished: &FairQueue) {
        let served = std::mem::take(&mut self.reactor.served);
        if served.is_empty() {
            return;
        }
        if self.reactor.state.turns.has_heavy() {
            self.book.open().tally.count("heavy connections wait");
        }
        self.check_work_of_heavy(&served);
        self.check_order_of_heavy(&served, had_event, unfinished);
    }

    /// Checks that heavy connections do no more work than their budget, and a last turn that passes it. If the first turn was that of an
    /// unfinished connection, it has a whole turn of the budget, and may pass that, too.
    fn check_work_of_heavy(&mut self, served: &[(ConnId, usize)]) {
        let before_last = &served[..served.len() - 1];
        let work: usize = before_last.iter().map(|(_, work)| work).sum();
        let first = before_last.first().map_or(0, |(_, work)| *work);
        let is_bounded = work < HEAVY_TURNS * BUDGET || work - first < (HEAVY_TURNS - 1) * BUDGET;
        self.book.open().claim(is_bounded, || {
            format!("heavy connections do work of {work} and more in one iteration")
        });
    }

    /// Checks that the connections that had an event come before those that were left unfinished, except for one of these.
    fn check_order_of_heavy(
        &mut self,
        served: &[(ConnId, usize)],
        had_event: &FairQueue,
        unfinished: &FairQueue,
    ) {
        let has_turn = |id: &ConnId| served.iter().any(|(other, _)| other == id);
        let waiting = &self.reactor.state.turns.heavy;
        let is_overtaken = had_event
            .iter()
            .any(|id| waiting.contains(id) && !has_turn(id));
        let overtaking = unfinished.iter().filter(|id| has_turn(id)).count();
        let mut ledger = self.book.open();
        ledger.claim(!is_overtaken || overtaking <= 1, || {
            format!("{overtaking} unfinished connections have turns before one that had an event")
        });
        if is_overtaken && overtaking == 1 {
            ledger.tally.count("unfinished connection goes on first");
        }
    }
}
