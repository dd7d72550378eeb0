//! The C peers: targets of the makefile in `benches/peers/c`, with libraries of the system.

use std::process::Command;

use super::toolkit::{Tell, Workshop, run, start};
use crate::peers::catalogue::Peer;
use crate::peers::prepared::{Absence, Prepared};

pub(super) fn prepare(
    workshop: &Workshop,
    peers: &[&'static Peer],
    tell: Tell<'_>,
) -> Vec<Prepared> {
    let mut libraries: Vec<Result<Option<String>, Absence>> = Vec::new();
    for peer in peers {
        libraries.push(library(workshop, peer, tell));
    }
    let possible: Vec<_> = peers
        .iter()
        .zip(&libraries)
        .filter_map(|(&peer, library)| library.is_ok().then_some(peer))
        .collect();
    let built = build(workshop, &possible, tell);
    let prepared = peers.iter().zip(libraries).map(|(&peer, library)| {
        let (version, outcome) = match (library, &built) {
            (Err(absence), _) => (None, Err(absence)),
            (Ok(version), Err(absence)) => (version, Err(absence.clone())),
            (Ok(version), Ok(())) => {
                let program = workshop.products("c").join(peer.program);
                (version, start(&program, peer))
            }
        };
        Prepared {
            peer,
            version,
            outcome,
        }
    });
    prepared.collect()
}

/// Finds the tools for `peer`, and returns the name and version of the library that it needs, if any.
fn library(workshop: &Workshop, peer: &Peer, tell: Tell<'_>) -> Result<Option<String>, Absence> {
    workshop.tool("make", "Debian: make")?;
    workshop.tool("cc", "Debian: gcc")?;
    let Some(library) = peer.library else {
        return Ok(None);
    };
    let pkg_config = workshop.tool("pkg-config", "Debian: pkg-config")?;
    let mut command = Command::new(pkg_config);
    command.args(["--modversion", library]);
    let version = run(command, "looking for a C library", tell).map_err(|_| {
        let package = debian_package(library);
        Absence::Uninstalled(format!(
            "pkg-config does not know {library} (Debian: {package})"
        ))
    })?;
    let name = library.trim_end_matches("_core");
    Ok(Some(format!("{name} {}", version.trim())))
}

fn debian_package(library: &str) -> &str {
    match library {
        "libuv" => "libuv1-dev",
        "libevent_core" => "libevent-dev",
        "openssl" => "libssl-dev",
        _ => library,
    }
}

/// Builds the targets of `peers`.
fn build(workshop: &Workshop, peers: &[&'static Peer], tell: Tell<'_>) -> Result<(), Absence> {
    if peers.is_empty() {
        return Ok(());
    }
    let make = workshop.tool("make", "Debian: make")?;
    let products = workshop.products("c");
    let mut out = std::ffi::OsString::from("OUT=");
    out.push(&products);
    let mut command = Command::new(make);
    command
        .arg("-C")
        .arg(workshop.sources("c"))
        .arg(out)
        .args(peers.iter().map(|peer| products.join(peer.program)));
    run(command, "building the C peers", tell)?;
    Ok(())
}
