//! Queues of slots, which a slot leaves from anywhere in constant time. Nothing is allocated but room for a slot that is higher
//! than all before.

/// A queue whose members are linked by [`Links`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    first: Option<u32>,
    last: Option<u32>,
}

/// The neighbours of each slot in the queue that it stands in. Many queues may share the links, as a slot stands in one of them at
/// most.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Neighbours>);

#[derive(Clone, Copy, Debug, Default)]
struct Neighbours {
    before: Option<u32>,
    behind: Option<u32>,
}

impl Queue {
    pub(super) fn first(&self) -> Option<u32> {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl Links {
    /// Puts a slot at the end of a queue. It must not stand in one.
    pub(super) fn push_back(&mut self, queue: &mut Queue, slot: u32) {
        let index = slot as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Neighbours::default());
        }
        self.0[index] = Neighbours {
            before: queue.last,
            behind: None,
        };
        match queue.last.replace(slot) {
            Some(last) => self.0[last as usize].behind = Some(slot),
            None => queue.first = Some(slot),
        }
    }

    /// Takes a slot out of the queue that it stands in.
    pub(super) fn remove(&mut self, queue: &mut Queue, slot: u32) {
        let Neighbours { before, behind } = std::mem::take(&mut self.0[slot as usize]);
        match before {
            Some(before) => self.0[before as usize].behind = behind,
            None => queue.first = behind,
        }
        match behind {
            Some(behind) => self.0[behind as usize].before = before,
            None => queue.last = before,
        }
    }

    pub(super) fn pop_front(&mut self, queue: &mut Queue) -> Option<u32> {
        let first = queue.first?;
        self.remove(queue, first);
        Some(first)
    }

    /// The members of a queue, in order.
    #[cfg(test)]
    pub(super) fn members(&self, queue: &Queue) -> Vec<u32> {
        let behind = |slot: &u32| self.0[*slot as usize].behind;
        std::iter::successors(queue.first, behind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::Random;

    #[test]
    fn queues_keep_their_order_wherever_slots_leave() {
        let mut random = Random(7);
        let mut links = Links::default();
        let mut queues = [Queue::default(); 3];
        let mut expected: [Vec<u32>; 3] = Default::default();
        for _ in 0..10_000 {
            let slot = random.below(40) as u32;
            match expected.iter().position(|slots| slots.contains(&slot)) {
                Some(at) => {
                    links.remove(&mut queues[at], slot);
                    expected[at].retain(|it| *it != slot);
                }
                None => {
                    let at = random.below(3);
                    links.push_back(&mut queues[at], slot);
                    expected[at].push(slot);
                }
            }
            for (queue, expected) in queues.iter().zip(&expected) {
                assert_eq!(links.members(queue), *expected);
                assert_eq!(queue.first(), expected.first().copied());
                assert_eq!(queue.is_empty(), expected.is_empty());
            }
        }
        for slot in &expected[0] {
            assert_eq!(links.pop_front(&mut queues[0]), Some(*slot));
        }
        assert_eq!(links.pop_front(&mut queues[0]), None);
    }
}
