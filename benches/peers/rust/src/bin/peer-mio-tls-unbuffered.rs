//! The floor for TLS with rustls's unbuffered API: the minimum of an echo server on mio.
//!
//! One thread; all connections share the buffers. A connection keeps only the beginning of a record whose end has not
//! arrived, and the bytes that a full socket refuses.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read};
use std::process::ExitCode;

use clap::Parser;
use mio::net::TcpStream;
use ringwheel_peers::echo::{READ_BUFFER, write_some};
use ringwheel_peers::mio_loop::{self, Connection};
use ringwheel_peers::start;
use ringwheel_peers::tls::TlsPeerOptions;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

/// Largest payload of a record (RFC 8446, 5.1).
const MAX_PAYLOAD: usize = 16 * 1024;
/// Room for the answer to one full read, and for the largest messages of a handshake besides.
const OUTPUT: usize = 4 * READ_BUFFER;

/// The floor for TLS on mio with rustls's unbuffered API: a bare loop on one thread.
#[derive(Parser)]
#[command(name = "peer-mio-tls-unbuffered")]
struct Options {
    #[command(flatten)]
    peer: TlsPeerOptions,
}

fn main() -> ExitCode {
    start::run(|Options { peer }: Options| {
        let config = peer.tls.config()?;
        let workspace = Workspace {
            input: vec![0; READ_BUFFER + MAX_PAYLOAD],
            plain: Vec::with_capacity(READ_BUFFER + MAX_PAYLOAD),
            output: Output {
                bytes: vec![0; OUTPUT],
                length: 0,
            },
        };
        mio_loop::serve(peer.addr, workspace, |stream| {
            let session = UnbufferedServerConnection::new(config.clone());
            Ok(TlsEcho {
                stream,
                session: session.map_err(io::Error::other)?,
                partial: Vec::new(),
                unsent: Vec::new(),
            })
        })
    })
}

struct Workspace {
    /// Encrypted bytes as they were read.
    input: Vec<u8>,
    /// The decrypted bytes of one read.
    plain: Vec<u8>,
    /// Encrypted bytes to send.
    output: Output,
}

/// A buffer that is never cleared, since that would cost as much as a small message.
struct Output {
    bytes: Vec<u8>,
    /// The number of bytes to send, from the front.
    length: usize,
}

impl Output {
    /// Appends the bytes that `encode` writes.
    fn append<E: Display>(
        &mut self,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> io::Result<()> {
        self.length += encode(&mut self.bytes[self.length..]).map_err(invalid)?;
        Ok(())
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

struct TlsEcho {
    stream: TcpStream,
    session: UnbufferedServerConnection,
    /// The beginning of a record whose end has not arrived.
    partial: Vec<u8>,
    /// Encrypted bytes that the socket refused. Nothing is read while there are any.
    unsent: Vec<u8>,
}

impl Connection for TlsEcho {
    type Workspace = Workspace;

    #[inline]
    fn on_event(&mut self, readable: bool, ended: bool, workspace: &mut Workspace) -> bool {
        if !readable && self.unsent.is_empty() {
            return true;
        }
        matches!(self.echo(ended, workspace), Ok(true))
    }
}

impl TlsEcho {
    /// Echoes until the socket is drained, which a short read indicates, or full. `Ok(false)` at the peer's end.
    fn echo(&mut self, ended: bool, workspace: &mut Workspace) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let written = write_some(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..written);
            if !self.unsent.is_empty() {
                return Ok(true);
            }
            self.unsent = Vec::new();
        }
        loop {
            let Workspace { input, output, .. } = workspace;
            let kept = self.partial.len();
            input[..kept].copy_from_slice(&self.partial);
            let length = match self.stream.read(&mut input[kept..]) {
                Ok(0) => return self.end(output),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let end = kept + length;
            let drained = end < input.len();
            let closed = self.answer(end, workspace);
            let output = workspace.output.filled();
            // A failure may have left an alert.
            let written = write_some(&mut self.stream, output)?;
            let closed = closed?;
            if written < output.len() {
                self.unsent.extend_from_slice(&output[written..]);
                return Ok(true);
            }
            if closed {
                return self.end(&mut workspace.output);
            }
            if drained && !ended {
                return Ok(true);
            }
        }
    }

    /// Decrypts the first `end` bytes of the input, and puts everything that is to be sent into the output. `Ok(true)` after
    /// the peer's close_notify.
    fn answer(&mut self, end: usize, workspace: &mut Workspace) -> io::Result<bool> {
        let Workspace {
            input,
            plain,
            output,
        } = workspace;
        plain.clear();
        output.length = 0;
        let (mut taken, mut closed) = (0, false);
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(&mut input[taken..end]);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    output.append(|room| data.encode(room))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => closed = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if !plain.is_empty() {
                        output.append(|room| traffic.encrypt(plain, room))?;
                    }
                    done = true;
                }
                Ok(_) => done = true,
                Err(error) => {
                    self.encode_alert(output)?;
                    return Err(invalid(error));
                }
            }
            taken += discard;
            if done {
                self.keep(&input[taken..end]);
                return Ok(closed);
            }
        }
    }

    /// Appends the alert that tells the peer about a failure.
    fn encode_alert(&mut self, output: &mut Output) -> io::Result<()> {
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            output.append(|room| data.encode(room))?;
        }
        Ok(())
    }

    /// Keeps the beginning of a record, and no memory if there is none.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// Says that the stream ends here. All that came before has been sent.
    fn end(&mut self, output: &mut Output) -> io::Result<bool> {
        output.length = 0;
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
        if let ConnectionState::WriteTraffic(mut traffic) = state.map_err(invalid)? {
            output.append(|room| traffic.queue_close_notify(room))?;
            write_some(&mut self.stream, output.filled())?;
        }
        Ok(false)
    }
}

fn invalid(error: impl Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}
