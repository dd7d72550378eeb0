//! The timing wheel together with its model, a sorted map, under a virtual clock.
//!
//! The property tests (`tests/time/wheel.rs`) and the fuzz target `wheel` drive it with operations that they generate.

use std::collections::{BTreeMap, HashMap, HashSet};

use ringwheel::internal::TimerKey;
pub use ringwheel::internal::Wheel;

/// The most keys kept for operations. Further keys replace older ones, live or stale.
const KEYS: usize = 2_048;

/// The tick at which a timer fires, and its rank among the timers of that tick.
type Place = (u64, u64);

/// A wheel and its model. Every operation is applied to both and asserts that both return the same: the same timers at
/// the same tick in the same order, none early, none late, and stale keys have no effect.
///
/// An operation picks its timer by a number modulo the count of kept keys, which may be live or stale.
#[derive(Default)]
pub struct CheckedWheel {
    wheel: Wheel<u64>,
    /// The model: all live timers in the order in which they fire.
    armed: BTreeMap<Place, TimerKey>,
    /// The place and the value of each live timer.
    places: HashMap<TimerKey, (Place, u64)>,
    now: u64,
    /// True if the last round popped all due timers, without running out of budget.
    is_drained: bool,
    /// Counts the arming of timers.
    arming: u64,
    /// Counts the values.
    value: u64,
    /// Every key that was ever returned.
    issued: HashSet<TimerKey>,
    keys: Vec<TimerKey>,
    fired: usize,
}

impl CheckedWheel {
    pub fn new() -> Self {
        Self::default()
    }

    /// The current tick of the virtual clock.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The number of timers that have fired so far.
    pub fn fired(&self) -> usize {
        self.fired
    }

    /// The deadline of the timer with this number, if it is live.
    pub fn deadline(&self, number: usize) -> Option<u64> {
        self.wheel.deadline(self.key(number)?)
    }

    pub fn insert(&mut self, deadline: u64) {
        self.value += 1;
        let key = self.wheel.insert(deadline, self.value);
        assert!(self.issued.insert(key), "{key:?} names two timers");
        self.arm(key, deadline, self.value);
        if self.keys.len() < KEYS {
            self.keys.push(key);
        } else {
            self.keys[self.value as usize * 31 % KEYS] = key;
        }
    }

    pub fn cancel(&mut self, number: usize) {
        let Some(key) = self.key(number) else { return };
        self.inspect(key);
        assert_eq!(self.wheel.cancel(key), self.disarm(key));
        self.inspect(key);
    }

    pub fn rearm(&mut self, number: usize, deadline: u64) {
        let Some(key) = self.key(number) else { return };
        let value = self.disarm(key);
        assert_eq!(self.wheel.rearm(key, deadline), value.is_some());
        match value {
            Some(value) => self.arm(key, deadline, value),
            None => self.inspect(key),
        }
    }

    /// Moves the clock on by `ticks`, and pops due timers as far as the budget goes.
    pub fn advance(&mut self, ticks: u64, budget: usize) {
        self.pop(self.now.saturating_add(ticks), budget);
    }

    /// Moves the clock to the tick at which the wheel wants to be polled again, and pops all due timers.
    pub fn sleep(&mut self) {
        let next = self.wheel.next_expiry();
        self.pop(next.unwrap_or(self.now), usize::MAX);
    }

    /// Polls as if the clock had gone back by `ticks`. This may pop timers that are still due, and must change nothing
    /// else.
    pub fn go_back(&mut self, ticks: u64) {
        self.pop(self.now.saturating_sub(ticks), usize::MAX);
    }

    /// Fires all timers except those at `u64::MAX`, which never fire.
    pub fn finish(&mut self) {
        self.advance(u64::MAX, usize::MAX);
        self.compare();
        assert!(self.armed.keys().all(|&(deadline, _)| deadline == u64::MAX));
    }

    /// Compares all state that can be read without a key.
    pub fn compare(&self) {
        assert_eq!(self.wheel.now(), self.now);
        assert_eq!(self.wheel.len(), self.armed.len());
        assert_eq!(self.wheel.is_empty(), self.armed.is_empty());
        match (self.wheel.next_expiry(), self.armed.first_key_value()) {
            (None, None) => {}
            (Some(tick), Some((&(deadline, _), _))) => {
                assert!(tick <= deadline, "an expiry is skipped");
                assert!(!self.is_drained || tick > self.now, "a needless wake-up");
            }
            (tick, first) => panic!("next expiry {tick:?} but first timer {first:?}"),
        }
    }

    /// Checks every slot and every entry of the wheel.
    pub fn check_invariants(&self) {
        self.wheel.check_invariants();
    }

    fn key(&self, number: usize) -> Option<TimerKey> {
        self.keys.get(number % self.keys.len().max(1)).copied()
    }

    fn arm(&mut self, key: TimerKey, deadline: u64, value: u64) {
        self.arming += 1;
        let place = (deadline.max(self.now + 1), self.arming);
        self.armed.insert(place, key);
        self.places.insert(key, (place, value));
        self.inspect(key);
    }

    fn disarm(&mut self, key: TimerKey) -> Option<u64> {
        let (place, value) = self.places.remove(&key)?;
        self.armed
            .remove(&place)
            .expect("an armed timer has a place");
        Some(value)
    }

    /// Compares all state that can be read with a key.
    fn inspect(&self, key: TimerKey) {
        let known = self.places.get(&key);
        assert_eq!(self.wheel.contains(key), known.is_some());
        assert_eq!(self.wheel.peek(key), known.map(|(_, value)| value));
        let deadline = known.map(|((deadline, _), _)| *deadline);
        assert_eq!(self.wheel.deadline(key), deadline);
    }

    /// Pops as far as the budget goes. Now and then it operates on the wheel in between, as callbacks do.
    fn pop(&mut self, now: u64, mut budget: usize) {
        self.now = self.now.max(now.min(Wheel::<u64>::LAST_TICK));
        let mut most = budget;
        while let Some((key, value)) = self.wheel.pop_expired_within(now, &mut budget) {
            most -= 1;
            assert!(budget <= most, "a pop costs at least one");
            let first = self.armed.first_key_value();
            let (&(deadline, _), &first) =
                first.expect("the wheel has a timer that the model has not");
            assert!(deadline <= self.now, "{key:?} is early");
            assert_eq!((key, Some(value)), (first, self.disarm(first)));
            self.inspect(key);
            self.fired += 1;
            match value % 16 {
                0 => self.insert(self.now),
                1 => self.insert(deadline.saturating_add(10)),
                2 => self.insert(self.now.saturating_add(value % 10_000)),
                3 => self.cancel(value as usize),
                4 => self.rearm(value as usize, self.now.saturating_add(value % 100)),
                _ => {}
            }
        }
        self.is_drained = budget > 0;
        let first = self.armed.first_key_value();
        let is_late = first.is_some_and(|(&(deadline, _), _)| deadline <= self.now);
        assert!(!self.is_drained || !is_late, "a timer is late");
    }
}
