//! Socket options of a listener and of the connections that it accepts, on every platform.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::io::accepted_socket::AcceptedSocket;

/// Options of a listening socket and of the sockets that it accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) reuse_port: bool,
    pub(crate) backlog: u32,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) v6_only: Option<bool>,
    /// Permission bits of the file of a Unix socket.
    #[cfg(unix)]
    pub(crate) mode: Option<u32>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            reuse_port: false,
            backlog: 1024,
            nodelay: true,
            keepalive: None,
            receive_buffer: None,
            send_buffer: None,
            v6_only: None,
            #[cfg(unix)]
            mode: None,
        }
    }
}

impl SocketOptions {
    /// True if accepted sockets inherit the options of their listener: then no system call is needed for each of them.
    const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

    /// Makes a non-blocking listening socket, bound to the address.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // On Windows the option would let another process take the port over.
        if cfg!(unix) {
            socket.set_reuse_address(true)?;
        }
        if self.reuse_port {
            set_reuse_port(&socket)?;
        }
        if let (Some(v6_only), true) = (self.v6_only, address.is_ipv6()) {
            socket.set_only_v6(v6_only)?;
        }
        // The TCP window scale is negotiated when a connection begins, so buffer sizes are set on the listener.
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if Self::INHERITED {
            self.apply(SockRef::from(&socket))?;
        }
        socket.bind(&address.into())?;
        socket.listen(self.backlog())?;
        Ok(TcpListener::from_std(socket.into()))
    }

    /// The backlog, as the kernel takes it.
    pub(crate) fn backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }

    /// Sets the options that an accepted socket has not inherited. A failure is only logged: it costs latency, not the
    /// connection.
    pub(crate) fn apply_to_accepted(&self, socket: &AcceptedSocket) {
        let outcome = match socket {
            AcceptedSocket::Tcp(_) if Self::INHERITED => Ok(()),
            AcceptedSocket::Tcp(stream) => self.apply(SockRef::from(stream)),
            #[cfg(unix)]
            AcceptedSocket::Unix(stream) => self.apply_buffers(SockRef::from(stream)),
        };
        if let Err(error) = outcome {
            log::warn!("socket options could not be set: {error}");
        }
    }

    /// Sets the sizes of the buffers. Accepted Unix sockets inherit them nowhere, and an adopted listener has those of its giver.
    #[cfg(unix)]
    fn apply_buffers(&self, socket: SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }

    /// Sets the options of a socket that listens already, for the connections that it will accept. What is not set stays
    /// as the socket has it.
    #[cfg(unix)]
    pub(crate) fn apply_to_adopted(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(after) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after))?;
        }
        self.apply_buffers(socket)
    }

    /// Sets the options that matter to connections, not to listening.
    fn apply(&self, socket: SockRef<'_>) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(after) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after))?;
        }
        Ok(())
    }
}

#[cfg(all(
    unix,
    not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(
    unix,
    not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
)))]
fn set_reuse_port(_socket: &Socket) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "SO_REUSEPORT is not available on this system",
    ))
}
