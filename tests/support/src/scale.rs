//! Sizes and figures of tests that can also run at full size, on a machine without other load.

use std::env;
use std::fmt::Display;
use std::time::Duration;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * 1024;

/// The first word of a line with a figure.
pub const FIGURE: &str = "figure: ";

/// True if `RINGWHEEL_FULL=1`: tests run at full size, and check the times that they promise.
pub fn is_full() -> bool {
    env::var_os("RINGWHEEL_FULL").is_some_and(|value| value == "1")
}

/// `small` by default, `full` if [`is_full`].
pub fn sized<T>(small: T, full: T) -> T {
    if is_full() { full } else { small }
}

/// Prints a figure that a test has measured.
pub fn report(name: &str, figure: impl Display) {
    // libtest has left its own line unfinished.
    println!("\n{FIGURE}{name}: {figure}");
}

/// A time in milliseconds with three decimals.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
