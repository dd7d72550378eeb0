//! The floor for TLS with rustls's buffered API: the minimum of an echo server on mio.
//!
//! One thread; all connections share the buffers for reading and for plaintext. rustls keeps what a full socket refuses,
//! and nothing more is read meanwhile.

use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use mio::net::TcpStream;
use ringwheel_peers::echo::READ_BUFFER;
use ringwheel_peers::mio_loop::{self, Connection};
use ringwheel_peers::start;
use ringwheel_peers::tls::TlsPeerOptions;
use rustls::ServerConnection;

/// The floor for TLS on mio with rustls's buffered API: a bare loop on one thread.
#[derive(Parser)]
#[command(name = "peer-mio-tls")]
struct Options {
    #[command(flatten)]
    peer: TlsPeerOptions,
}

fn main() -> ExitCode {
    start::run(|Options { peer }: Options| {
        let config = peer.tls.config()?;
        let workspace = Workspace {
            input: vec![0; READ_BUFFER],
            plain: vec![0; READ_BUFFER],
        };
        mio_loop::serve(peer.addr, workspace, |stream| {
            let mut session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            // What is echoed is bounded by what is read.
            session.set_buffer_limit(None);
            Ok(TlsEcho { stream, session })
        })
    })
}

struct Workspace {
    input: Vec<u8>,
    plain: Vec<u8>,
}

struct TlsEcho {
    stream: TcpStream,
    session: ServerConnection,
}

impl Connection for TlsEcho {
    type Workspace = Workspace;

    #[inline]
    fn on_event(&mut self, readable: bool, ended: bool, workspace: &mut Workspace) -> bool {
        if !readable && !self.session.wants_write() {
            return true;
        }
        matches!(self.echo(ended, workspace), Ok(true))
    }
}

impl TlsEcho {
    /// Echoes until the socket is drained, which a short read indicates, or full. `Ok(false)` at the peer's end.
    fn echo(&mut self, ended: bool, workspace: &mut Workspace) -> io::Result<bool> {
        while self.flush()? {
            let length = match self.stream.read(&mut workspace.input) {
                // All that came before has been sent.
                Ok(0) => return self.end(),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let (input, plain) = (&workspace.input[..length], &mut workspace.plain);
            let closed = self.process(input, plain)?;
            if closed {
                self.flush()?;
                return self.end();
            }
            if length < workspace.input.len() && !ended {
                self.flush()?;
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Decrypts `input`, and encrypts the echo. `Ok(true)` after the peer's close_notify.
    fn process(&mut self, mut input: &[u8], plain: &mut [u8]) -> io::Result<bool> {
        let mut closed = false;
        while !input.is_empty() && !closed {
            self.session.read_tls(&mut input)?;
            let state = self.session.process_new_packets();
            let state = state.map_err(|error| {
                // The alert that tells the peer why.
                let _ = self.session.write_tls(&mut self.stream);
                io::Error::new(ErrorKind::InvalidData, error)
            })?;
            closed = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let length = self.session.reader().read(plain)?;
                self.session.writer().write_all(&plain[..length])?;
                left -= length;
            }
        }
        Ok(closed)
    }

    /// Sends encrypted bytes. `Ok(false)` if the socket is full.
    fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that the stream ends here.
    fn end(&mut self) -> io::Result<bool> {
        self.session.send_close_notify();
        self.flush()?;
        Ok(false)
    }
}
