//! Tests the pool with random loans: it stays within its bounds, and the rings it lends are empty
//! and limited.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use ringwheel_ringbuffer::{PoolConfig, RingBuffer, RingPool};

#[derive(Clone, Debug)]
enum Op {
    Lend {
        limit: usize,
    },
    /// Appends up to this many bytes to a lent ring, as far as its limit allows, and takes some
    /// out.
    Use {
        which: usize,
        add: usize,
        consume: usize,
    },
    GiveBack {
        which: usize,
    },
    GiveForeign {
        capacity: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..20_000usize).prop_map(|limit| Op::Lend { limit }),
        3 => (any::<usize>(), 0..20_000usize, 0..20_000usize)
            .prop_map(|(which, add, consume)| Op::Use { which, add, consume }),
        3 => any::<usize>().prop_map(|which| Op::GiveBack { which }),
        1 => (0..5_000usize).prop_map(|capacity| Op::GiveForeign { capacity }),
    ]
}

#[expect(clippy::vec_box, reason = "the pool lends them boxed")]
fn apply(pool: &mut RingPool, lent: &mut Vec<Box<RingBuffer>>, op: Op) {
    match op {
        Op::Lend { limit } => {
            let ring = pool.lend(limit);
            assert!(ring.is_empty());
            assert_eq!(ring.limit(), limit);
            lent.push(ring);
        }
        Op::Use {
            which,
            add,
            consume,
        } if !lent.is_empty() => {
            let which = which % lent.len();
            let ring = &mut lent[which];
            let add = add.min(ring.limit() - ring.len());
            ring.extend_from_slice(&vec![7; add]).unwrap();
            ring.consume(consume.min(ring.len()));
        }
        Op::GiveBack { which } if !lent.is_empty() => {
            let which = which % lent.len();
            pool.give_back(lent.swap_remove(which));
        }
        Op::GiveForeign { capacity } => {
            pool.give_back(Box::new(RingBuffer::with_capacity(capacity)));
        }
        Op::Use { .. } | Op::GiveBack { .. } => {}
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 500,
        rng_seed: RngSeed::Fixed(0x506f_6f6c),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn a_pool_stays_within_its_bounds(
        initial_capacity in 0..2_000usize,
        keep_capacity in 0..8_000usize,
        max_idle in 0..6usize,
        max_large in 0..4usize,
        large_bytes in 0..40_000usize,
        ops in vec(op(), 1..80),
    ) {
        let mut pool = RingPool::new(PoolConfig {
            initial_capacity,
            keep_capacity,
            max_large,
            large_bytes,
            max_idle,
        });
        let keep_capacity = keep_capacity.max(initial_capacity);
        let mut lent = Vec::new();
        for op in ops {
            let (idle, returns) = (pool.idle(), lent.len());
            apply(&mut pool, &mut lent, op);
            prop_assert!(pool.idle() <= max_idle);
            prop_assert!(pool.large_bytes() <= large_bytes);
            prop_assert!(pool.idle_bytes() <= pool.idle() * keep_capacity);
            if lent.len() < returns {
                prop_assert_eq!(pool.idle(), max_idle.min(idle + 1));
            }
        }
    }
}
