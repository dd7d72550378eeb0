//! What the Rust peers of the ringwheel harness share: their options, how they start, and what several of them do alike.

pub mod broadcast;
pub mod echo;
pub mod options;
pub mod start;
pub mod timers;
pub mod tokio_server;
pub mod whole;

/// Bytes of a message's payload, at most: 16 MiB.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
