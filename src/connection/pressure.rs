//! Pressure of a full output: it holds input back until there is room again.

use super::Connection;
use super::gate::Gate;
use super::marks::Marks;

impl Connection {
    /// A message did not fit behind the pending output: holds input back until there is room for it, at the low-water mark, or
    /// with nothing pending if it was refused below that. A message that does not even fit into an empty output waits for
    /// nothing.
    pub(crate) fn await_room(&mut self, low_water: usize) {
        let pending = self.output.len();
        if pending > 0 && self.life.is_active() {
            self.marks.set(Marks::ROOM_WHEN_EMPTY, pending <= low_water);
            self.hold_back(Gate::PRESSURE);
        }
    }

    /// True if the output has fallen to the low-water mark, or is empty if only that makes room.
    pub(crate) fn has_room(&self, low_water: usize) -> bool {
        let is_low = self.output.len() <= low_water;
        is_low && (self.output.is_empty() || !self.marks.has(Marks::ROOM_WHEN_EMPTY))
    }
}
