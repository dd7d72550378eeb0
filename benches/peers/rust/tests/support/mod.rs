//! A running peer, and sockets that fail instead of waiting for ever.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Upper bound of every wait in a test.
const DEADLINE: Duration = Duration::from_secs(20);

/// A peer process, killed and reaped when dropped.
pub(crate) struct Peer {
    child: Child,
    address: SocketAddr,
    name: String,
}

impl Peer {
    /// Starts a peer on a free port. `None` if it needs io_uring and the kernel refuses that.
    pub(crate) fn start(binary: &str, arguments: &[&str]) -> Option<Self> {
        let file = Path::new(binary).file_name().expect("a file name");
        let name = format!("{} {}", file.to_string_lossy(), arguments.join(" "));
        let mut child = Command::new(binary)
            .args(["--addr", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            let output = child.wait_with_output().expect("it has ended");
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(
                problem.contains("io_uring"),
                "{name} does not listen: {problem}"
            );
            println!("skipped: {}", problem.trim());
            return None;
        };
        let address = address.parse().expect("an address");
        Some(Self {
            child,
            address,
            name,
        })
    }

    /// Connects, with the deadline on reads and writes.
    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect_timeout(&self.address, DEADLINE).expect("a connection");
        socket.set_nodelay(true).expect("a socket option");
        socket
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket option");
        socket
            .set_write_timeout(Some(DEADLINE))
            .expect("a socket option");
        socket
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The process may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next `length` bytes.
pub(crate) fn read_exactly(socket: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).expect("the peer answers");
    bytes
}

/// All bytes up to the peer's end.
pub(crate) fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("the peer ends");
    bytes
}

/// Reproducible bytes with all values: a splitmix64 stream.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut words = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(words.next().expect("endless").to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
