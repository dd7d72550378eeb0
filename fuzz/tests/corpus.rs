//! Replays what the fuzzer is given to begin with, and what it once found: no fuzzer is needed for that.

use std::fs;
use std::path::Path;

use ringwheel_fuzz::TARGETS;

#[test]
fn every_seed_is_survived() {
    for (name, run) in TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let seeds = fs::read_dir(&directory).expect("every target has seeds");
        let mut count = 0;
        for seed in seeds {
            let path = seed.expect("it can be listed").path();
            println!("{}", path.display());
            run(&fs::read(&path).expect("it can be read"));
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

/// Nothing, and much of the same, is input too.
#[test]
fn monotonous_input_is_survived() {
    for (_, run) in TARGETS {
        for length in [0, 1, 2, 3, 10, 1000] {
            for byte in [0, 1, 0x0A, 0x7F, 0x80, 0x81, 0xFF] {
                run(&vec![byte; length]);
            }
        }
    }
}
