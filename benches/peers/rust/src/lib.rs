//! Shared by the Rust peers of the ringwheel harness: options, start-up, and code that several of them have in common.

pub mod broadcast;
pub mod echo;
pub mod mio_loop;
pub mod options;
pub mod start;
pub mod timers;
pub mod tls;
pub mod tokio_server;
pub mod whole;

/// Greatest length of a message's payload: 16 MiB.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
