//! A seeded simulation: the production reactor under a virtual clock, on a simulated network that cuts, delays, interrupts
//! and resets, with protocols and handlers that do everything they may do.
//!
//! | file | what |
//! | --- | --- |
//! | `world` | the loop, the clock, and what happens in which order |
//! | `network` | pipes, and their faults |
//! | `peer` | the other side of a connection |
//! | `courtesy` | a protocol with a handshake, deadlines and a farewell; the other service speaks `LengthPrefixed` |
//! | `puppet` | the handler of both |
//! | `society` | letters, jobs, publications |
//! | `ledger` | what is known, and what was found wrong |
//! | `invariants` | what must hold after each step, and at the end |
//!
//! To see a run again: `RINGWHEEL_SEED=7 cargo test --lib simulation`; for more of them, `RINGWHEEL_SEEDS=1000000`, and
//! `RINGWHEEL_FIRST_SEED` to begin elsewhere. `tests/mutations/run` shows that it finds what is planted.

mod courtesy;
mod invariants;
mod ledger;
mod network;
mod peer;
mod puppet;
mod society;
mod world;

use std::time::Duration;

use ledger::Tally;
use world::World;

const OUTPUT_LIMIT: usize = 4_000;
/// Where messages are so long that they go to the socket directly.
const LARGE_OUTPUT_LIMIT: usize = 24_000;
/// What a protocol may say beyond that by itself.
const OWN_ROOM: usize = 512;
const LOW_WATER: usize = 500;
const HIGH_WATER: usize = 2_000;
const INPUT_LIMIT: usize = 2_000;
/// The longest message of `LengthPrefixed`, below the input limit, and that of `Courtesy`, above it.
const MAX_MESSAGE: usize = 1_900;
const MAX_FRAME: usize = 2_200;
const RECEIVE_BUFFER: usize = 512;
const IDLE: Duration = Duration::from_millis(400);
const FIRST_MESSAGE: Duration = Duration::from_millis(300);
const MESSAGE: Duration = Duration::from_millis(60);
const WRITE_STALL: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_millis(150);
const TICK: Duration = Duration::from_micros(33_300);
const DRAIN: Duration = Duration::from_millis(500);
const TIMERS: usize = 4;
const SUBSCRIPTIONS: usize = 3;
const TOPIC_NAME_LIMIT: usize = 8;
/// The last of them is one too long.
const TOPICS: [&str; 5] = ["a", "b", "news", "weather", "elsewhere"];

/// Runs in CI.
const SEEDS: u64 = 10_000;

/// SplitMix64: a step of a counter, mixed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 if there is nothing below it.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Another sequence, which begins where this one is.
    fn fork(&mut self) -> Random {
        Random(self.next())
    }
}

/// Panics as a callback may, without the hook's report: thousands of them are wanted.
fn quiet_panic() -> ! {
    std::panic::resume_unwind(Box::new("as it was told"))
}

fn run(seed: u64) -> Tally {
    let _blame = Blame(seed);
    let mut world = World::new(seed);
    world.live();
    world.finish()
}

/// What must have happened in some of the seeds, if they are many: else the invariants were not put to the test.
const MUST_HAPPEN: [&str; 39] = [
    "Aborted",
    "InputLimit",
    "Io",
    "Local",
    "OutputLimit",
    "Panic",
    "Peer",
    "Protocol",
    "Shutdown",
    "Timeout(Close)",
    "Timeout(FirstMessage)",
    "Timeout(Idle)",
    "Timeout(Message)",
    "Timeout(WriteStall)",
    "Truncated",
    "deadline met",
    "deadline panics",
    "drain deadline",
    "end by the peer's farewell",
    "farewell answered",
    "farewell answered late",
    "farewell unanswered",
    "handshake late",
    "job with the handler",
    "letter lost",
    "letter refused",
    "letter written",
    "mailbox full",
    "pong late",
    "publication delivered",
    "publication dropped",
    "refused",
    "subscriber too late",
    "task run",
    "tick",
    "timeout closed",
    "timeout stayed",
    "timer cancelled",
    "timer fired",
];

#[test]
fn every_seed_keeps_the_invariants() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("RINGWHEEL_SEED") {
        println!("{:#?}", run(seed));
        return;
    }
    let first = number("RINGWHEEL_FIRST_SEED").unwrap_or(0);
    let count = number("RINGWHEEL_SEEDS").unwrap_or(SEEDS);
    let mut tally = Tally::default();
    for seed in first..first.saturating_add(count) {
        tally.add(&run(seed));
    }
    println!("{tally:#?}");
    for what in MUST_HAPPEN {
        assert!(count < 5_000 || tally.0.contains_key(what), "never: {what}");
    }
}

/// Seeds that find defects which there were, each by the name of the patch in `tests/mutations` that plants it again.
#[test]
fn defects_stay_away() {
    for (_defect, seed) in [
        ("farewell-twice", 1),
        ("silent-loss", 4),
        ("write-behind-the-end", 45),
        ("lost-completion", 57),
    ] {
        run(seed);
    }
}

/// Says which seed it was, should the run fail.
struct Blame(u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to see it again: RINGWHEEL_SEED={} cargo test --lib simulation",
                self.0
            );
        }
    }
}
