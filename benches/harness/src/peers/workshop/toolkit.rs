//! The folders and tools that the toolchains share.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::peers::catalogue::Peer;
use crate::peers::prepared::{Absence, Failure};
use crate::peers::tool::{Job, SearchPath};

/// Longest time for one toolchain to build its peers.
const DEADLINE: Duration = Duration::from_secs(20 * 60);

/// Is called with lines about progress.
pub(super) type Tell<'a> = &'a mut dyn FnMut(&str);

/// The folders and programs for building peers.
#[derive(Debug)]
pub(super) struct Workshop {
    /// The root of the source tree.
    pub(super) tree: PathBuf,
    /// Cargo's target folder; the other toolchains build in a folder within it.
    pub(super) target: PathBuf,
    /// The folders in which tools are searched.
    pub(super) programs: SearchPath,
    /// The cargo to use.
    pub(super) cargo: PathBuf,
}

impl Workshop {
    pub(super) fn here() -> io::Result<Self> {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tree = tree.canonicalize().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", tree.display()))
        })?;
        let target = match target_of(&env::current_exe()?) {
            Some(target) => target,
            None => match env::var_os("CARGO_TARGET_DIR") {
                Some(folder) => std::path::absolute(folder)?,
                None => tree.join("target"),
            },
        };
        Ok(Self {
            tree,
            target,
            programs: SearchPath::from_environment(),
            cargo: env::var_os("CARGO")
                .unwrap_or_else(|| "cargo".into())
                .into(),
        })
    }

    /// Locks the folder until the file is closed, so that no other process builds here.
    pub(super) fn lock(&self, tell: Tell<'_>) -> io::Result<File> {
        let folder = self.target.join("peers");
        fs::create_dir_all(&folder)?;
        let file = File::create(folder.join("lock"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            tell("waiting for another process that builds the peers");
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        }
        Ok(file)
    }

    /// The folder of the sources of the peers in one language.
    pub(super) fn sources(&self, folder: &str) -> PathBuf {
        self.tree.join("benches/peers").join(folder)
    }

    /// The folder of their built programs.
    pub(super) fn products(&self, folder: &str) -> PathBuf {
        self.target.join("peers").join(folder)
    }

    /// The tool named `program`; if it is missing, the error contains `remedy`, the way to get it.
    pub(super) fn tool(&self, program: impl AsRef<Path>, remedy: &str) -> Result<PathBuf, Absence> {
        let program = program.as_ref();
        self.programs.find(program).ok_or_else(|| {
            let program = program.display();
            Absence::Uninstalled(format!("{program} is not installed ({remedy})"))
        })
    }
}

/// Runs a tool and returns its output.
pub(super) fn run(command: Command, purpose: &str, tell: Tell<'_>) -> Result<String, Failure> {
    let job = Job {
        command,
        purpose,
        deadline: DEADLINE,
    };
    job.run(tell)
}

/// Converts `path` to a word of a command.
pub(super) fn word(path: &Path) -> Result<String, Absence> {
    match path.to_str() {
        Some(word) => Ok(word.to_owned()),
        None => Err(Absence::Failed(Failure {
            reason: format!("{} is not UTF-8", path.display()),
            output: String::new(),
        })),
    }
}

/// The words that start `program`, the peer's own program.
pub(super) fn start(program: &Path, peer: &Peer) -> Result<Vec<String>, Absence> {
    let arguments = peer.arguments.iter().map(|&argument| argument.to_owned());
    Ok([word(program)?].into_iter().chain(arguments).collect())
}

/// The target folder that contains `program`, if any: cargo marks the folder with a tag for backup programs.
pub(super) fn target_of(program: &Path) -> Option<PathBuf> {
    let mut folders = program.ancestors().skip(1);
    let target = folders.find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(target.to_owned())
}
