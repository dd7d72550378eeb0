//! The Rust peers: binaries of the package `ringwheel-peers`, in the harness's own target folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::toolkit::{Tell, Workshop, run, start, word};
use crate::peers::catalogue::Peer;
use crate::peers::prepared::{Absence, Failure, Prepared};
use crate::peers::server::quoted;
use crate::peers::versions;
use crate::process::ServerProcess;

const PACKAGE: &str = "ringwheel-peers";

pub(super) fn prepare(
    workshop: &Workshop,
    peers: &[&'static Peer],
    tell: Tell<'_>,
) -> Vec<Prepared> {
    let built = build(workshop, peers, tell);
    // If the lock file is missing there are no versions, and cargo has reported the problem.
    let lock = fs::read_to_string(workshop.tree.join("Cargo.lock")).unwrap_or_default();
    let prepared = peers.iter().map(|&peer| {
        let version = peer.library.and_then(|library| {
            let version = versions::in_cargo_lock(&lock, PACKAGE, library)?;
            Some(format!("{library} {version}"))
        });
        let outcome = built.as_ref().map_err(Clone::clone).and_then(|built| {
            let binary = built.get(peer.program).ok_or_else(|| Failure {
                reason: format!("cargo has not built {}", peer.program),
                output: String::new(),
            })?;
            if peer.io_uring {
                probe(binary)?;
            }
            start(binary, peer)
        });
        Prepared {
            peer,
            version,
            outcome,
        }
    });
    prepared.collect()
}

/// Builds the binaries of `peers` and returns their paths, by name.
fn build(
    workshop: &Workshop,
    peers: &[&'static Peer],
    tell: Tell<'_>,
) -> Result<HashMap<String, PathBuf>, Absence> {
    let cargo = workshop.tool(&workshop.cargo, "https://rustup.rs")?;
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked", "--package", PACKAGE])
        // The path of a binary also depends on the user's configuration; cargo prints it in these messages.
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(&workshop.target)
        .current_dir(&workshop.tree);
    for peer in peers {
        command.args(["--bin", peer.program]);
    }
    let messages = run(command, "building the Rust peers", tell)?;
    Ok(messages.lines().filter_map(executable).collect())
}

/// Starts a peer once, to check that the kernel permits it.
fn probe(binary: &Path) -> Result<(), Absence> {
    let command = format!("{} --addr {{addr}} 2> /dev/null", quoted(&word(binary)?));
    let refused = |error| Absence::Uninstalled(format!("the kernel refuses io_uring ({error})"));
    ServerProcess::start(&command, None)
        .map(drop)
        .map_err(refused)
}

/// The name and path of the binary in a message of cargo, if it names one.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let name = message["target"]["name"].as_str()?;
    let executable = message["executable"].as_str()?;
    Some((name.to_owned(), executable.into()))
}
