//! The wheel's invariants, checked from outside by unit tests, the model test and the fuzzer.

use super::{List, NIL, SLOTS, Wheel, level_for, slot_at};

impl<T> Wheel<T> {
    /// Asserts the wheel's invariants. For tests: it looks at every slot and every entry.
    ///
    /// # Panics
    /// If an invariant does not hold, which is a bug in the wheel.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        assert!(self.cursor <= self.now && self.now <= Self::LAST_TICK);
        if self.cascading != 0 {
            let slot = slot_at(self.cascading, self.cursor);
            assert_ne!(
                self.lists[usize::from(slot)].head,
                NIL,
                "the slot being cascaded"
            );
        }
        let mut linked = 0;
        for (level, &occupied) in self.occupied.iter().enumerate() {
            assert_eq!(
                (self.occupied_levels >> level) & 1 == 1,
                occupied != 0,
                "level {level}"
            );
            for digit in 0..SLOTS {
                let slot = (level as u32 * SLOTS + digit) as u16;
                let timers = self.check_list(slot);
                assert_eq!(
                    (occupied >> digit) & 1 == 1,
                    timers > 0,
                    "level {level} slot {digit}"
                );
                linked += timers;
            }
        }
        assert_eq!(linked, self.len(), "every live entry is linked once");
        self.entries.check_invariants();
    }

    /// Checks one slot's list, and counts it.
    fn check_list(&self, slot: u16) -> usize {
        let List { head, tail } = self.lists[usize::from(slot)];
        let being_cascaded = self.cascading != 0 && slot == slot_at(self.cascading, self.cursor);
        let (mut count, mut prev, mut index) = (0, NIL, head);
        while index != NIL {
            let entry = &self.entries[index];
            assert!(entry.value.is_some() && entry.deadline >= self.cursor);
            let link = self.entries.links[index as usize];
            assert_eq!((link.prev, entry.slot), (prev, slot), "entry {index}");
            if being_cascaded {
                assert_eq!(
                    slot,
                    slot_at(self.cascading, entry.deadline),
                    "entry {index} is in the slot's range"
                );
            } else {
                let level = level_for(self.cursor, entry.deadline);
                assert_eq!(slot, slot_at(level, entry.deadline), "entry {index}");
            }
            count += 1;
            assert!(count <= self.len(), "slot {slot} is a ring");
            (prev, index) = (index, link.next);
        }
        assert_eq!(tail, prev, "slot {slot}");
        count
    }
}
