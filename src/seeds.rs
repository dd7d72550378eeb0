//! Seeds for simulations: a generator of random choices, and the run of many seeds that the environment asks for.
//!
//! `RINGWHEEL_SEED=7 cargo test --lib simulation` repeats the run of one seed. `RINGWHEEL_SEEDS=1000000` runs as many seeds,
//! beginning with `RINGWHEEL_FIRST_SEED`.

use std::collections::BTreeMap;

/// The generator SplitMix64: a counter, and a function that mixes its bits.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Another generator, seeded by this one.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }
}

/// Number of occurrences of each event: a simulation finds no defect in what never happens.
#[derive(Default, Debug)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, event: &'static str) {
        *self.0.entry(event).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for (event, count) in &other.0 {
            *self.0.entry(event).or_default() += count;
        }
    }

    /// Panics if one of these events has never occurred.
    pub(crate) fn assert_all_occurred(&self, events: &[&str]) {
        for event in events {
            assert!(self.0.contains_key(event), "never: {event}");
        }
    }
}

/// Panics as a callback may, but without a report by the panic hook: a simulation panics thousands of times.
pub(crate) fn quiet_panic() -> ! {
    std::panic::resume_unwind(Box::new("a panic of the simulation"))
}

/// Runs the seeds that the environment asks for, by default the first `count`. Returns their number, and how often each event has
/// occurred; `None` if a single seed was asked for.
pub(crate) fn run_seeds(count: u64, run: impl Fn(u64) -> Tally) -> Option<(u64, Tally)> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("RINGWHEEL_SEED") {
        println!("{:#?}", run(seed));
        return None;
    }
    let first = number("RINGWHEEL_FIRST_SEED").unwrap_or(0);
    let count = number("RINGWHEEL_SEEDS").unwrap_or(count);
    let mut tally = Tally::default();
    for seed in first..first.saturating_add(count) {
        tally.add(&run(seed));
    }
    println!("{tally:#?}");
    Some((count, tally))
}

/// Names the seed if its run fails.
pub(crate) struct NameSeed(pub(crate) u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to repeat it: RINGWHEEL_SEED={} cargo test --lib simulation",
                self.0
            );
        }
    }
}
