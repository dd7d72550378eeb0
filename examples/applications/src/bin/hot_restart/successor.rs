//! A successor: another process of this program, or of a new version, that takes the listening sockets over.

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use crate::inherited::PREDECESSOR;

/// The word by which a successor says that it serves.
pub(crate) const READY: &[u8] = b"ready\n";
/// The number of the first descriptor that is passed (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// Starts a program with the arguments of this one, passes it the listening sockets, and waits until it is ready. Returns its
/// process number. If it ends before it is ready, or is not ready in time, it is killed.
pub(crate) fn start(program: &OsStr, listeners: &[OwnedFd], patience: Duration) -> io::Result<u32> {
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(patience))?;
    let mut process = spawn(program, listeners, theirs)?;
    let mut word = [0; READY.len()];
    let outcome = match ours.read_exact(&mut word) {
        Ok(()) if word == READY => return Ok(process.id()),
        Ok(()) => "it does not say that it is ready".into(),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "it has ended before it was ready".into()
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            format!("it is not ready after {patience:?}")
        }
        Err(error) => error.to_string(),
    };
    process.kill()?;
    process.wait()?;
    Err(io::Error::other(outcome))
}

/// Starts the program. Our copies of the descriptors are closed when this returns, so that the end of the process ends the
/// line to it.
fn spawn(program: &OsStr, listeners: &[OwnedFd], theirs: UnixStream) -> io::Result<Child> {
    let mut passed = Vec::new();
    for listener in listeners {
        passed.push(listener.try_clone()?);
    }
    passed.push(theirs.into());
    let count = passed.len().to_string();
    let names = "listener:".repeat(listeners.len()) + PREDECESSOR;
    let mappings = (FIRST..)
        .zip(passed)
        .map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
    let mut command = Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env("LISTEN_FDS", count)
        .env("LISTEN_FDNAMES", names)
        // The number of the process is not known before it starts.
        .env_remove("LISTEN_PID")
        .fd_mappings(mappings.collect())
        .map_err(io::Error::other)?;
    command.spawn()
}
