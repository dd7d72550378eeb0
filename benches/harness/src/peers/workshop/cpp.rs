//! The C++ peers: targets of the makefile in `benches/peers/cpp`, with a library whose sources come from the crate
//! registry.
//!
//! The crate is not built or used by Rust code: cargo only fetches it, following the lock file beside the makefile, and
//! prints its path.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::toolkit::{Tell, Workshop, run, start};
use crate::peers::catalogue::{Peer, Tls};
use crate::peers::prepared::{Absence, Failure, Prepared};
use crate::peers::versions;

/// The package whose dependencies are the sources.
const PACKAGE: &str = "ringwheel-peers-cpp";

pub(super) fn prepare(
    workshop: &Workshop,
    peers: &[&'static Peer],
    tell: Tell<'_>,
) -> Vec<Prepared> {
    let lock = workshop.sources("cpp").join("Cargo.lock");
    // If the lock file is missing there are no versions, and cargo has reported the problem.
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let mut prepared = Vec::new();
    for &peer in peers {
        let version = peer.library.and_then(|library| {
            let version = versions::in_cargo_lock(&lock, PACKAGE, library)?;
            Some(format!("{library} {version}"))
        });
        let outcome = build(workshop, peer, tell).and_then(|program| start(&program, peer));
        prepared.push(Prepared {
            peer,
            version,
            outcome,
        });
    }
    prepared
}

/// Builds one peer and returns its program.
fn build(workshop: &Workshop, peer: &Peer, tell: Tell<'_>) -> Result<PathBuf, Absence> {
    let make = workshop.tool("make", "Debian: make")?;
    let compiler = workshop.tool("g++", "Debian: g++")?;
    find_header(&compiler, "zlib.h", "zlib1g-dev", tell)?;
    if peer.tls != Tls::Never {
        find_header(&compiler, "openssl/ssl.h", "libssl-dev", tell)?;
    }
    let library = fetch(workshop, peer, tell)?;
    let products = workshop.products("cpp");
    let program = products.join(peer.program);
    let variable = |name: &str, value: &Path| {
        let mut word = OsString::from(name);
        word.push("=");
        word.push(value);
        word
    };
    let mut command = Command::new(make);
    command
        .arg("-C")
        .arg(workshop.sources("cpp"))
        .arg(variable("OUT", &products))
        .arg(variable("LIBRARY", &library))
        .arg(&program);
    run(command, &format!("building {}", peer.name), tell)?;
    Ok(program)
}

/// Checks that the compiler finds `header`, which Debian's `package` brings.
fn find_header(
    compiler: &Path,
    header: &str,
    package: &str,
    tell: Tell<'_>,
) -> Result<(), Absence> {
    let mut command = Command::new(compiler);
    command.args(["-E", "-x", "c++", "-include", header, "/dev/null"]);
    run(command, &format!("looking for {header}"), tell)
        .map_err(|_| Absence::Uninstalled(format!("g++ finds no {header} (Debian: {package})")))?;
    Ok(())
}

/// Makes cargo fetch the sources of the peer's library, and returns their folder.
fn fetch(workshop: &Workshop, peer: &Peer, tell: Tell<'_>) -> Result<PathBuf, Absence> {
    let cargo = workshop.tool(&workshop.cargo, "https://rustup.rs")?;
    let mut command = Command::new(cargo);
    command
        .args(["metadata", "--locked", "--format-version=1"])
        // Any single platform will do: otherwise the crate's dependencies for all other platforms would be fetched,
        // too.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(workshop.sources("cpp"));
    let metadata = run(command, "fetching the sources of the C++ peers", tell)?;
    let folder = peer.library.and_then(|library| source(&metadata, library));
    folder.ok_or_else(|| {
        let reason = format!("cargo has not fetched the sources of {}", peer.name);
        let output = String::new();
        Absence::Failed(Failure { reason, output })
    })
}

/// The folder of the package `name` in the output of `cargo metadata`.
fn source(metadata: &str, name: &str) -> Option<PathBuf> {
    let metadata: Value = serde_json::from_str(metadata).ok()?;
    let mut packages = metadata["packages"].as_array()?.iter();
    let package = packages.find(|package| package["name"] == name)?;
    let manifest = Path::new(package["manifest_path"].as_str()?);
    manifest.parent().map(Path::to_owned)
}
