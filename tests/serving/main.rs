//! Connections are accepted, spread over the workers, and served: fairly, within limits, at the pace of their readers.
//!
//! Tests that need more or fewer descriptors than a process has by default run again in a child process with its own
//! limit (`support::Child`), so that they do not disturb other tests.

mod addresses;
#[cfg(unix)]
mod adopted;
mod backpressure;
#[cfg(unix)]
mod balance;
mod decoder_changes;
#[cfg(target_os = "linux")]
mod descriptors;
mod echo;
mod fairness;
mod handover;
mod limits;
mod listening;
mod memory;
mod newcomers;
mod own_words;
mod proxy_protocol;
mod settings;
mod sources;
#[cfg(unix)]
mod unix;

// Defects found earlier, each reduced to its smallest form.
mod output_regressions;
mod worker_regressions;
