//! Random operations on the timing wheel and on its model, under a virtual clock.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::Random;
use support::wheel::{CheckedWheel, Wheel};

#[derive(Clone, Debug)]
enum Op {
    Insert(When),
    /// Cancels the key with this number modulo their count, live or stale.
    Cancel(usize),
    Rearm(usize, When),
    /// Moves the clock on, and pops all due timers.
    Advance(u64),
    /// Moves the clock on, and pops due timers within a budget.
    AdvanceWithin(u64, usize),
    /// Moves the clock back, which must change nothing.
    Back(u64),
}

#[derive(Clone, Debug)]
enum When {
    /// This many ticks before now.
    Past(u64),
    /// This many ticks after now.
    In(u64),
    At(u64),
}

impl When {
    fn tick(&self, now: u64) -> u64 {
        match *self {
            When::Past(ticks) => now.saturating_sub(ticks),
            When::In(ticks) => now.saturating_add(ticks),
            When::At(tick) => tick,
        }
    }
}

fn apply(op: &Op, wheel: &mut CheckedWheel) {
    match *op {
        Op::Insert(ref when) => wheel.insert(when.tick(wheel.now())),
        Op::Cancel(number) => wheel.cancel(number),
        Op::Rearm(number, ref when) => wheel.rearm(number, when.tick(wheel.now())),
        Op::Advance(ticks) => wheel.advance(ticks, usize::MAX),
        Op::AdvanceWithin(ticks, budget) => wheel.advance(ticks, budget),
        Op::Back(ticks) => wheel.go_back(ticks),
    }
    wheel.compare();
}

/// A random number of at most this many bits, with all magnitudes equally likely.
fn magnitude(random: &mut Random, bits: usize) -> u64 {
    let bits = random.below(bits) + 1;
    random.next_number() >> (64 - bits)
}

fn random_when(random: &mut Random) -> When {
    let mut below = |end: usize| random.below(end) as u64;
    match below(16) {
        0 => When::Past(magnitude(random, 40)),
        1 => When::In(0),
        2..6 => When::In(below(70)),
        6..10 => When::In(below(10_000)),
        10 => When::In(60_000),
        11..14 => When::In(magnitude(random, 44)),
        14 => When::In((1 << (6 * below(10))) + below(3) - 1),
        _ => When::At(u64::MAX - below(3)),
    }
}

fn random_op(random: &mut Random) -> Op {
    match random.below(32) {
        0..14 => Op::Insert(random_when(random)),
        14..18 => Op::Cancel(random.next_number() as usize),
        18..22 => Op::Rearm(random.next_number() as usize, random_when(random)),
        22 => Op::Advance(0),
        23..26 => Op::Advance(1),
        26..28 => Op::Advance(random.below(100) as u64),
        28 => Op::Advance(random.below(5_000) as u64),
        29..31 => Op::AdvanceWithin(magnitude(random, 14), random.below(20)),
        _ if random.below(40) == 0 => Op::Advance(magnitude(random, 44)),
        _ => Op::Back(magnitude(random, 50)),
    }
}

#[test]
fn the_wheel_behaves_like_a_sorted_map() {
    const OPERATIONS: usize = 100_000;
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut wheel = CheckedWheel::new();
        for operation in 0..OPERATIONS {
            apply(&random_op(&mut random), &mut wheel);
            if operation % 500 == 0 {
                wheel.check_invariants();
            }
        }
        wheel.finish();
        wheel.check_invariants();
        let fired = wheel.fired();
        assert!(fired > OPERATIONS / 10, "seed {seed} fired only {fired}");
    }
}

#[test]
fn a_loop_that_sleeps_until_the_next_expiry_fires_every_timer_at_its_tick() {
    const LIVE: u64 = 5_000;
    const FIRE: u64 = 50_000;
    // The number of levels on which a timer can start, down to the one from which it fires.
    const WAKE_UPS_PER_TIMER: u64 = 11;
    let mut random = Random::new(7);
    let mut wheel = Wheel::new();
    for _ in 0..LIVE {
        let deadline = 1 + magnitude(&mut random, 40);
        wheel.insert(deadline, deadline);
    }
    let (mut fired, mut wake_ups) = (0, 0);
    while fired < FIRE {
        let now = wheel.next_expiry().expect("timers are live");
        assert!(now > wheel.now());
        wake_ups += 1;
        while let Some((_, deadline)) = wheel.pop_expired(now) {
            assert_eq!(deadline, now);
            let deadline = now + 1 + magnitude(&mut random, 40);
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
    fn every_short_sequence_behaves_like_a_sorted_map(ops in vec(any_op(), 1..100)) {
        let mut wheel = CheckedWheel::new();
        for op in &ops {
            apply(op, &mut wheel);
            wheel.check_invariants();
        }
    }
}
