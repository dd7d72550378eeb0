//! Descriptors that this program was started with: listening sockets, and the line on which a predecessor awaits its word.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;

/// The name of the descriptor that leads to the predecessor.
pub(crate) const PREDECESSOR: &str = "predecessor";

/// The descriptors that were passed by the protocol of systemd (sd_listen_fds(3)): as many as `LISTEN_FDS` says, from number
/// 3 on, with the names in `LISTEN_FDNAMES`. They are for the process in `LISTEN_PID`, or for any if that is not set.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) listeners: Vec<OwnedFd>,
    /// `None` if no predecessor has started this program.
    pub(crate) predecessor: Option<UnixStream>,
}

impl Inherited {
    /// Takes them out of the environment, before there is a second thread.
    pub(crate) fn take() -> io::Result<Inherited> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let Some(descriptor) = take_socket(&mut passed, index)? else {
                continue;
            };
            match name == PREDECESSOR {
                true => inherited.predecessor = Some(descriptor.into()),
                false => inherited.listeners.push(descriptor),
            }
        }
        Ok(inherited)
    }
}

/// Takes a stream socket, of TCP or Unix. It need not listen.
fn take_socket(passed: &mut ListenFd, index: usize) -> io::Result<Option<OwnedFd>> {
    match passed.take_tcp_listener(index) {
        Ok(socket) => Ok(socket.map(OwnedFd::from)),
        Err(_) => Ok(passed.take_unix_listener(index)?.map(OwnedFd::from)),
    }
}
