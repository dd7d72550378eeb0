//! Servers in this process with one thread per connection, some of which misbehave.

mod websocket;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

pub(crate) use websocket::{Answer, Greeting, serve_websocket};

/// The server's action for the bytes of each connection.
#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    /// Echoes them.
    Echo,
    /// Echoes them, with all bits of the byte at `position` inverted.
    Corrupt { position: u64 },
    /// Echoes each piece twice.
    Twice,
    /// Closes after this many bytes.
    HangUp { after: usize },
    /// Reads, and never answers.
    Silent,
}

/// Starts a server that lives as long as the test process, and returns its address.
pub(crate) fn serve(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || converse(stream, behaviour));
        }
    });
    address
}

/// Ends when the client ends or fails.
fn converse(mut stream: TcpStream, behaviour: Behaviour) {
    let mut buffer = [0; 64 * 1024];
    let mut received = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let bytes = &mut buffer[..length];
        if let Behaviour::Corrupt { position } = behaviour {
            let offset = position
                .checked_sub(received)
                .and_then(|offset| usize::try_from(offset).ok());
            if let Some(byte) = offset.and_then(|offset| bytes.get_mut(offset)) {
                *byte = !*byte;
            }
        }
        received += length as u64;
        let written = match behaviour {
            Behaviour::Silent => Ok(()),
            Behaviour::HangUp { after } if received >= after as u64 => return,
            Behaviour::Twice => stream.write_all(&[&*bytes, &*bytes].concat()),
            Behaviour::Echo | Behaviour::Corrupt { .. } | Behaviour::HangUp { .. } => {
                stream.write_all(bytes)
            }
        };
        if written.is_err() {
            return;
        }
    }
}
