//! The servers that a run measures: the catalogue of peers that the harness knows by name, the way to build them, and
//! the commands that start them.
//!
//! ```text
//!   catalogue ── peers ──► workshop: cargo, go, make, npm ──► prepared peers ── options ──► server specs
//!                             │                                   │                            ▲
//!                             ▼                                   ▼                            │
//!                       tool, versions                 or why one takes no part      resolve: name=command
//! ```
//!
//! `benches/peers/README.md` describes what the peers do.

mod catalogue;
mod contestant;
mod options;
mod prepared;
mod resolve;
mod server;
mod tool;
mod versions;
mod workshop;

pub use catalogue::{Language, PEERS, Peer, Tls, find};
pub use contestant::Contestant;
pub use options::ServerOptions;
pub use prepared::Prepared;
pub use resolve::resolve;
pub use server::ServerSpec;
pub(crate) use server::quoted;
pub use workshop::{prepare, target_folder};
