//! Sends each client a body of any size, piece by piece as the client reads, so that the server never holds more than a few
//! pieces of it.
//!
//! Try it: `cargo run --release --example download -- --mebibytes 1000`, then `nc 127.0.0.1 1833 </dev/null | pv >/dev/null`, or
//! `--file PATH` for a file.

mod support;

use std::fs::File;
use std::io::{self, Read};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Handler, SendOutcome, SourceStep};
use support::Options;

/// Bytes of each piece.
const PIECE: usize = 64 * 1024;

#[derive(Clone)]
struct Download {
    file: Option<String>,
    length: u64,
}

impl Download {
    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match &self.file {
            Some(path) => Box::new(File::open(path)?),
            None => Box::new(io::repeat(b'.').take(self.length)),
        })
    }
}

impl Handler for Download {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Raw>) {
        let mut body = match self.open() {
            Ok(body) => body,
            Err(error) => {
                println!("no body: {error}");
                return conn.abort();
            }
        };
        let mut piece = vec![0; PIECE];
        // A file on a slow disk would block the worker: read it on another thread, and let the source wait.
        let source = move |conn: &mut Conn<'_, Raw>| match body.read(&mut piece) {
            Ok(0) => SourceStep::Done,
            Ok(count) => {
                conn.send(&piece[..count]);
                SourceStep::More
            }
            Err(error) => {
                println!("the body cannot be read: {error}");
                // A reset, so that the client does not take what it has for the whole body.
                conn.abort();
                SourceStep::Done
            }
        };
        let peer = conn.peer_addr().clone();
        conn.send_from_then(source, move |outcome| match outcome {
            SendOutcome::Written => println!("{peer} has all of it"),
            other => println!("{peer} has gone before the end: {other:?}"),
        });
        // Takes effect behind the body.
        conn.close();
    }

    fn on_message(&mut self, _conn: &mut Conn<'_, Raw>, _session: &mut (), _bytes: &[u8]) {}
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "Sends each client a body, as fast as the client reads.",
        &[
            (
                "--mebibytes",
                "COUNT",
                "The length of a body that is made up [default: 100]",
            ),
            ("--file", "PATH", "The file to send instead"),
        ],
    );
    let download = Download {
        file: options.get("--file"),
        length: options.get("--mebibytes").unwrap_or(100) << 20,
    };
    let server = options
        .builder()
        .listen(options.addr(), download)?
        .build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
