//! The fuzz targets. Each takes any bytes, and panics if the library violates its contract.
//!
//! The targets are library functions, so that the corpora can be replayed without a fuzzer, as `tests/corpus.rs` does.

pub mod connection;
pub mod deflate;
pub mod framings;
pub mod http_head;
pub mod proxy_header;
pub mod ring;
pub mod websocket_frames;
pub mod websocket_pieces;
pub mod wheel;
pub mod wire;

mod endpoint;
mod input;
mod websocket;

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("connection", connection::run),
    ("deflate", deflate::run),
    ("framings", framings::run),
    ("http_head", http_head::run),
    ("proxy_header", proxy_header::run),
    ("ring", ring::run),
    ("websocket_frames", websocket_frames::run),
    ("websocket_pieces", websocket_pieces::run),
    ("wheel", wheel::run),
    ("wire", wire::run),
];
