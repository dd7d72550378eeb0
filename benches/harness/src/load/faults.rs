//! Clients that misbehave, one after the other: resets in every state, garbage, silent connections, and ends of the
//! stream with many bytes on their way. The server's reaction is verified.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::connection::connect;
use super::frames::{CLOSE, append_client_frame, append_server_frame, close_reason};
use super::random::SplitMix;
use super::{Framing, LoadError, PATIENCE};

/// Bytes that are echoed, with the end of the stream right behind them.
const ECHO: usize = 64 * 1024;
/// Bytes that a client sends without ever reading.
const UNREAD: usize = 1 << 20;
/// Number of silent connections at a time.
const SILENT: usize = 64;
/// Pause between two faults: they should be many, but not be the main load.
const PAUSE: Duration = Duration::from_millis(2);
/// The close code for a frame without a mask (RFC 6455, 5.1 and 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;

/// A load of faults.
#[derive(Clone, Debug)]
pub struct FaultLoad {
    /// The address of the plain echo server.
    pub plain: SocketAddr,
    /// The address of the WebSocket server.
    pub websocket: SocketAddr,
    /// The time after which the server must end a silent connection.
    pub silence: Duration,
    /// Determines the kinds and the order of the faults.
    pub seed: u64,
    /// The length of the load.
    pub length: Duration,
}

/// Runs the load to its end, and returns the number of faults.
///
/// # Errors
/// The first wrong reaction of the server ends the run.
pub fn faults(load: &FaultLoad) -> Result<u64, LoadError> {
    let start = Instant::now();
    let mut client = Misbehaving {
        random: SplitMix::new(load.seed),
        silent: VecDeque::new(),
        count: 0,
        load,
    };
    while start.elapsed() < load.length {
        client.misbehave()?;
        client.count += 1;
        thread::sleep(PAUSE);
    }
    Ok(client.count)
}

struct Misbehaving<'a> {
    load: &'a FaultLoad,
    random: SplitMix,
    /// The silent connections, each with the time when it was opened.
    silent: VecDeque<(TcpStream, Instant)>,
    count: u64,
}

impl Misbehaving<'_> {
    fn misbehave(&mut self) -> Result<(), LoadError> {
        match self.random.next() % 9 {
            0 => self.reset_at_once(),
            1 => self.reset_unread(),
            2 => self.reset_within_a_frame(),
            3 => self.end_within_a_frame(),
            4 => self.end_with_an_echo_under_way(),
            5 => self.garbage_for_a_request(),
            6 => self.frame_without_mask(),
            7 => self.garbage_for_frames(),
            _ => self.say_nothing(),
        }
    }

    fn open(&self, address: SocketAddr, framing: Framing) -> Result<TcpStream, LoadError> {
        Ok(connect(address, self.index(), framing, None)?.into_socket())
    }

    fn open_plain(&self) -> Result<TcpStream, LoadError> {
        self.open(self.load.plain, Framing::Raw)
    }

    fn open_websocket(&self) -> Result<TcpStream, LoadError> {
        self.open(self.load.websocket, Framing::WebSocket)
    }

    /// The connection's number in errors.
    fn index(&self) -> usize {
        self.count as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill(&mut bytes);
        bytes
    }

    fn reset_at_once(&mut self) -> Result<(), LoadError> {
        reset(self.open_plain()?)
    }

    /// Sends without reading the echo.
    fn reset_unread(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open_plain()?;
        socket
            .set_nonblocking(true)
            .map_err(LoadError::io("make a socket non-blocking"))?;
        // Writes as many bytes as the socket takes.
        let _ = socket.write(&self.bytes(UNREAD));
        reset(socket)
    }

    fn reset_within_a_frame(&mut self) -> Result<(), LoadError> {
        let socket = self.half_a_frame()?;
        reset(socket)
    }

    fn end_within_a_frame(&mut self) -> Result<(), LoadError> {
        let socket = self.half_a_frame()?;
        end(&socket)?;
        // The server may send an error before it closes.
        read_rest(&socket).map(drop)
    }

    fn half_a_frame(&mut self) -> Result<TcpStream, LoadError> {
        let mut socket = self.open_websocket()?;
        let mut frame = Vec::new();
        append_client_frame(&mut frame, 0x82, &[7; 1000], [1, 2, 3, 4]);
        let cut = 1 + self.random.next() as usize % (frame.len() - 1);
        socket
            .write_all(&frame[..cut])
            .map_err(LoadError::io("send half a frame"))?;
        Ok(socket)
    }

    fn end_with_an_echo_under_way(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open_plain()?;
        let sent = self.bytes(ECHO);
        socket
            .write_all(&sent)
            .map_err(LoadError::io("send bytes to be echoed"))?;
        end(&socket)?;
        let came = read_rest(&socket)?;
        if let Some(position) = came.iter().zip(&sent).position(|(came, sent)| came != sent) {
            return Err(LoadError::WrongByte {
                connection: self.index(),
                position: position as u64,
                expected: sent[position],
                found: came[position],
            });
        }
        match came.len().checked_sub(sent.len()) {
            Some(0) => Ok(()),
            Some(bytes) => Err(LoadError::Surplus {
                connection: self.index(),
                bytes: bytes as u64,
            }),
            None => Err(LoadError::Closed {
                connection: self.index(),
                outstanding: 1,
            }),
        }
    }

    /// The server must refuse it and close, with or without an answer.
    fn garbage_for_a_request(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open(self.load.websocket, Framing::Raw)?;
        // The first byte is part of no HTTP method, so the request is certainly invalid.
        let mut garbage = vec![0];
        garbage.extend(self.bytes(200));
        socket
            .write_all(&garbage)
            .map_err(LoadError::io("send garbage"))?;
        read_rest(&socket).map(drop)
    }

    fn frame_without_mask(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open_websocket()?;
        let mut frame = Vec::new();
        append_server_frame(&mut frame, 0x82, b"without a mask");
        socket
            .write_all(&frame)
            .map_err(LoadError::io("send a frame"))?;
        let came = read_rest(&socket)?;
        let code = match came.first() {
            Some(&CLOSE) => close_reason(&came).0,
            _ => None,
        };
        if code == Some(PROTOCOL_ERROR) {
            return Ok(());
        }
        Err(LoadError::CloseFrame {
            connection: self.index(),
            code,
            reason: format!("instead of {PROTOCOL_ERROR}; {} bytes came", came.len()),
        })
    }

    fn garbage_for_frames(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open_websocket()?;
        // The first byte has a reserved opcode, so the frame is refused whatever follows.
        let mut garbage = vec![0x83];
        garbage.extend(self.bytes(1 + self.index() % 200));
        socket
            .write_all(&garbage)
            .map_err(LoadError::io("send garbage"))?;
        read_rest(&socket).map(drop)
    }

    /// Opens a silent connection, and checks that the server has ended those that were silent long enough.
    fn say_nothing(&mut self) -> Result<(), LoadError> {
        while let Some((_, since)) = self.silent.front() {
            if since.elapsed() < self.load.silence {
                break;
            }
            if let Some((socket, _)) = self.silent.pop_front() {
                read_rest(&socket)?;
            }
        }
        if self.silent.len() < SILENT {
            self.silent.push_back((self.open_plain()?, Instant::now()));
        }
        Ok(())
    }
}

/// Ends the stream. The server may have ended it before.
fn end(socket: &TcpStream) -> Result<(), LoadError> {
    match socket.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != ErrorKind::NotConnected => {
            Err(LoadError::io("end the stream")(error))
        }
        _ => Ok(()),
    }
}

fn reset(socket: TcpStream) -> Result<(), LoadError> {
    SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .map_err(LoadError::io("have a socket reset"))
}

/// Reads until the server has ended the connection, which it must within [`PATIENCE`].
fn read_rest(mut socket: &TcpStream) -> Result<Vec<u8>, LoadError> {
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(LoadError::io("set a timeout"))?;
    let mut came = Vec::new();
    match socket.read_to_end(&mut came) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(LoadError::io(
            "wait for the server to end a connection",
        )(error)),
        _ => Ok(came),
    }
}
