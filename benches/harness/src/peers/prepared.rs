//! A peer that is ready to start, or the reason why it is not.

use std::fs;
use std::io;
use std::path::Path;

use sha1::{Digest, Sha1};

use super::catalogue::Peer;
use super::contestant::Contestant;
use super::options::ServerOptions;
use super::server::ServerSpec;

/// A peer that is ready to start, or the reason why it is not.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The peer.
    pub peer: &'static Peer,
    /// The library's name and version, and those of the runtime, if any: `gnet v2.9.5 (go1.26.8)`.
    pub version: Option<String>,
    /// The program and its first arguments.
    pub(super) outcome: Result<Vec<String>, Absence>,
}

/// The reason why a peer takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// A tool or library for the build is not installed. The line names it and the way to get it.
    Uninstalled(String),
    /// The build failed although everything that it needs is installed.
    Failed(Failure),
}

/// A build that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The reason in one line.
    pub(super) reason: String,
    /// The last lines that were printed; may be empty.
    pub(super) output: String,
}

impl Failure {
    pub(super) fn of(what: &Path, error: &io::Error) -> Self {
        Self {
            reason: format!("{}: {error}", what.display()),
            output: String::new(),
        }
    }
}

impl From<Failure> for Absence {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Prepared {
    /// The server for `options`; `None` if the peer takes no part, or does not support them.
    pub fn server(&self, options: &ServerOptions) -> Option<ServerSpec> {
        let words = self.outcome.as_ref().ok()?;
        self.peer
            .can(options)
            .then(|| ServerSpec::of_peer(self.peer, words, options))
    }

    /// The reason why it takes no part, in one line: not installed, or failed.
    pub fn skipped(&self) -> Option<&str> {
        match self.outcome.as_ref().err()? {
            Absence::Uninstalled(reason) => Some(reason),
            Absence::Failed(failure) => Some(&failure.reason),
        }
    }

    /// The reason why the build failed although its tools are there, with the last lines that they printed. The caller
    /// should then fail: a report without this peer would hide a defect.
    pub fn failed(&self) -> Option<String> {
        match self.outcome.as_ref().err()? {
            Absence::Uninstalled(_) => None,
            Absence::Failed(failure) if failure.output.is_empty() => Some(failure.reason.clone()),
            Absence::Failed(failure) => Some(format!("{}\n{}", failure.reason, failure.output)),
        }
    }

    /// A peer that counts as ready without having been built, for plans that are not carried out.
    #[cfg(test)]
    pub(crate) fn started_by_its_name(peer: &'static Peer) -> Self {
        Self {
            peer,
            version: None,
            outcome: Ok(vec![peer.name.to_owned()]),
        }
    }

    /// The SHA-1 of its program, or of the script that its program runs. (The file's time is no substitute: go rewrites
    /// files that have not changed.)
    fn program(&self) -> Option<String> {
        let words = self.outcome.as_ref().ok()?;
        let file = words.iter().rev().find_map(|word| fs::read(word).ok())?;
        let digest = Sha1::digest(file);
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Its description in a report.
    pub fn contestant(&self) -> Contestant {
        Contestant {
            name: self.peer.name.to_owned(),
            about: self.peer.about.to_owned(),
            language: self.peer.language.to_string(),
            version: self.version.clone(),
            skipped: self.skipped().map(str::to_owned),
            program: self.program(),
        }
    }
}
