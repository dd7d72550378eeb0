//! The floor: the minimum of an echo server on mio.
//!
//! One thread, one buffer. Interest is registered once, edge-triggered; a short read counts as drained. A reply is
//! written directly from the read buffer, and only the bytes that a full socket refuses are kept.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use ringwheel_peers::echo::{EchoStream, READ_BUFFER};
use ringwheel_peers::options::TcpOptions;
use ringwheel_peers::start::{self, announce, cannot_listen};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// The floor on mio: a bare loop on one thread. Every framing is echoed as bytes.
#[derive(Parser)]
#[command(name = "peer-mio")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
}

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(Options { tcp }: Options) -> io::Result<()> {
    let mut listener = TcpListener::bind(tcp.addr).map_err(cannot_listen(tcp.addr))?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    announce(listener.local_addr()?)?;

    let mut connections = Slab::new();
    let mut buffer = vec![0; READ_BUFFER];
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
                let connection: &mut EchoStream<TcpStream> = connection;
                let (readable, ended) = (event.is_readable(), event.is_read_closed());
                if !connection.on_event(readable, ended, &mut buffer) {
                    connections.remove(key);
                }
            }
        }
        if waiting {
            waiting = !accept_all(&listener, poll.registry(), &mut connections);
        }
    }
}

/// Accepts until no connection waits. False if one may still wait because it could not be accepted.
fn accept_all(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Slab<EchoStream<TcpStream>>,
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
        if registered.is_ok() {
            entry.insert(EchoStream::new(stream));
        }
    }
}
