//! The floor without mio: the same loop as `peer-mio`, directly on system calls.

mod sys;

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;

use clap::Parser;
use ringwheel_peers::echo::{EchoStream, READ_BUFFER};
use ringwheel_peers::options::TcpOptions;
use ringwheel_peers::start::{self, announce, cannot_listen};
use slab::Slab;
use sys::{Epoll, Event, Interest};

const LISTENER: u64 = u64::MAX;

/// The floor on epoll: a bare loop on one thread. Every framing is echoed as bytes.
#[derive(Parser)]
#[command(name = "peer-epoll")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
}

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(Options { tcp }: Options) -> io::Result<()> {
    let listener = TcpListener::bind(tcp.addr).map_err(cannot_listen(tcp.addr))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    epoll.add(&listener, LISTENER, Interest::Readable)?;
    announce(listener.local_addr()?)?;

    let mut connections = Slab::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut events = vec![Event::EMPTY; 1024];
    // True if connections may still be waiting because there was no descriptor: no further edge reports them.
    let mut waiting = false;
    loop {
        for event in epoll.wait(&mut events)? {
            if event.key() == LISTENER {
                waiting = true;
                continue;
            }
            let key = event.key() as usize;
            if let Some(connection) = connections.get_mut(key) {
                let connection: &mut EchoStream<TcpStream> = connection;
                if !connection.on_event(event.is_readable(), event.is_read_closed(), &mut buffer) {
                    connections.remove(key);
                }
            }
        }
        if waiting {
            waiting = !accept_all(&listener, &epoll, &mut connections);
        }
    }
}

/// Accepts until no connection waits. False if one may still wait because it could not be accepted.
fn accept_all(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Slab<EchoStream<TcpStream>>,
) -> bool {
    loop {
        let stream = match sys::accept_nonblocking(listener) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                eprintln!("a connection could not be accepted: {error}");
                return false;
            }
        };
        let entry = connections.vacant_entry();
        let key = entry.key() as u64;
        let registered = stream
            .set_nodelay(true)
            .and_then(|()| epoll.add(&stream, key, Interest::Both));
        // A failure here ends only this connection.
        if registered.is_ok() {
            entry.insert(EchoStream::new(stream));
        }
    }
}
