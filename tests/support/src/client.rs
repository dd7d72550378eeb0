//! A client whose calls all have a deadline.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, eventually};

/// A connection to the server under test.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server accepts")
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::around(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    /// Connects from the loopback address `source`.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .expect("a loopback address");
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .expect("the server accepts");
        Self::around(socket.into()).expect("a client")
    }

    /// Connects with a receive buffer that is soon full.
    #[track_caller]
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .expect("the server accepts");
        Self::around(socket.into()).expect("a client")
    }

    fn around(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream })
    }

    /// The same connection, for use on another thread.
    #[track_caller]
    pub fn second_half(&self) -> Self {
        Client {
            stream: self.stream.try_clone().expect("a descriptor"),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends to a server that may be closing.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends as many bytes as fit to a server that does not read, and returns their number.
    #[track_caller]
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_nonblocking(false).expect("a socket");
        sent
    }

    #[track_caller]
    pub fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if let Err(error) = self.stream.read_exact(&mut bytes) {
            panic!("fewer than {length} bytes arrived: {error}");
        }
        bytes
    }

    /// As [`receive`](Self::receive), from a server that may be closing.
    pub fn try_receive(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads once.
    #[track_caller]
    pub fn receive_some(&mut self, at_most: usize) -> Vec<u8> {
        let mut bytes = vec![0; at_most];
        let count = self.stream.read(&mut bytes).expect("something to read");
        bytes.truncate(count);
        bytes
    }

    /// Reads until the server's end of stream.
    #[track_caller]
    pub fn receive_rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            panic!("no end of stream after {} bytes: {error}", bytes.len());
        }
        bytes
    }

    /// Sends bytes, and receives the same number.
    #[track_caller]
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        self.receive(bytes.len())
    }

    /// Checks that the server echoes.
    #[track_caller]
    pub fn ping(&mut self) {
        assert_eq!(self.ask(b"ping\n"), b"ping\n");
    }

    /// Expects the server's end of stream, with nothing before it.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        assert_eq!(self.receive_rest(), b"", "nothing before the end of stream");
    }

    /// Expects a reset, whatever comes before it.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let error = self.drain().expect_err("a reset, not an end of stream");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// Expects the end of the connection, in order or by a reset.
    #[track_caller]
    pub fn expect_ended(&mut self) {
        match self.drain() {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Reads to the end and returns the number of bytes.
    pub fn drain(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        loop {
            match self.stream.read(&mut buffer)? {
                0 => return Ok(total),
                count => total += count,
            }
        }
    }

    /// Ends this side of the stream; reading goes on.
    #[track_caller]
    pub fn finish(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("a connected socket");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket");
    }

    /// As [`reset`](Self::reset), and waits until the server's socket has received the reset. A busy system delivers it some
    /// time after the client has sent it.
    #[track_caller]
    pub fn reset_and_arrive(self) {
        let server = self.stream.peer_addr().expect("a connected socket");
        let client = self.addr();
        self.reset();
        eventually("the reset has arrived", || !is_connected(server, client));
    }
}

/// True if this system has a socket at `local` that is connected to `remote` (proc(5): `/proc/net/tcp`, where addresses end
/// with the port in hexadecimal). A socket that has received a reset is not listed.
fn is_connected(local: SocketAddr, remote: SocketAddr) -> bool {
    let ends = [local, remote].map(|address| format!(":{:04X}", address.port()));
    let sockets = fs::read_to_string("/proc/net/tcp").expect("procfs");
    sockets.lines().any(|line| {
        let mut addresses = line.split_whitespace().skip(1);
        ends.iter()
            .all(|end| addresses.next().is_some_and(|it| it.ends_with(end)))
    })
}
