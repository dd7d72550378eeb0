//! The floor without mio: the same loop as `peer-mio` on the system calls themselves, through rustix, whose Linux backend
//! calls the kernel without libc in between.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use ringwheel_harness::listen;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

const LISTENER: u64 = u64::MAX;
const READ_BUFFER: usize = 64 * 1024;

struct Connection {
    socket: OwnedFd,
    /// What the socket refused. Nothing is read while there is any.
    unsent: Vec<u8>,
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(listen::address())?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &poll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN | EventFlags::ET,
    )?;
    listen::announce(listener.local_addr()?)?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept_all(&listener, &poll, &mut connections, &mut free)?;
                continue;
            }
            let index = key as usize;
            let Some(connection) = connections[index].as_mut() else {
                continue;
            };
            let flags = event.flags;
            if !flags.contains(EventFlags::IN) && connection.unsent.is_empty() {
                continue;
            }
            if !matches!(
                serve(
                    connection,
                    &mut buffer,
                    flags.intersects(EventFlags::RDHUP | EventFlags::HUP)
                ),
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
    poll: &OwnedFd,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> io::Result<()> {
    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::CONNABORTED | Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let index = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        epoll::add(poll, &socket, EventData::new_u64(index as u64), interest)?;
        connections[index] = Some(Connection {
            socket,
            unsent: Vec::new(),
        });
    }
}

/// Echoes until the socket is drained. `Ok(false)` when the peer has ended; `ended` says that it is known to have.
fn serve(connection: &mut Connection, buffer: &mut [u8], ended: bool) -> Result<bool, Errno> {
    if !connection.unsent.is_empty() {
        let written = write_some(&connection.socket, &connection.unsent)?;
        connection.unsent.drain(..written);
        if !connection.unsent.is_empty() {
            return Ok(true);
        }
        connection.unsent = Vec::new();
    }
    loop {
        let length = match recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(false),
            Ok((_, length)) => length,
            Err(Errno::AGAIN) => return Ok(true),
            Err(error) => return Err(error),
        };
        let written = write_some(&connection.socket, &buffer[..length])?;
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
fn write_some(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let mut written = 0;
    while written < bytes.len() {
        match send(socket, &bytes[written..], SendFlags::NOSIGNAL) {
            Ok(length) => written += length,
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
