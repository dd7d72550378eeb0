//! Clients that misbehave, one after the other: resets in every state, garbage, connections that say nothing, ends of the
//! stream with much on its way. What the server owes them all the same is verified.

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

/// Bytes that are echoed with the end of the stream behind them.
const ECHO: usize = 64 * 1024;
/// Bytes that are sent by one who never reads.
const UNREAD: usize = 1 << 20;
/// Those who say nothing, at a time.
const SILENT: usize = 64;
/// Between two faults: they are to be many, but not the load.
const PAUSE: Duration = Duration::from_millis(2);
/// What a server answers to a frame that is not masked (RFC 6455, 5.1 and 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;

/// A load of faults.
#[derive(Clone, Debug)]
pub struct FaultLoad {
    /// Where the server echoes plain bytes.
    pub plain: SocketAddr,
    /// Where it speaks WebSocket.
    pub websocket: SocketAddr,
    /// After how long the server is known to end a connection that says nothing.
    pub silence: Duration,
    /// Which faults there are, and in which order.
    pub seed: u64,
    /// How long there are faults.
    pub length: Duration,
}

/// Runs the load to its end, and answers how many faults there were.
///
/// # Errors
/// The first that the server did not meet as it must ends the run.
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
    /// Those who say nothing, and since when.
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
        connect(address, self.index(), framing)
    }

    fn open_plain(&self) -> Result<TcpStream, LoadError> {
        self.open(self.load.plain, Framing::Raw)
    }

    fn open_websocket(&self) -> Result<TcpStream, LoadError> {
        self.open(self.load.websocket, Framing::WebSocket)
    }

    /// What errors call the connection.
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

    /// Sends without reading what comes back.
    fn reset_unread(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open_plain()?;
        socket
            .set_nonblocking(true)
            .map_err(LoadError::io("make a socket non-blocking"))?;
        // As much as it takes.
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
        // It may say that this was no way to part.
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
            .map_err(LoadError::io("send what is to be echoed"))?;
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

    /// The server must refuse it by itself, with or without a word.
    fn garbage_for_a_request(&mut self) -> Result<(), LoadError> {
        let mut socket = self.open(self.load.websocket, Framing::Raw)?;
        // No byte of a method, so that there is no doubt.
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
        // A reserved opcode first: whatever follows, it is refused.
        let mut garbage = vec![0x83];
        garbage.extend(self.bytes(1 + self.index() % 200));
        socket
            .write_all(&garbage)
            .map_err(LoadError::io("send garbage"))?;
        read_rest(&socket).map(drop)
    }

    /// And sees those who said nothing for long enough turned out.
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

/// Sends the end of the stream. The server may have ended it by itself.
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

/// All that comes until the server has ended the connection, which it must within [`PATIENCE`].
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
