//! A seeded simulation: the openings of a worker under a virtual clock, with peers that stall, trickle, end, reset and send
//! garbage, in a loop that may be late.
//!
//! | file | content |
//! | --- | --- |
//! | `world` | the loop, the clock, and the order of events |
//! | `network` | lines between peers and the worker, and their faults |
//! | `peer` | the bytes that a peer sends |
//! | `turns` | whose step comes next, and who gives way |
//! | `script` | a handshake whose messages say how it goes |
//! | `model` | the expected state, and the checks after each step |
//! | `endings` | the checks of an opening that ends, and of a connection that is open |
//!
//! See [`crate::seeds`] for the environment.

mod endings;
mod model;
mod network;
mod peer;
mod script;
mod turns;
mod world;

use crate::seeds::{NameSeed, Tally, run_seeds};

use super::super::stages::RECEIVED_MAX;
use super::*;
use world::World;

/// Number of seeds that run by default, in about a second.
const SEEDS: u64 = 600;

/// The stages of a service.
#[derive(Clone, Copy)]
struct Stages {
    has_header: bool,
    is_sealed: bool,
}

fn run(seed: u64) -> Tally {
    let _name_seed = NameSeed(seed);
    let mut world = World::new(seed);
    world.run();
    world.finish()
}

/// Events that must occur in a run of many seeds: without them the checks would not be put to the test.
const MUST_HAPPEN: [&str; 27] = [
    "abandoned",
    "address has too many",
    "alert read",
    "another origin waits",
    "budget spent",
    "could not register",
    "drain deadline",
    "dropped silent",
    "gave way",
    "gave way although a step was due",
    "gave way to another origin",
    "gave way while it lingers",
    "handshake failed",
    "handshake too long",
    "header refused",
    "last words cut off",
    "late",
    "late although all has come",
    "linger ended",
    "linger ended by the peer",
    "opened",
    "opened behind its deadline",
    "opened with its end of stream",
    "stopped",
    "stopped before it was taken",
    "unsent at the end of the handshake",
    "untrusted",
];

#[test]
fn every_seed_keeps_the_invariants() {
    let Some((count, tally)) = run_seeds(SEEDS, run) else {
        return;
    };
    if count >= SEEDS {
        tally.assert_all_occurred(&MUST_HAPPEN);
    }
}
