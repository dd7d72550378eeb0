//! A peer that is ready to be started, or why it is not.

use std::fs;
use std::io;
use std::path::Path;

use sha1::{Digest, Sha1};

use super::catalogue::Peer;
use super::contestant::Contestant;
use super::options::ServerOptions;
use super::server::ServerSpec;

/// A peer that is ready to be started, or why it is not.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Which.
    pub peer: &'static Peer,
    /// The library's name and version, and that of the runtime, where there is one: `gnet v2.9.5 (go1.26.8)`.
    pub version: Option<String>,
    /// The program and its first arguments.
    pub(super) outcome: Result<Vec<String>, Absence>,
}

/// Why a peer takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// What it is built by, or with, is not installed: a line that says what, and how to get it.
    Uninstalled(String),
    /// It could not be built, though all that it takes is there.
    Failed(Failure),
}

/// A build that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In one line.
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
    /// The server that does what `options` ask; `None` when the peer takes no part, or cannot do it.
    pub fn server(&self, options: &ServerOptions) -> Option<ServerSpec> {
        let words = self.outcome.as_ref().ok()?;
        self.peer
            .can(options)
            .then(|| ServerSpec::of_peer(self.peer, words, options))
    }

    /// Why it takes no part, in one line, be it not installed or failed.
    pub fn skipped(&self) -> Option<&str> {
        match self.outcome.as_ref().err()? {
            Absence::Uninstalled(reason) => Some(reason),
            Absence::Failed(failure) => Some(&failure.reason),
        }
    }

    /// Why it could not be built though its tools are there, with the last lines that they printed. Whoever prepared it
    /// should fail: a report without it would hide a defect.
    pub fn failed(&self) -> Option<String> {
        match self.outcome.as_ref().err()? {
            Absence::Uninstalled(_) => None,
            Absence::Failed(failure) if failure.output.is_empty() => Some(failure.reason.clone()),
            Absence::Failed(failure) => Some(format!("{}\n{}", failure.reason, failure.output)),
        }
    }

    /// One that is said to be ready without having been built, for plans that nobody carries out.
    #[cfg(test)]
    pub(crate) fn started_by_its_name(peer: &'static Peer) -> Self {
        Self {
            peer,
            version: None,
            outcome: Ok(vec![peer.name.to_owned()]),
        }
    }

    /// The SHA-1 of its program, or of the script that its program runs. (When it was made says nothing: go writes anew what
    /// has not changed.)
    fn program(&self) -> Option<String> {
        let words = self.outcome.as_ref().ok()?;
        let file = words.iter().rev().find_map(|word| fs::read(word).ok())?;
        let digest = Sha1::digest(file);
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As a report names it.
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
