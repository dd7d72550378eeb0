//! The servers that a run measures: the catalogue of peers that the harness knows by name, how they are built, and what
//! a server is to a run.
//!
//! ```text
//!   catalogue ── peers ──► workshop: cargo, go, make, npm ──► prepared peers ── options ──► server specs
//!                             │                                   │
//!                             ▼                                   ▼
//!                       tool, versions                 or why one takes no part
//! ```
//!
//! What the peers do is told in `benches/peers/README.md`.

mod catalogue;
mod prepared;
mod server;
mod tool;
mod versions;
mod workshop;

pub use catalogue::{Language, PEERS, Peer, find};
pub use prepared::Prepared;
pub use server::{ServerOptions, ServerSpec};
pub use workshop::{prepare, target_folder};
