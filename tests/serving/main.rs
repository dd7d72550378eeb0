//! Connections are accepted, spread over the workers and served: fairly, within limits, at the pace of their readers.
//!
//! Tests that need more descriptors than a process has by default, or fewer, run themselves again in a child process with a
//! limit of its own (`support::Child`), and so do not disturb the tests that run beside them.

mod backpressure;
#[cfg(unix)]
mod balance;
mod decoder_changes;
#[cfg(target_os = "linux")]
mod descriptors;
mod echo;
mod fairness;
mod limits;

// Defects that were found once, each in its smallest form.
mod output_regressions;
mod worker_regressions;
