//! The timing wheel against a sorted map: no timer early, lost, or twice, and no stale key that does anything.

use std::collections::{BTreeMap, HashMap};

use arbitrary::Arbitrary;
use ringwheel::wheel::{TimerKey, Wheel};

use crate::input::plan;

/// More operations than this teach the fuzzer nothing.
const MAX_OPERATIONS: usize = 300;

#[derive(Arbitrary, Debug)]
enum Operation {
    Insert(When),
    /// Of the key with this number, modulo how many there are: live or stale.
    Cancel(u8),
    Rearm(u8, When),
    /// The clock goes on, and all that is due is popped.
    Advance(Step),
    /// The clock goes on, and what is due is popped as far as a budget goes.
    AdvanceWithin(Step, u8),
    /// The clock goes to where the wheel says that something is to be done.
    Sleep,
    /// The clock goes back, which must change nothing.
    Back(u16),
}

#[derive(Arbitrary, Debug)]
enum When {
    Past(u16),
    Soon(u8),
    In(u32),
    At(u64),
    /// So many bits from now, and a little more or less.
    Far(u8, i8),
    /// That of an earlier timer.
    Same(u8),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Short(u8),
    Long(u32),
    Bits(u8),
}

impl Step {
    fn ticks(&self) -> u64 {
        match *self {
            Step::Short(ticks) => ticks.into(),
            Step::Long(ticks) => ticks.into(),
            Step::Bits(bits) => 1 << (bits % 64),
        }
    }
}

/// The wheel, and what it should be.
#[derive(Default)]
struct Pair {
    wheel: Wheel<u32>,
    /// All live timers in the order in which they fire: by deadline and arming.
    armed: BTreeMap<(u64, u32), TimerKey>,
    /// The place of each live timer, and its value.
    places: HashMap<TimerKey, ((u64, u32), u32)>,
    /// Every key that was ever handed out, by value.
    keys: Vec<TimerKey>,
    now: u64,
    /// Numbers the arming of timers.
    arming: u32,
    /// The last round popped all that was due.
    is_drained: bool,
}

/// The target.
pub fn run(data: &[u8]) {
    let Some(operations) = plan::<Vec<Operation>>(data) else {
        return;
    };
    let mut pair = Pair::default();
    for operation in operations.iter().take(MAX_OPERATIONS) {
        pair.apply(operation);
        pair.compare();
        pair.wheel.check_invariants();
    }
    // What is left fires, but for what never does.
    pair.pop(u64::MAX, usize::MAX);
    pair.compare();
    assert!(pair.armed.keys().all(|&(deadline, _)| deadline == u64::MAX));
}

impl Pair {
    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Insert(ref when) => self.insert(self.tick(when)),
            Operation::Cancel(number) => self.cancel(number),
            Operation::Rearm(number, ref when) => self.rearm(number, self.tick(when)),
            Operation::Advance(ref step) => {
                self.pop(self.now.saturating_add(step.ticks()), usize::MAX);
            }
            Operation::AdvanceWithin(ref step, budget) => {
                self.pop(self.now.saturating_add(step.ticks()), budget.into());
            }
            Operation::Sleep => {
                let next = self.wheel.next_expiry();
                self.pop(next.unwrap_or(self.now), usize::MAX);
            }
            Operation::Back(ticks) => {
                self.pop(self.now.saturating_sub(ticks.into()), usize::MAX);
            }
        }
    }

    fn tick(&self, when: &When) -> u64 {
        match *when {
            When::Past(ticks) => self.now.saturating_sub(ticks.into()),
            When::Soon(ticks) => self.now.saturating_add(ticks.into()),
            When::In(ticks) => self.now.saturating_add(ticks.into()),
            When::At(tick) => tick,
            When::Far(bits, more) => {
                let far = self.now.saturating_add(1 << (bits % 64));
                far.saturating_add_signed(more.into())
            }
            When::Same(number) => self
                .key(number)
                .and_then(|key| self.wheel.deadline(key))
                .unwrap_or(self.now),
        }
    }

    fn key(&self, number: u8) -> Option<TimerKey> {
        self.keys
            .get(usize::from(number) % self.keys.len().max(1))
            .copied()
    }

    fn insert(&mut self, deadline: u64) {
        let value = self.keys.len() as u32;
        let key = self.wheel.insert(deadline, value);
        assert!(!self.keys.contains(&key), "{key:?} names two timers");
        self.keys.push(key);
        self.arm(key, deadline, value);
    }

    fn arm(&mut self, key: TimerKey, deadline: u64, value: u32) {
        self.arming += 1;
        let place = (deadline.max(self.now + 1), self.arming);
        self.armed.insert(place, key);
        self.places.insert(key, (place, value));
        self.inspect(key);
    }

    fn disarm(&mut self, key: TimerKey) -> Option<u32> {
        let (place, value) = self.places.remove(&key)?;
        self.armed.remove(&place);
        Some(value)
    }

    fn cancel(&mut self, number: u8) {
        if let Some(key) = self.key(number) {
            assert_eq!(self.wheel.cancel(key), self.disarm(key));
            self.inspect(key);
        }
    }

    fn rearm(&mut self, number: u8, deadline: u64) {
        let Some(key) = self.key(number) else { return };
        let value = self.disarm(key);
        assert_eq!(self.wheel.rearm(key, deadline), value.is_some());
        match value {
            Some(value) => self.arm(key, deadline, value),
            None => self.inspect(key),
        }
    }

    fn inspect(&self, key: TimerKey) {
        let known = self.places.get(&key);
        assert_eq!(self.wheel.contains(key), known.is_some());
        assert_eq!(self.wheel.peek(key), known.map(|(_, value)| value));
        let deadline = known.map(|((deadline, _), _)| *deadline);
        assert_eq!(self.wheel.deadline(key), deadline);
    }

    /// Pops as far as the budget goes, and from time to time operates on the wheel in between, as callbacks do.
    fn pop(&mut self, now: u64, mut budget: usize) {
        self.now = self.now.max(now.min(Wheel::<u32>::LAST_TICK));
        let mut most = budget;
        while let Some((key, value)) = self.wheel.pop_expired_within(now, &mut budget) {
            most -= 1;
            assert!(budget <= most, "a pop costs at least one");
            let first = self.armed.first_key_value();
            let (&(deadline, _), &first) = first.expect("a timer too many");
            assert!(deadline <= self.now, "{key:?} is early");
            assert_eq!((key, Some(value)), (first, self.disarm(first)));
            self.inspect(key);
            match value % 8 {
                0 => self.insert(self.now),
                1 => self.cancel(value as u8),
                2 => self.rearm(value as u8, self.now.saturating_add(value.into())),
                _ => {}
            }
        }
        self.is_drained = budget > 0;
        let first = self.armed.first_key_value();
        let is_late = first.is_some_and(|(&(deadline, _), _)| deadline <= self.now);
        assert!(!self.is_drained || !is_late, "a timer is late");
    }

    fn compare(&self) {
        assert_eq!(self.wheel.now(), self.now);
        assert_eq!(self.wheel.len(), self.armed.len());
        assert_eq!(self.wheel.is_empty(), self.armed.is_empty());
        let first = self.armed.first_key_value();
        match (self.wheel.next_expiry(), first) {
            (None, None) => {}
            (Some(tick), Some((&(deadline, _), _))) => {
                assert!(tick <= deadline, "an expiry is skipped");
                assert!(!self.is_drained || tick > self.now, "a vain wake-up");
            }
            (tick, first) => panic!("next expiry {tick:?} but first timer {first:?}"),
        }
    }
}
