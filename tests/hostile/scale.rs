//! How large the tests are, and where their figures go.

use std::env;
use std::fmt::Display;
use std::time::Duration;

/// Whether the tests run at full size, and the times that they must keep are checked.
pub(crate) fn is_full() -> bool {
    env::var_os("RINGWHEEL_FULL").is_some_and(|value| value == "1")
}

/// The one by default, the other at full size.
pub(crate) fn sized<T>(small: T, full: T) -> T {
    if is_full() { full } else { small }
}

/// Prints a figure.
pub(crate) fn tell(name: &str, figure: impl Display) {
    println!("hostile: {name}: {figure}");
}

/// In milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * 1024;
