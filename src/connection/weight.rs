//! The weight of a connection: one whose turn did much work is heavy, and takes its turns behind those that do little.

use std::time::Duration;

use super::Connection;
use super::burdens::Burdens;
use super::loop_state::LoopState;

/// The time for which a connection stays heavy after a turn with much work. Without it a peer could send one
/// short message between two floods, and have each flood handled among the light connections. The simulation has a shorter time.
const MEMORY: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(10)
};

impl Connection {
    /// Notes the work of the turn so far, and makes the connection heavy or light accordingly.
    pub(crate) fn note_turn(&mut self, state: &LoopState) {
        if state.budget.is_heavy() {
            return self.note_heavy_turn(state);
        }
        let extra = self.extra.as_ref();
        if extra.is_none_or(|extra| extra.heavy_until <= state.tick) {
            self.burdens.set(Burdens::HEAVY, false);
        }
    }

    /// Notes that a turn does much work.
    #[cold]
    pub(crate) fn note_heavy_turn(&mut self, state: &LoopState) {
        self.burdens.set(Burdens::HEAVY, true);
        self.extra_or_new().heavy_until = state.deadline(MEMORY);
    }
}
