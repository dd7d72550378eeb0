//! Runs every example as a user would run it, in its own process, and talks to it over sockets.
//!
//! `cargo test` builds the examples first and puts them next to the tests; `cargo test --test examples` does not build
//! them.

mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;
