//! The timing wheel against a sorted map, under a virtual clock.
//!
//! Both are put through the same operations, and after each of them the wheel must answer as the
//! map does: the same timers at the same tick in the same order, none early, none late, and no
//! stale key that does anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringwheel::wheel::{TimerKey, Wheel};

/// The most keys kept to operate on. Keys beyond replace older ones, live or stale.
const KEYS: usize = 2_048;

#[derive(Clone, Debug)]
enum Op {
    Insert(When),
    /// Of the key with this number, modulo how many there are: live or stale.
    Cancel(usize),
    Rearm(usize, When),
    /// The clock goes on, and all that is due is popped.
    Advance(u64),
    /// The clock goes on, and what is due is popped as far as a budget goes.
    AdvanceWithin(u64, usize),
    /// The clock goes back, which must change nothing.
    Back(u64),
}

#[derive(Clone, Debug)]
enum When {
    /// Ticks before now.
    Past(u64),
    /// Ticks after now.
    In(u64),
    At(u64),
}

/// When a timer fires and its place among those of the same tick.
type Place = (u64, u64);

#[derive(Default)]
struct Pair {
    wheel: Wheel<u64>,
    /// The model: all live timers in the order in which they fire.
    armed: BTreeMap<Place, TimerKey>,
    places: HashMap<TimerKey, (Place, u64)>,
    now: u64,
    /// The last round popped all that was due: no budget cut it off.
    drained: bool,
    /// Numbers the arming of timers.
    arming: u64,
    /// Numbers the values.
    value: u64,
    /// Every key that was ever handed out.
    issued: HashSet<TimerKey>,
    keys: Vec<TimerKey>,
    fired: usize,
}

impl Pair {
    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Insert(ref when) => self.insert(self.tick(when)),
            Op::Cancel(number) => self.cancel(number),
            Op::Rearm(number, ref when) => self.rearm(number, self.tick(when)),
            Op::Advance(step) => self.advance(step, usize::MAX),
            Op::AdvanceWithin(step, budget) => self.advance(step, budget),
            Op::Back(step) => self.pop(self.now.saturating_sub(step), usize::MAX),
        }
        self.compare();
    }

    fn tick(&self, when: &When) -> u64 {
        match *when {
            When::Past(ticks) => self.now.saturating_sub(ticks),
            When::In(ticks) => self.now.saturating_add(ticks),
            When::At(tick) => tick,
        }
    }

    fn insert(&mut self, deadline: u64) {
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

    fn cancel(&mut self, number: usize) {
        let Some(key) = self.key(number) else { return };
        self.inspect(key);
        assert_eq!(self.wheel.cancel(key), self.disarm(key));
        self.inspect(key);
    }

    fn rearm(&mut self, number: usize, deadline: u64) {
        let Some(key) = self.key(number) else { return };
        let value = self.disarm(key);
        assert_eq!(self.wheel.rearm(key, deadline), value.is_some());
        match value {
            Some(value) => self.arm(key, deadline, value),
            None => self.inspect(key),
        }
    }

    fn key(&self, number: usize) -> Option<TimerKey> {
        self.keys.get(number % self.keys.len().max(1)).copied()
    }

    fn inspect(&self, key: TimerKey) {
        let known = self.places.get(&key);
        assert_eq!(self.wheel.contains(key), known.is_some());
        assert_eq!(self.wheel.peek(key), known.map(|(_, value)| value));
        assert_eq!(
            self.wheel.deadline(key),
            known.map(|&((deadline, _), _)| deadline)
        );
    }

    fn advance(&mut self, step: u64, budget: usize) {
        self.now = self.now.saturating_add(step).min(Wheel::<u64>::LAST_TICK);
        self.pop(self.now, budget);
    }

    /// Pops until there is no more, and from time to time operates on the wheel in between, as
    /// callbacks do.
    fn pop(&mut self, now: u64, mut budget: usize) {
        let mut most = budget;
        while let Some((key, value)) = self.wheel.pop_expired_within(now, &mut budget) {
            most -= 1;
            assert!(budget <= most, "a pop costs at least one");
            let (&(deadline, _), &first) = self.armed.first_key_value().expect("a timer too many");
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
        self.drained = budget > 0;
        if self.drained {
            let first = self.armed.first_key_value();
            assert!(
                first.is_none_or(|(&(deadline, _), _)| deadline > self.now),
                "a timer is late"
            );
        }
    }

    fn compare(&self) {
        assert_eq!(self.wheel.now(), self.now);
        assert_eq!(self.wheel.len(), self.armed.len());
        assert_eq!(self.wheel.is_empty(), self.armed.is_empty());
        let next_expiry = self.wheel.next_expiry();
        assert!(
            !self.drained || next_expiry.is_none_or(|tick| tick > self.now),
            "a vain wake-up"
        );
        match (next_expiry, self.armed.first_key_value()) {
            (None, None) => {}
            (Some(tick), Some((&(deadline, _), _))) => {
                assert!(tick <= deadline, "an expiry is skipped")
            }
            (tick, first) => panic!("next expiry {tick:?} but first timer {first:?}"),
        }
    }

    fn check_invariants(&self) {
        #[cfg(debug_assertions)]
        self.wheel.check_invariants();
    }
}

/// A small generator (splitmix64), so that a seed names a run for good.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// All magnitudes alike, up to so many bits.
    fn magnitude(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits) + 1;
        self.next() >> (64 - bits)
    }

    fn when(&mut self) -> When {
        match self.below(16) {
            0 => When::Past(self.magnitude(40)),
            1 => When::In(0),
            2..6 => When::In(self.below(70)),
            6..10 => When::In(self.below(10_000)),
            10 => When::In(60_000),
            11..14 => When::In(self.magnitude(44)),
            14 => When::In((1 << (6 * self.below(10))) + self.below(3) - 1),
            _ => When::At(u64::MAX - self.below(3)),
        }
    }

    fn op(&mut self) -> Op {
        match self.below(32) {
            0..14 => Op::Insert(self.when()),
            14..18 => Op::Cancel(self.next() as usize),
            18..22 => Op::Rearm(self.next() as usize, self.when()),
            22 => Op::Advance(0),
            23..26 => Op::Advance(1),
            26..28 => Op::Advance(self.below(100)),
            28 => Op::Advance(self.below(5_000)),
            29..31 => Op::AdvanceWithin(self.magnitude(14), self.below(20) as usize),
            _ if self.below(40) == 0 => Op::Advance(self.magnitude(44)),
            _ => Op::Back(self.magnitude(50)),
        }
    }
}

#[test]
fn the_wheel_does_what_a_sorted_map_does() {
    const OPERATIONS: usize = 100_000;
    for seed in 0..6 {
        let mut random = Random(seed);
        let mut pair = Pair::default();
        for operation in 0..OPERATIONS {
            pair.apply(&random.op());
            if operation % 500 == 0 {
                pair.check_invariants();
            }
        }
        // What is left but for the timers that never fire.
        pair.apply(&Op::Advance(u64::MAX));
        pair.check_invariants();
        assert!(pair.armed.keys().all(|&(deadline, _)| deadline == u64::MAX));
        assert!(
            pair.fired > OPERATIONS / 10,
            "seed {seed} fired only {}",
            pair.fired
        );
    }
}

#[test]
fn a_loop_that_sleeps_until_the_next_expiry_fires_every_timer_at_its_tick() {
    const LIVE: u64 = 5_000;
    const FIRE: u64 = 50_000;
    // The levels that a timer can be on at first, down to the one it fires from.
    const WAKE_UPS_PER_TIMER: u64 = 11;
    let mut random = Random(7);
    let mut wheel = Wheel::new();
    for _ in 0..LIVE {
        let deadline = 1 + random.magnitude(40);
        wheel.insert(deadline, deadline);
    }
    let (mut fired, mut wake_ups) = (0, 0);
    while fired < FIRE {
        let now = wheel.next_expiry().expect("timers are live");
        assert!(now > wheel.now());
        wake_ups += 1;
        while let Some((_, deadline)) = wheel.pop_expired(now) {
            assert_eq!(deadline, now);
            let deadline = now + 1 + random.magnitude(40);
            wheel.insert(deadline, deadline);
            fired += 1;
        }
    }
    assert_eq!(wheel.len() as u64, LIVE);
    assert!(
        wake_ups <= (LIVE + fired) * WAKE_UPS_PER_TIMER,
        "{wake_ups} for {fired} timers"
    );
}

fn any_when() -> impl Strategy<Value = When> {
    prop_oneof![
        (0_u64..200).prop_map(When::Past),
        (0_u64..130).prop_map(When::In),
        (0_u64..300_000).prop_map(When::In),
        (0_u32..64, 0_u64..130)
            .prop_map(|(bit, more)| When::In((1_u64 << bit).saturating_add(more))),
        (0_u64..3).prop_map(|less| When::At(u64::MAX - less)),
    ]
}

fn any_step() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..3,
        4 => 0_u64..200,
        4 => 0_u64..10_000,
        2 => (0_u32..48, 0_u64..130).prop_map(|(bit, more)| (1_u64 << bit) + more),
        1 => any::<u64>(),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any_when().prop_map(Op::Insert),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => (any::<usize>(), any_when()).prop_map(|(number, when)| Op::Rearm(number, when)),
        2 => any_step().prop_map(Op::Advance),
        3 => (any_step(), 0_usize..6).prop_map(|(step, budget)| Op::AdvanceWithin(step, budget)),
        1 => any_step().prop_map(Op::Back),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_short_history_is_that_of_a_sorted_map(ops in vec(any_op(), 1..100)) {
        let mut pair = Pair::default();
        for op in &ops {
            pair.apply(op);
            pair.check_invariants();
        }
    }
}
