//! The description of a server in a report.

use serde::{Deserialize, Serialize};

use super::server::ServerSpec;

/// The description of a server in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contestant {
    /// Its name.
    pub name: String,
    /// A short description: `tokio, current-thread runtime`.
    pub about: String,
    /// The language: `Rust`.
    pub language: String,
    /// The version of its library; for floors that of the binding, if any.
    pub version: Option<String>,
    /// The reason why it takes no part, if it does not.
    pub skipped: Option<String>,
    /// The SHA-1 of its program or script: a campaign is not resumed after it has changed.
    pub program: Option<String>,
}

impl Contestant {
    /// A server of which only the command is known.
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
