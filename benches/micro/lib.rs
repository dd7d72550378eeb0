//! Nothing: this package only holds benchmarks. Run them with `cargo bench -p ringwheel-micro`.
