//! The floor: the least that an echo server on mio can do.
//!
//! One thread, one buffer. Interest is registered once, edge-triggered; a short read counts as drained; a reply is
//! written straight from the read buffer, and only what a full socket refuses is kept.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use ringwheel_harness::listen;

const LISTENER: Token = Token(usize::MAX);
const READ_BUFFER: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    /// What the socket refused. Nothing is read while there is any.
    unsent: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut listener = TcpListener::bind(listen::address())?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    listen::announce(listener.local_addr()?)?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut events = Events::with_capacity(1024);
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, poll.registry(), &mut connections, &mut free)?;
                continue;
            }
            let index = event.token().0;
            let Some(connection) = connections[index].as_mut() else {
                continue;
            };
            if !event.is_readable() && connection.unsent.is_empty() {
                continue;
            }
            if !matches!(
                serve(connection, &mut buffer, event.is_read_closed()),
                Ok(true)
            ) {
                connections[index] = None;
                free.push(index);
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let index = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        registry.register(
            &mut stream,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        connections[index] = Some(Connection {
            stream,
            unsent: Vec::new(),
        });
    }
}

/// Echoes until the socket is drained. `Ok(false)` when the peer has ended; `ended` says that it is known to have.
fn serve(connection: &mut Connection, buffer: &mut [u8], ended: bool) -> io::Result<bool> {
    if !connection.unsent.is_empty() {
        let written = write_some(&mut connection.stream, &connection.unsent)?;
        connection.unsent.drain(..written);
        if !connection.unsent.is_empty() {
            return Ok(true);
        }
        connection.unsent = Vec::new();
    }
    loop {
        let length = match connection.stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let written = write_some(&mut connection.stream, &buffer[..length])?;
        if written < length {
            connection
                .unsent
                .extend_from_slice(&buffer[written..length]);
            return Ok(true);
        }
        // The edge of an end that came with the data is this one: there will be no other.
        if length < buffer.len() && !ended {
            return Ok(true);
        }
    }
}

/// Writes until all is written or the socket is full; says how much went.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
