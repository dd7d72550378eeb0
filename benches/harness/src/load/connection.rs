//! One connection of an echo load: the bytes still to send, the answers received, and the due time of each answer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::incoming::Incoming;
use super::{Framing, LoadError, PATIENCE, WireImage, handshake};

/// Invariant: `unsent` plus the bytes on their way equals the missing bytes of the answers in `due`.
pub(crate) struct Connection {
    socket: TcpStream,
    /// Position of the next byte in the sent ring.
    cursor: usize,
    /// Number of the message in the ring that is enqueued next.
    next: usize,
    /// Bytes that are permitted but not yet taken by the socket.
    unsent: u64,
    incoming: Incoming,
    /// For each missing answer: the time when its message was sent, or should have been.
    due: VecDeque<u64>,
}

impl Connection {
    /// Connects like [`connect`]; the socket is then non-blocking.
    pub(crate) fn open(
        address: SocketAddr,
        index: usize,
        image: &WireImage,
    ) -> Result<Self, LoadError> {
        Self::open_on_walk(address, index, index, image)
    }

    /// Like [`Self::open`], but with the walk along the ring of another connection.
    pub(crate) fn open_on_walk(
        address: SocketAddr,
        index: usize,
        walk: usize,
        image: &WireImage,
    ) -> Result<Self, LoadError> {
        let socket = connect(address, index, image.framing())?;
        socket
            .set_nonblocking(true)
            .map_err(LoadError::io("make a socket non-blocking"))?;
        Ok(Self {
            socket,
            cursor: image.sent().start(walk),
            next: image.sent().first(walk),
            unsent: 0,
            incoming: Incoming::new(index, walk, image),
            due: VecDeque::new(),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Permits sending `messages` more; their latency counts from `at`.
    #[inline]
    pub(crate) fn enqueue(&mut self, image: &WireImage, messages: usize, at: u64) {
        let (bytes, next) = image.sent().span(self.next, messages);
        self.unsent += bytes;
        self.next = next;
        self.due.extend(std::iter::repeat_n(at, messages));
    }

    /// Sends until everything is sent or the socket is full.
    #[inline]
    pub(crate) fn flush(&mut self, image: &WireImage) -> Result<(), LoadError> {
        let ring = image.sent();
        while self.unsent > 0 {
            let slice = ring.slice(self.cursor, self.unsent);
            match self.socket.write(slice) {
                Ok(length) => {
                    let full = length < slice.len();
                    self.cursor = ring.advance(self.cursor, length);
                    self.unsent -= length as u64;
                    if full {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let owed = self.due.len();
                    return Err(self.incoming.failure("send", owed, error));
                }
            }
        }
        Ok(())
    }

    /// Reads until the socket is drained, and returns the number of complete messages. See [`Incoming::receive`].
    #[inline]
    pub(crate) fn receive(
        &mut self,
        image: &WireImage,
        buffer: &mut [u8],
        verify: bool,
    ) -> Result<usize, LoadError> {
        let owed = self.due.len();
        self.incoming
            .receive(&self.socket, image, buffer, verify, owed)
    }

    /// The number of answers still missing.
    #[inline]
    pub(crate) fn owed(&self) -> usize {
        self.due.len()
    }

    /// The start times for the latencies of the next `messages` answers.
    #[inline]
    pub(crate) fn settle(&mut self, messages: usize) -> impl Iterator<Item = u64> {
        self.due.drain(..messages)
    }
}

/// Connects within [`PATIENCE`], without Nagle's delay, and does the WebSocket handshake if the framing needs it. The
/// socket is blocking, with [`PATIENCE`] as its timeouts.
pub(crate) fn connect(
    address: SocketAddr,
    index: usize,
    framing: Framing,
) -> Result<TcpStream, LoadError> {
    connect_prepared(address, index, framing, |_| Ok(()))
}

/// Like [`connect`], with a socket that `prepare` configures first.
pub(crate) fn connect_prepared(
    address: SocketAddr,
    index: usize,
    framing: Framing,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> Result<TcpStream, LoadError> {
    let connect = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        prepare(&socket)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let mut socket = connect().map_err(|source| connect_error(address, index, source))?;
    if framing.is_websocket() {
        let deflate = framing == Framing::WebSocketDeflate;
        handshake::upgrade(&mut socket, index, deflate)?;
    }
    Ok(socket)
}

/// Converts the error of a connect.
pub(crate) fn connect_error(
    address: SocketAddr,
    connection: usize,
    source: io::Error,
) -> LoadError {
    match source.kind() {
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => LoadError::OutOfPorts { address },
        _ => LoadError::Connect {
            address,
            connection,
            source,
        },
    }
}
