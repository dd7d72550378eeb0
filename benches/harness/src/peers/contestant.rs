//! A server as a report names it.

use serde::{Deserialize, Serialize};

use super::server::ServerSpec;

/// A server as a report names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contestant {
    /// Its name.
    pub name: String,
    /// What it is: `tokio, current-thread runtime`.
    pub about: String,
    /// What it is written in: `Rust`.
    pub language: String,
    /// Its library's version; for floors that of the binding, if any.
    pub version: Option<String>,
    /// Why it takes no part.
    pub skipped: Option<String>,
    /// The SHA-1 of its program or script: a campaign is not gone on with when that has become another.
    pub program: Option<String>,
}

impl Contestant {
    /// A server of which nothing is known but its command.
    pub fn of_command(server: &ServerSpec) -> Self {
        Self {
            name: server.name.clone(),
            about: "a command".to_owned(),
            language: "-".to_owned(),
            version: None,
            skipped: None,
            program: None,
        }
    }
}
