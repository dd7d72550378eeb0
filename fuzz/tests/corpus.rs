//! Replays the fuzzers' seeds, and the inputs that once failed. Needs no fuzzer.
//!
//! The seeds of `wire` are replayed by a unit test of the library instead; see [`ringwheel_fuzz::wire`].

use std::fs;
use std::path::Path;

use ringwheel_fuzz::TARGETS;

#[test]
fn no_seed_panics() {
    for (name, run) in TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let seeds = fs::read_dir(&directory).expect("every target has seeds");
        let mut count = 0;
        for seed in seeds {
            let path = seed.expect("the folder can be listed").path();
            println!("{}", path.display());
            run(&fs::read(&path).expect("the seed can be read"));
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

/// Empty input, and input of equal bytes.
#[test]
fn monotonous_input_does_not_panic() {
    for (_, run) in TARGETS {
        for length in [0, 1, 2, 3, 10, 1000] {
            for byte in [0, 1, 0x0A, 0x7F, 0x80, 0x81, 0xFF] {
                run(&vec![byte; length]);
            }
        }
    }
}
