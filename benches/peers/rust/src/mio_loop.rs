//! The loop of the floors on mio: one thread, connections that are registered once, edge-triggered.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use crate::echo::EchoStream;
use crate::start::{announce, cannot_listen};

const LISTENER: Token = Token(usize::MAX);

/// A connection of the loop.
pub trait Connection {
    /// Buffers that a connection uses only within one event, so that all share them.
    type Workspace;

    /// Handles one readiness event. False if the connection is over, ended by the peer or by a failure.
    ///
    /// `ended` is true if the peer is known to have ended: an end that came with data is reported by this event only.
    fn on_event(&mut self, readable: bool, ended: bool, workspace: &mut Self::Workspace) -> bool;
}

/// Echoes bytes without TLS.
impl Connection for EchoStream<TcpStream> {
    type Workspace = Vec<u8>;

    #[inline]
    fn on_event(&mut self, readable: bool, ended: bool, buffer: &mut Vec<u8>) -> bool {
        EchoStream::on_event(self, readable, ended, buffer)
    }
}

/// Accepts on `address` for ever, and serves each stream by the connection that `open` makes of it.
///
/// # Errors
/// Fails if `address` cannot be listened on, or the poll fails. A stream that `open` refuses is closed.
pub fn serve<C: Connection>(
    address: SocketAddr,
    mut workspace: C::Workspace,
    mut open: impl FnMut(TcpStream) -> io::Result<C>,
) -> io::Result<()> {
    let mut listener = TcpListener::bind(address).map_err(cannot_listen(address))?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    announce(listener.local_addr()?)?;

    let mut connections = Slab::new();
    let mut events = Events::with_capacity(1024);
    // True if connections may still be waiting because there was no descriptor: no further edge reports them.
    let mut waiting = false;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                waiting = true;
                continue;
            }
            let key = event.token().0;
            if let Some(connection) = connections.get_mut(key) {
                let connection: &mut C = connection;
                let (readable, ended) = (event.is_readable(), event.is_read_closed());
                if !connection.on_event(readable, ended, &mut workspace) {
                    connections.remove(key);
                }
            }
        }
        if waiting {
            waiting = !accept_all(&listener, poll.registry(), &mut connections, &mut open);
        }
    }
}

/// Accepts until no connection waits. False if one may still wait because it could not be accepted.
fn accept_all<C>(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Slab<C>,
    open: &mut impl FnMut(TcpStream) -> io::Result<C>,
) -> bool {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                eprintln!("a connection could not be accepted: {error}");
                return false;
            }
        };
        let entry = connections.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = stream
            .set_nodelay(true)
            .and_then(|()| registry.register(&mut stream, Token(entry.key()), interest));
        // A failure here ends only this connection.
        if let Ok(connection) = registered.and_then(|()| open(stream)) {
            entry.insert(connection);
        }
    }
}
