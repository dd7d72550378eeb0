use std::num::NonZeroU32;

use super::entries::Entry;
use super::*;

/// Everything that is due by `now`, in the order it comes out.
fn fired<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<T> {
    let values = std::iter::from_fn(|| wheel.pop_expired(now))
        .map(|(_, value)| value)
        .collect();
    wheel.check_invariants();
    values
}

#[test]
fn fires_at_its_deadline_from_every_level() {
    for start in [0, 1, 63, 64, 4_095, 123_456_789_012] {
        for level in 0..LEVELS {
            for delay in [
                1 << (level * LEVEL_BITS),
                (1 << (level * LEVEL_BITS)) + 1,
                45 << (level * 5),
            ] {
                let mut wheel = Wheel::new();
                assert_eq!(fired(&mut wheel, start), []);
                let deadline = start + delay;
                wheel.insert(deadline, level);
                assert_eq!(wheel.next_expiry(), Some(deadline));
                assert_eq!(fired(&mut wheel, deadline - 1), [], "{start} + {delay}");
                assert_eq!(fired(&mut wheel, deadline), [level], "{start} + {delay}");
                assert_eq!(wheel.next_expiry(), None);
            }
        }
    }
}

#[test]
fn far_timers_fire_in_one_step_and_in_order() {
    let mut wheel = Wheel::new();
    let mut deadlines: Vec<u64> = (0..63).map(|bit| (1 << bit) + bit).collect();
    for &deadline in deadlines.iter().rev() {
        wheel.insert(deadline, deadline);
    }
    deadlines.sort_unstable();
    assert_eq!(fired(&mut wheel, u64::MAX), deadlines);
}

#[test]
fn the_last_tick_is_reached_and_the_maximum_never() {
    let mut wheel = Wheel::new();
    wheel.insert(Wheel::<&str>::LAST_TICK, "last");
    wheel.insert(u64::MAX, "never");
    assert_eq!(
        fired(&mut wheel, Wheel::<&str>::LAST_TICK - 1),
        Vec::<&str>::new()
    );
    assert_eq!(fired(&mut wheel, u64::MAX), ["last"]);
    assert_eq!(wheel.now(), Wheel::<&str>::LAST_TICK);
    wheel.insert(0, "past at the end of time");
    assert_eq!(fired(&mut wheel, u64::MAX), Vec::<&str>::new());
    assert_eq!((wheel.len(), wheel.next_expiry()), (2, Some(u64::MAX)));
}

#[test]
fn one_tick_fires_in_the_order_of_arming() {
    let mut wheel = Wheel::new();
    let first = wheel.insert(5_000, 0);
    wheel.insert(5_000, 1);
    assert_eq!(fired(&mut wheel, 4_200), []);
    wheel.insert(5_000, 2);
    assert_eq!(fired(&mut wheel, 4_999), []);
    wheel.insert(5_000, 3);
    assert!(wheel.rearm(first, 5_000));
    assert_eq!(fired(&mut wheel, 5_000), [1, 2, 3, 0]);
}

#[test]
fn a_past_deadline_fires_at_the_next_tick() {
    let mut wheel = Wheel::new();
    assert_eq!(fired(&mut wheel, 100), Vec::<&str>::new());
    let key = wheel.insert(7, "past");
    assert_eq!(wheel.deadline(key), Some(101));
    assert_eq!(wheel.next_expiry(), Some(101));
    assert_eq!(fired(&mut wheel, 100), Vec::<&str>::new());
    assert_eq!(fired(&mut wheel, 101), ["past"]);
}

#[test]
fn a_timer_that_rearms_itself_for_now_cannot_hold_the_round() {
    let mut wheel = Wheel::new();
    wheel.insert(0, 0);
    for now in [1, 2, 50, 51] {
        let mut popped = 0;
        // The clock stands far beyond the timer's own tick in the third round.
        while let Some((_, deadline)) = wheel.pop_expired(now) {
            wheel.insert(deadline, deadline);
            popped += 1;
        }
        assert_eq!(popped, 1, "at {now}");
    }
}

#[test]
fn the_clock_never_goes_back() {
    let mut wheel = Wheel::new();
    wheel.insert(10, "ten");
    assert_eq!(fired(&mut wheel, 9), Vec::<&str>::new());
    assert_eq!(fired(&mut wheel, 3), Vec::<&str>::new());
    assert_eq!(wheel.now(), 9);
    wheel.insert(4, "four");
    assert_eq!(fired(&mut wheel, 0), Vec::<&str>::new());
    assert_eq!(fired(&mut wheel, 10), ["ten", "four"]);
}

#[test]
fn a_stale_key_is_inert() {
    let mut wheel = Wheel::new();
    let cancelled = wheel.insert(10, "cancelled");
    assert_eq!(wheel.cancel(cancelled), Some("cancelled"));
    let popped = wheel.insert(10, "popped");
    assert_eq!(wheel.pop_expired(10), Some((popped, "popped")));
    let live = wheel.insert(20, "live");
    assert_eq!(
        (cancelled.index, popped.index),
        (live.index, live.index),
        "the entry is reused"
    );
    for stale in [cancelled, popped] {
        assert_eq!(wheel.cancel(stale), None);
        assert!(!wheel.rearm(stale, 90));
        assert!(!wheel.contains(stale));
        assert_eq!((wheel.peek(stale), wheel.deadline(stale)), (None, None));
    }
    assert_eq!(
        (wheel.peek(live), wheel.deadline(live)),
        (Some(&"live"), Some(20))
    );
}

#[test]
fn an_entry_retires_when_its_generations_are_used_up() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(10, "first");
    assert_eq!(wheel.cancel(key), Some("first"));
    let generation = NonZeroU32::MAX.get() - 1;
    let last = TimerKey {
        index: 0,
        generation: NonZeroU32::new(generation).expect("not 0"),
    };
    wheel.entries.free[0] = last;
    assert_eq!(wheel.insert(10, "last"), last);
    assert_eq!(wheel.cancel(last), Some("last"));
    assert!(!wheel.contains(last) && wheel.cancel(last).is_none());
    assert_eq!((wheel.len(), wheel.entries.retired), (0, 1));
    assert_eq!(wheel.insert(10, "next").index, 1);
    assert_eq!(fired(&mut wheel, 10), ["next"]);
}

#[test]
fn a_budget_bounds_each_call_and_keeps_the_order() {
    const TIMERS: usize = 100_000;
    const BUDGET: usize = 1_000;
    let mut wheel = Wheel::new();
    let deadline = 3 << (3 * LEVEL_BITS);
    // All of them in one slot of level 3, every tenth due at the tick at which that slot
    // begins.
    for timer in 0..TIMERS {
        wheel.insert(deadline + u64::from(timer % 10 != 0), timer);
    }
    let (mut popped, mut calls) = (Vec::new(), 0);
    while wheel.next_expiry().is_some_and(|tick| tick <= deadline) {
        let mut budget = BUDGET;
        let before = popped.len();
        while let Some((_, timer)) = wheel.pop_expired_within(deadline, &mut budget) {
            popped.push(timer);
        }
        assert!(popped.len() - before <= BUDGET);
        calls += 1;
    }
    wheel.check_invariants();
    // Each is moved once and those that are due popped once.
    assert_eq!(calls, (TIMERS + TIMERS / 10) / BUDGET);
    assert_eq!(popped, (0..TIMERS).step_by(10).collect::<Vec<_>>());
    assert_eq!(wheel.len(), TIMERS - TIMERS / 10);
}

#[test]
fn a_half_cascaded_slot_takes_new_timers_and_loses_old_ones() {
    let mut wheel = Wheel::new();
    let keys: Vec<_> = (0..4).map(|timer| wheel.insert(70, timer)).collect();
    assert_eq!(wheel.pop_expired_within(64, &mut 2), None);
    wheel.check_invariants();
    assert_eq!((wheel.cascading, wheel.next_expiry()), (1, Some(64)));
    wheel.insert(70, 4);
    wheel.insert(200, 5);
    assert_eq!(wheel.cancel(keys[0]), Some(0));
    assert_eq!(wheel.cancel(keys[3]), Some(3));
    wheel.check_invariants();
    assert_eq!(fired(&mut wheel, 70), [1, 2, 4]);
    assert_eq!(wheel.next_expiry(), Some(200));
}

#[test]
fn cancelling_the_rest_of_a_half_cascaded_slot_ends_the_cascade() {
    let mut wheel = Wheel::new();
    let keys: Vec<_> = (0..2).map(|timer| wheel.insert(70, timer)).collect();
    assert_eq!(wheel.pop_expired_within(64, &mut 1), None);
    assert_eq!(wheel.cancel(keys[1]), Some(1));
    wheel.check_invariants();
    assert_eq!((wheel.cascading, wheel.next_expiry()), (0, Some(70)));
    wheel.insert(130, 2);
    assert_eq!(fired(&mut wheel, 130), [0, 2]);
}

#[test]
fn memory_is_what_the_docs_say() {
    assert_eq!(size_of::<TimerKey>(), 8);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
    fn timer<T>() -> usize {
        size_of::<Entry<T>>() + size_of::<Link>()
    }
    assert_eq!((timer::<()>(), timer::<Box<u8>>()), (24, 24 + 8));
    assert_eq!((timer::<u32>(), timer::<u64>()), (24 + 8, 24 + 16));
    let wheel = Wheel::<()>::new();
    assert!(size_of_val(&wheel) + size_of_val(&*wheel.lists) <= 6 * 1024);
}
