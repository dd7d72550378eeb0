//! A seeded simulation: the production reactor under a virtual clock, on a simulated network that cuts, delays, interrupts
//! and resets, with protocols and handlers that use all that they may use.
//!
//! | file | content |
//! | --- | --- |
//! | `world` | the loop, the clock, and the order of events |
//! | `network` | pipes and their faults |
//! | `peer` | the other side of a connection |
//! | `tap` | the same for a sealed stream: records instead of bytes |
//! | `sealing` | the checks of sealed streams |
//! | `courtesy` | a protocol with a handshake, deadlines and a farewell; the other service speaks `LengthPrefixed` |
//! | `handler` | the handler of both services |
//! | `mail` | letters, jobs and publications |
//! | `ledger` | the expected state, and the first violation of it |
//! | `lag` | publications that wait for slow subscribers, and their checks |
//! | `drain` | the checks of subscribers that wait in a drain until the others have answered |
//! | `memory` | the bound on the worker's memory, and its checks |
//! | `invariants` | the checks after each iteration |
//! | `endings` | the checks of a connection that ends, for its handler and for its socket, and of the whole run at its end |
//!
//! `RINGWHEEL_SEED=7 cargo test --lib simulation` repeats the run of one seed. `RINGWHEEL_SEEDS=1000000` runs as many seeds,
//! beginning with `RINGWHEEL_FIRST_SEED`. `tests/mutations/run` shows that the simulation finds planted faults.

mod courtesy;
mod deadlines;
mod drain;
mod endings;
mod handler;
mod invariants;
mod lag;
mod ledger;
mod mail;
mod memory;
mod network;
mod peer;
mod posting;
mod sealing;
mod tap;
mod turns;
mod world;

use std::time::Duration;

use crate::connection::limits::Timeouts;
use crate::seeds::{NameSeed, Random, Tally, quiet_panic, run_seeds};

use network::{Pipe, WINDOW};
use world::World;

const OUTPUT_LIMIT: usize = 4_000;
/// The output limit of runs in which messages are so long that they go to the socket directly.
const LARGE_OUTPUT_LIMIT: usize = 24_000;
/// Bytes beyond the output limit for what a protocol says by itself.
const OWN_ROOM: usize = 512;
/// Bytes beyond that for the last words of a protocol.
const LAST_WORDS_ROOM: usize = 512;
const LOW_WATER: usize = 500;
const HIGH_WATER: usize = 2_000;
const INPUT_LIMIT: usize = 2_000;
/// The longest message of `LengthPrefixed`, below the input limit.
const MAX_MESSAGE: usize = 1_900;
/// The longest frame of `Courtesy`, above the input limit.
const MAX_FRAME: usize = 2_200;
const RECEIVE_BUFFER: usize = 512;
/// The work that a connection may cause in one turn.
const BUDGET: usize = 1_000;
const IDLE: Duration = Duration::from_millis(400);
const FIRST_MESSAGE: Duration = Duration::from_millis(300);
const MESSAGE: Duration = Duration::from_millis(60);
const WRITE_STALL: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_millis(150);
const TICK: Duration = Duration::from_micros(33_300);
const DRAIN: Duration = Duration::from_millis(500);
const TIMERS: usize = 4;
const SOURCES: usize = 2;
const SUBSCRIPTIONS: usize = 3;
const TOPIC_NAME_LIMIT: usize = 8;
const PUBLICATIONS: usize = 2;
const PUBLICATION_BYTES: usize = 400;
/// The time for which publications wait for a subscriber.
const PATIENCE: Duration = Duration::from_millis(25);
/// The names of the topics. The last of them is longer than the limit allows.
const TOPICS: [&str; 5] = ["a", "b", "news", "weather", "elsewhere"];

/// Number of seeds that run by default, as in CI.
const SEEDS: u64 = 12_000;

/// Bytes that a peer must take within a time, however many are pending.
fn least(timeouts: &Timeouts, time: Duration) -> usize {
    (timeouts.least_rate as usize * time.as_millis() as usize / 1_000).max(1)
}

/// The time that a connection may linger, so that a peer at the least rate gets all that its kernel may hold.
fn longest_linger(timeouts: &Timeouts, pipe: &Pipe) -> Duration {
    linger_behind(timeouts, pipe.sent_bytes())
}

/// The same for a connection that has sent so many bytes.
fn linger_behind(timeouts: &Timeouts, sent: u64) -> Duration {
    let held = sent.min(WINDOW as u64);
    CLOSE.max(Duration::from_micros(
        held * 1_000_000 / linger_rate(timeouts),
    ))
}

/// Bytes per second that a peer must read of what its kernel holds.
fn linger_rate(timeouts: &Timeouts) -> u64 {
    match timeouts.least_rate {
        0 => 1_024,
        rate => u64::from(rate),
    }
}

fn run(seed: u64) -> Tally {
    let _name_seed = NameSeed(seed);
    let mut world = World::new(seed);
    world.run_steps();
    world.finish()
}

/// Events that must occur in a run of many seeds: without them the invariants would not be put to the test.
const MUST_HAPPEN: [&str; 78] = [
    "Aborted",
    "InputLimit",
    "Io",
    "Local",
    "OutputLimit",
    "Panic",
    "Peer",
    "Protocol",
    "Shutdown",
    "Timeout(FirstMessage)",
    "Timeout(Idle)",
    "Timeout(Message)",
    "Timeout(SourceStall)",
    "Timeout(WriteStall)",
    "Truncated",
    "WorkerMemory",
    "budget spent",
    "deadline met",
    "deadline panics",
    "decoder changed",
    "deferred once more",
    "drain deadline",
    "end by the peer's farewell",
    "end late",
    "end of a sealed stream blocked",
    "farewell answered",
    "farewell answered late",
    "farewell unanswered",
    "held back for its mail",
    "held back for its publications",
    "handshake late",
    "heavy connections wait",
    "job with the handler",
    "key update answered",
    "letter lost",
    "letter refused",
    "letter written",
    "linger cut off",
    "linger ended by the peer",
    "lost by a reset behind the close",
    "lost after on_close",
    "mailbox full",
    "mail of a message refused",
    "memory is ample again",
    "memory is short",
    "message without room",
    "name of another service",
    "patience lost",
    "patience with a subscriber lost",
    "plaintext at hand",
    "pong late",
    "publication delivered",
    "publication dropped",
    "publication in a drain",
    "publication in program order",
    "record refused",
    "records unsent",
    "refused",
    "request by a handle",
    "room for a refused message",
    "sealed stream cut off",
    "sender held",
    "source lost",
    "source refused",
    "source written",
    "subscriber lags",
    "subscriber too late",
    "subscriber waits in a drain",
    "task run",
    "tick",
    "timeout closed",
    "timeout stayed",
    "timer cancelled",
    "timer fired",
    "unfinished connection goes on first",
    "waited for nobody",
    "worker is late",
    "written after on_close",
];

#[test]
fn every_seed_keeps_the_invariants() {
    let Some((count, tally)) = run_seeds(SEEDS, run) else {
        return;
    };
    if count >= 5_000 {
        tally.assert_all_occurred(&MUST_HAPPEN);
    }
}

/// Seeds that find defects of the past, each with the name of the patch in `tests/mutations` that plants the defect again.
///
/// A change of the simulation's random choices changes what a seed does: then `tests/mutations/run NAME` finds the new seed.
#[test]
fn defects_stay_away() {
    for (_defect, seed) in [
        ("farewell-twice", 0),
        ("silent-loss", 7),
        ("write-behind-the-end", 77),
        ("lost-completion", 205),
    ] {
        run(seed);
    }
}
