//! TLS over real sockets: every protocol on every way to a worker, the ends of streams, handshakes that fail, and certificates
//! that change.
//!
//! The clients are rustls's, with records that a test may cut or change (`support::tls`).

#![cfg(all(feature = "deflate", feature = "tls"))]

mod bulk;
mod deadlines;
mod echo;
mod ends;
mod openings;
mod refusals;
mod reloading;
mod sessions;
mod shutdown;
mod topics;
mod websocket;
