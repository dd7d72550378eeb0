//! A sealed wire over a seal without cryptography, compared with a model of both directions.
//!
//! The wire is no part of the library's interface, so the operations and the model are in the library
//! (`src/io/wire/checked`), which has them only with `--cfg fuzzing`, as `fuzz/run` and cargo-fuzz set it, and for its own
//! unit tests.

/// The fuzz target. Without `--cfg fuzzing` it does nothing: then a unit test of the library replays the seeds.
pub fn run(data: &[u8]) {
    #[cfg(fuzzing)]
    ringwheel::internal::check_wire(data);
    #[cfg(not(fuzzing))]
    let _ = data;
}
