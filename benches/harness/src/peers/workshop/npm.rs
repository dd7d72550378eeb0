//! The JavaScript peers: scripts of `benches/peers/node`, copied beside the packages that npm installs for them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::toolkit::{Tell, Workshop, run, word};
use crate::peers::catalogue::Peer;
use crate::peers::prepared::{Absence, Failure, Prepared};
use crate::peers::versions;

const LOCK: &str = "package-lock.json";
/// A copy of the lock file that is written after its packages have been installed.
const INSTALLED: &str = "installed.json";

pub(super) fn prepare(
    workshop: &Workshop,
    peers: &[&'static Peer],
    tell: Tell<'_>,
) -> Vec<Prepared> {
    let node = install(workshop, peers, tell);
    // If the lock file is missing there are no versions, and the installation has failed.
    let lock = fs::read_to_string(workshop.sources("node").join(LOCK)).unwrap_or_default();
    let prepared = peers.iter().map(|&peer| {
        let package = peer.library.and_then(|package| {
            let version = versions::in_package_lock(&lock, package)?;
            Some(format!("{package} {version}"))
        });
        let version = match (package, &node) {
            (Some(package), Ok(node)) => Some(format!("{package} (node {})", node.version)),
            (package, _) => package,
        };
        let outcome = node.as_ref().map_err(Clone::clone).and_then(|node| {
            let script = word(&workshop.products("node").join(peer.program))?;
            let arguments = peer.arguments.iter().map(|&argument| argument.to_owned());
            let words = [node.program.clone(), script].into_iter().chain(arguments);
            Ok(words.collect())
        });
        Prepared {
            peer,
            version,
            outcome,
        }
    });
    prepared.collect()
}

/// The programs that run the scripts.
struct Node {
    program: String,
    version: String,
}

/// Copies the scripts of `peers`, and installs their packages unless they are installed already.
fn install(workshop: &Workshop, peers: &[&'static Peer], tell: Tell<'_>) -> Result<Node, Absence> {
    let node = workshop.tool("node", "https://nodejs.org")?;
    let npm = workshop.tool("npm", "Debian: npm")?;
    let (sources, products) = (workshop.sources("node"), workshop.products("node"));
    fs::create_dir_all(&products).map_err(|error| Failure::of(&products, &error))?;
    for peer in peers {
        copy(peer.program, &sources, &products)?;
    }

    let lock = sources.join(LOCK);
    let wanted = fs::read(&lock).map_err(|error| Failure::of(&lock, &error))?;
    let installed = products.join(INSTALLED);
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        if installed.exists() {
            fs::remove_file(&installed).map_err(|error| Failure::of(&installed, &error))?;
        }
        copy("package.json", &sources, &products)?;
        copy(LOCK, &sources, &products)?;
        let mut command = Command::new(npm);
        command
            .args(["ci", "--omit=dev", "--no-audit", "--no-fund"])
            .current_dir(&products);
        run(command, "installing the packages of the Node peers", tell)?;
        fs::write(&installed, wanted).map_err(|error| Failure::of(&installed, &error))?;
    }

    let mut command = Command::new(&node);
    command.arg("--version");
    let version = run(command, "asking for the version of Node", tell)?;
    Ok(Node {
        program: word(&node)?,
        version: version.trim().to_owned(),
    })
}

fn copy(file: &str, from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (from.join(file), to.join(file));
    let copied = fs::copy(&from, to);
    copied.map_err(|error| Failure::of(&from, &error))?;
    Ok(())
}
