//! The Go peers: commands of the modules in `benches/peers/go`. Each library has its own module, so that a missing one
//! does not affect the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolkit::{Tell, Workshop, run, start};
use crate::peers::catalogue::Peer;
use crate::peers::prepared::{Absence, Prepared};
use crate::peers::versions;

pub(super) fn prepare(
    workshop: &Workshop,
    peers: &[&'static Peer],
    tell: Tell<'_>,
) -> Vec<Prepared> {
    let mut modules: Vec<&str> = peers.iter().map(|peer| module(peer)).collect();
    modules.sort_unstable();
    modules.dedup();
    let mut prepared = Vec::new();
    for name in modules {
        let of_module: Vec<_> = peers.iter().filter(|peer| module(peer) == name).collect();
        let module = Module {
            workshop,
            folder: workshop.sources("go").join(name),
        };
        let built = module.build(&of_module, tell);
        prepared.extend(of_module.iter().map(|peer| module.prepared(peer, &built)));
    }
    prepared
}

/// The folder of a peer's module within the folder of all: `gnet/` of `gnet/cmd/gnet`.
fn module(peer: &Peer) -> &'static str {
    peer.program
        .find("cmd/")
        .map_or("", |end| &peer.program[..end])
}

/// The name of a peer's command.
fn command(peer: &Peer) -> &'static str {
    peer.program.rsplit('/').next().unwrap_or(peer.program)
}

struct Module<'a> {
    workshop: &'a Workshop,
    folder: PathBuf,
}

impl Module<'_> {
    /// Builds the commands of `peers` and returns the version of go.
    fn build(&self, peers: &[&&'static Peer], tell: Tell<'_>) -> Result<String, Absence> {
        let go = self.workshop.tool("go", "https://go.dev/dl")?;
        let mut build = Command::new(&go);
        build
            // Otherwise the build asks git for the revision, and fails if git does not trust the folder's owner.
            .args(["build", "-buildvcs=false", "-o"])
            // The separator at the end makes it a folder.
            .arg(self.workshop.products("go").join(""))
            .args(peers.iter().map(|peer| format!("./cmd/{}", command(peer))))
            .current_dir(&self.folder);
        let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
        run(build, &format!("building {}", names.join(", ")), tell)?;

        // The version that `go.mod` requires may differ from the installed one.
        let mut version = Command::new(&go);
        version.args(["env", "GOVERSION"]).current_dir(&self.folder);
        let version = run(version, "asking for the version of Go", tell)?;
        Ok(version.trim().to_owned())
    }

    fn prepared(&self, peer: &'static Peer, built: &Result<String, Absence>) -> Prepared {
        let library = peer.library.and_then(|path| library(&self.folder, path));
        let version = match (library, built.as_ref().ok()) {
            (Some(library), Some(go)) => Some(format!("{library} ({go})")),
            (library, go) => library.or(go.cloned()),
        };
        let outcome = built.as_ref().map_err(Clone::clone).and_then(|_| {
            let program = self.workshop.products("go").join(command(peer));
            start(&program, peer)
        });
        Prepared {
            peer,
            version,
            outcome,
        }
    }
}

/// The name and version of the library that a module requires. If `go.mod` is missing, go has reported the problem.
fn library(module: &Path, path: &str) -> Option<String> {
    let requirements = fs::read_to_string(module.join("go.mod")).ok()?;
    let version = versions::in_go_mod(&requirements, path)?;
    Some(format!("{} {version}", module_name(path)))
}

/// `gnet` of `github.com/panjf2000/gnet/v2`.
fn module_name(path: &str) -> &str {
    let is_major_version = |part: &&str| {
        let digits = part.strip_prefix('v');
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut parts = path.rsplit('/').skip_while(is_major_version);
    parts.next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_called_by_the_last_part_of_its_path_that_is_no_version() {
        assert_eq!(module_name("github.com/panjf2000/gnet/v2"), "gnet");
        assert_eq!(module_name("github.com/lesismal/nbio"), "nbio");
        assert_eq!(module_name("example.org/vault"), "vault");
        assert_eq!(module_name("plain"), "plain");
    }
}
