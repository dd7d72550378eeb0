//! A listening Unix socket, at a path or under an abstract name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net;
use std::path::Path;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::io::address::Address;
use crate::io::socket_file::{SocketFile, path_of};
use crate::io::socket_options::SocketOptions;

/// A listening Unix socket, and the file at which it is reached.
pub(crate) struct UnixListener {
    /// `None` for an abstract name, and for a socket that was adopted. It is dropped before the socket: the next server takes the
    /// path as soon as nobody listens, and the file would be its own by then.
    file: Option<SocketFile>,
    /// The listening socket, which is polled as if it were a stream: mio's own listener panics when a peer is bound to a path
    /// of 108 bytes, which the kernel reports with a length beyond that of the address.
    socket: UnixStream,
    /// The path or the name that was asked for. The kernel has the temporary name to which the socket was bound.
    address: Address,
}

impl UnixListener {
    /// Listens at a path, as [`SocketFile::create`] describes.
    pub(crate) fn at_path(path: &Path, options: &SocketOptions) -> io::Result<Self> {
        let socket = Self::socket()?;
        let file = SocketFile::create(path, options.mode, &socket, options.backlog())?;
        let address = Address::Unix(Some(path.into()));
        Ok(Self::around(socket, address, Some(file)))
    }

    /// Listens under an abstract name, which is the kernel's own and no file (unix(7), "Address format").
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn with_name(name: &[u8], options: &SocketOptions) -> io::Result<Self> {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        /// The kernel's `sun_path` without the zero in front of the name.
        const NAME_MAX: usize = 107;
        if name.is_empty() || name.len() > NAME_MAX {
            let length = name.len();
            let text = format!("an abstract name has 1 to {NAME_MAX} bytes, and not {length}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let full_name = [b"\0", name].concat();
        let socket = Self::socket()?;
        socket.bind(&SockAddr::unix(OsStr::from_bytes(&full_name))?)?;
        socket.listen(options.backlog())?;
        Ok(Self::around(socket, Address::Abstract(name.into()), None))
    }

    /// Takes over a socket that listens already. Its file, if it has one, is not ours to remove.
    pub(super) fn adopted(socket: Socket) -> io::Result<Self> {
        let address = match address_of(&socket.local_addr()?) {
            Address::Unix(Some(bound)) => Address::Unix(Some(path_of(&bound).into())),
            other => other,
        };
        Ok(Self::around(socket, address, None))
    }

    fn socket() -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn around(socket: Socket, address: Address, file: Option<SocketFile>) -> Self {
        UnixListener {
            file,
            socket: UnixStream::from_std(socket.into()),
            address,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    pub(super) fn accept(&self) -> io::Result<(UnixStream, Address)> {
        let accept = || SockRef::from(&self.socket).accept();
        let (socket, peer) = self.socket.try_io(accept)?;
        let stream = net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok((UnixStream::from_std(stream), address_of(&peer)))
    }

    pub(super) fn local_addr(&self) -> Address {
        self.address.clone()
    }

    /// Removes the socket's file, so that no further client finds it.
    pub(super) fn withdraw(&mut self) {
        self.file = None;
    }

    /// Leaves the socket's file to a successor.
    pub(super) fn leave(&mut self) {
        if let Some(file) = self.file.take() {
            file.leave();
        }
    }

    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }
}

/// The address of a socket, which has none unless it was bound to one, such as that of most peers.
fn address_of(peer: &SockAddr) -> Address {
    if let Some(path) = peer.as_pathname() {
        return Address::Unix(Some(path.into()));
    }
    match peer.as_abstract_namespace() {
        Some(name) => Address::Abstract(name.into()),
        None => Address::Unix(None),
    }
}
