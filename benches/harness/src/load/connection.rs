//! One connection of an echo load: the bytes still to send, the answers received, and the due time of each answer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::incoming::Incoming;
use super::stream::Stream;
use super::tls::{Client, TlsStream};
use super::{Framing, LoadError, PATIENCE, WireImage, handshake};

/// Invariant: `unsent` plus the bytes on their way equals the missing bytes of the answers in `due`.
pub(crate) struct Connection {
    stream: Stream,
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
        tls: Option<&Client>,
    ) -> Result<Self, LoadError> {
        Self::open_on_walk(address, index, index, image, tls)
    }

    /// Like [`Self::open`], but with the walk along the ring of another connection.
    pub(crate) fn open_on_walk(
        address: SocketAddr,
        index: usize,
        walk: usize,
        image: &WireImage,
        tls: Option<&Client>,
    ) -> Result<Self, LoadError> {
        let stream = connect(address, index, image.framing(), tls)?;
        stream
            .socket()
            .set_nonblocking(true)
            .map_err(LoadError::io("make a socket non-blocking"))?;
        Ok(Self {
            stream,
            cursor: image.sent().start(walk),
            next: image.sent().first(walk),
            unsent: 0,
            incoming: Incoming::new(index, walk, image),
            due: VecDeque::new(),
        })
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
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
        if let Err(error) = self.stream.flush() {
            return Err(self.incoming.failure("send", self.due.len(), error));
        }
        while self.unsent > 0 {
            let slice = ring.slice(self.cursor, self.unsent);
            match self.stream.write(slice) {
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
            .receive(&mut self.stream, image, buffer, verify, owed)
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

/// Connects within [`PATIENCE`], without Nagle's delay, and does the handshakes of TLS, if any, and of WebSocket, if the
/// framing needs it. The socket is blocking, with [`PATIENCE`] as its timeouts.
pub(crate) fn connect(
    address: SocketAddr,
    index: usize,
    framing: Framing,
    tls: Option<&Client>,
) -> Result<Stream, LoadError> {
    connect_prepared(address, index, framing, tls, |_| Ok(()))
}

/// Like [`connect`], with a socket that `prepare` configures first.
pub(crate) fn connect_prepared(
    address: SocketAddr,
    index: usize,
    framing: Framing,
    tls: Option<&Client>,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> Result<Stream, LoadError> {
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
    let socket = connect().map_err(|source| connect_error(address, index, source))?;
    let mut stream = match tls {
        None => Stream::Plain(socket),
        Some(client) => Stream::Tls(Box::new(shake_hands(socket, index, client)?)),
    };
    if framing.is_websocket() {
        let deflate = framing == Framing::WebSocketDeflate;
        handshake::upgrade(&mut stream, index, deflate)?;
    }
    Ok(stream)
}

/// Does the TLS handshake on a blocking socket.
fn shake_hands(
    socket: TcpStream,
    connection: usize,
    client: &Client,
) -> Result<TlsStream, LoadError> {
    let shaken = TlsStream::begin(socket, client).and_then(|mut stream| {
        stream.shake_hands()?;
        Ok(stream)
    });
    shaken.map_err(|source| {
        // The system's word for a read that has timed out.
        let source = match source.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => source,
        };
        LoadError::Tls { connection, source }
    })
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
