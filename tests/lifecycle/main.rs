//! The life of connections and servers: how they open and end, and which data is still delivered at the end.

mod closing;
mod fragile;
mod half_close;
mod lingering;
mod panics;
mod refusals;
mod resets;
mod shutdown;
mod shutdown_publications;

// Defects found earlier, each reduced to its smallest form.
mod connection_regressions;
mod shutdown_regressions;
