//! Empty: this package contains only benchmarks. Run them with `cargo bench -p ringwheel-micro`.
