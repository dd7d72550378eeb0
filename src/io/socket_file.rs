//! The file of a listening Unix socket: put at its path as a whole, and removed at the end if it is still ours.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Bytes that a temporary name adds to the path: `~` and four more.
const SUFFIX: usize = 5;
/// The longest path of a socket file: the kernel's `sun_path` (unix(7); 108 bytes on Linux, 104 on the BSDs), without its
/// final zero and the suffix of a temporary name.
const PATH_MAX: usize = if cfg!(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
)) {
    104 - 1 - SUFFIX
} else {
    108 - 1 - SUFFIX
};
/// Attempts to find a name that is free, or a moment at which nobody else starts.
const ATTEMPTS: usize = 16;

/// The file at which a Unix socket is reached. Dropping it removes the file.
///
/// The socket is bound to a temporary name beside the path, is given its mode, listens, and only then takes the place at the
/// path: no client finds it with another mode, or before it listens, and a file that an earlier server has left is replaced
/// in one step.
pub(crate) struct SocketFile {
    /// Absolute, in case the working directory changes. `None` once the file is removed.
    path: Option<PathBuf>,
    identity: Identity,
}

/// Device and inode: they tell whether a file is still the same.
type Identity = (u64, u64);

/// The kind of file that a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occupant {
    Nothing,
    /// A socket on which nobody listens.
    Stale,
    /// A socket on which somebody listens.
    Live,
    /// A file that is no socket.
    Other,
}

impl SocketFile {
    /// Binds a socket, and listens at the path.
    ///
    /// Of several servers that start at one time, one gets the path. The others find that it listens, or is about to.
    pub(crate) fn create(
        path: &Path,
        mode: Option<u32>,
        socket: &Socket,
        backlog: i32,
    ) -> io::Result<SocketFile> {
        check(path)?;
        let absolute = path::absolute(path)?;
        let mut temporary = Temporary::bind(socket, path)?;
        if let Some(mode) = mode {
            fs::set_permissions(&temporary.path, Permissions::from_mode(mode))?;
        }
        socket.listen(backlog)?;
        let file = SocketFile {
            path: None,
            identity: identity(&temporary.path)?,
        };
        let _turn = Turn::take(&temporary.path, path)?;
        remove_old_temporaries(path);
        temporary.move_to(path)?;
        Ok(SocketFile {
            path: Some(absolute),
            ..file
        })
    }

    /// Gives the file up without removing it.
    pub(crate) fn leave(mut self) {
        self.path = None;
    }

    /// Removes the file, unless another has taken its place.
    pub(crate) fn remove(&mut self) {
        let Some(path) = self.path.take() else {
            return;
        };
        let outcome = match identity(&path) {
            Ok(identity) if identity == self.identity => fs::remove_file(&path),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!(
                    "the socket file {} could not be removed: {error}",
                    path.display()
                );
            }
            _ => {}
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The path at which a socket is reached that the kernel knows by this name. They differ for sockets of this library,
/// which were bound to a temporary name that is gone.
pub(super) fn path_of(bound: &Path) -> &Path {
    let name = bound.as_os_str().as_bytes();
    let Some((stem, suffix)) = name.split_at_checked(name.len().saturating_sub(SUFFIX)) else {
        return bound;
    };
    let is_temporary = suffix.len() == SUFFIX
        && suffix[0] == b'~'
        && suffix[1..].iter().all(u8::is_ascii_hexdigit);
    if !is_temporary || stem.is_empty() || bound.symlink_metadata().is_ok() {
        return bound;
    }
    Path::new(OsStr::from_bytes(stem))
}

/// A name beside the path, of which nobody knows. Dropping it removes the file.
struct Temporary {
    path: PathBuf,
    is_there: bool,
}

impl Temporary {
    /// Binds the socket to a name that is free.
    fn bind(socket: &Socket, path: &Path) -> io::Result<Temporary> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let random = RandomState::new().hash_one(attempt) as u16;
            let name = beside(path, &format!("~{random:04x}"));
            match socket.bind(&SockAddr::unix(&name)?) {
                Ok(()) => {
                    return Ok(Temporary {
                        path: name,
                        is_there: true,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the file to the path, if nobody listens there and no other file is there.
    fn move_to(&mut self, path: &Path) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            match Occupant::of(path)? {
                Occupant::Live => return Err(in_use("another server listens there")),
                Occupant::Other => return Err(no_socket(path)),
                Occupant::Stale => return self.rename(path),
                // Unlike a renaming, a link replaces nothing.
                Occupant::Nothing => match fs::hard_link(&self.path, path) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    // The file system has no links.
                    Err(_) => return self.rename(path),
                },
            }
        }
        Err(in_use("others change the file all the time"))
    }

    fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_there = false;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_there {
            // A failure leaves a file on which nobody listens.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the temporary names of servers that were killed while they started, at least a minute ago: one that starts now does
/// not listen yet, either. Nothing depends on it, so failures are passed over.
fn remove_old_temporaries(path: &Path) {
    const OLD: Duration = Duration::from_secs(60);
    let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else {
        return;
    };
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let suffix = file.as_bytes().strip_prefix(name.as_bytes());
        let is_temporary = suffix.is_some_and(|it| it.len() == SUFFIX && it.starts_with(b"~"));
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_temporary
            && age().is_some_and(|age| age >= OLD)
            && matches!(Occupant::of(&entry.path()), Ok(Occupant::Stale))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The right to change the file at a path, which one server at a time has: a second name of its socket, which listens
/// already. So others can tell it from the name that a server has left which ended at this very moment.
struct Turn(Option<PathBuf>);

impl Turn {
    fn take(listening: &Path, path: &Path) -> io::Result<Turn> {
        let name = beside(path, "~lock");
        for _ in 0..ATTEMPTS {
            match fs::hard_link(listening, &name) {
                Ok(()) => return Ok(Turn(Some(name))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // The file system has no links: then the last server to start gets the path.
                Err(_) => return Ok(Turn(None)),
            }
            match Occupant::of(&name)? {
                Occupant::Live => return Err(in_use("another server is about to listen there")),
                Occupant::Other => return Err(no_socket(&name)),
                Occupant::Stale => _ = fs::remove_file(&name),
                Occupant::Nothing => {}
            }
        }
        Err(in_use("others start all the time"))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(name) = self.0.take() {
            // A failure leaves a name that the next server finds stale once this one has ended.
            let _ = fs::remove_file(name);
        }
    }
}

impl Occupant {
    /// Looks at a path, and connects if there is a socket. Only a refusal proves that nobody listens.
    fn of(path: &Path) -> io::Result<Occupant> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
            Err(error) => return Err(error),
            Ok(file) if !file.file_type().is_socket() => return Ok(Occupant::Other),
            Ok(_) => {}
        }
        let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A server whose backlog is full lets others wait.
        client.set_nonblocking(true)?;
        match client.connect(&SockAddr::unix(path)?) {
            Ok(()) => Ok(Occupant::Live),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Occupant::Live),
                io::ErrorKind::ConnectionRefused => Ok(Occupant::Stale),
                io::ErrorKind::NotFound => Ok(Occupant::Nothing),
                kind => {
                    let text = format!(
                        "the socket at {} cannot be reached: {error}",
                        path.display()
                    );
                    Err(io::Error::new(kind, text))
                }
            },
        }
    }
}

/// Refuses a path that the kernel would cut off or understand as something else.
fn check(path: &Path) -> io::Result<()> {
    let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let bytes = path.as_os_str().as_bytes();
    if path.file_name().is_none() || bytes.contains(&0) {
        return invalid("this is not the path of a file".into());
    }
    if bytes.len() > PATH_MAX {
        let length = bytes.len();
        return invalid(format!(
            "the path has {length} bytes, and that of a socket at most {PATH_MAX}"
        ));
    }
    Ok(())
}

/// The path with a suffix.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

fn in_use(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, text)
}

fn no_socket(path: &Path) -> io::Error {
    let text = format!("{} is there and is no socket", path.display());
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_reached_at_the_path_from_which_its_temporary_name_was_made() {
        let path_of = |bound: &str| path_of(Path::new(bound)).to_owned();
        assert_eq!(
            path_of("/nowhere/socket~09af"),
            Path::new("/nowhere/socket")
        );
        for other in ["/nowhere/socket", "/nowhere/socket~09ag", "~09af", "~1", ""] {
            assert_eq!(path_of(other), Path::new(other));
        }
        // A file of that very name is there, so it is the path.
        let directory = std::env::temp_dir();
        let file = directory.join(format!("ringwheel-{}~0000", std::process::id()));
        fs::write(&file, "").unwrap();
        assert_eq!(super::path_of(&file), file);
        fs::remove_file(&file).unwrap();
    }
}
