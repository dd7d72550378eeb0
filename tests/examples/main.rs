//! Every example is run as a user would run it, in a process of its own, and talked to over sockets.
//!
//! `cargo test` builds the examples first and puts them next to the tests; `cargo test --test examples` does not build
//! them.

mod tcp;
#[cfg(feature = "websocket")]
mod websocket;
