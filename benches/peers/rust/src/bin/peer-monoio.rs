//! An echo server as in monoio's documentation: one thread, one task per connection, buffers lent to `read` and
//! `write_all`.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use io_uring_of_monoio::IoUring;
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use ringwheel_peers::options::{Framing, TcpOptions};
use ringwheel_peers::start::{self, announce, cannot_listen};
use ringwheel_peers::whole::{LengthPrefix, LineFeed, Whole};

const READ_BUFFER: usize = 16 * 1024;
/// A buffer that has grown larger is not kept.
const KEPT_BUFFER: usize = 64 * 1024;
/// The most submissions to the kernel in progress.
const RING_ENTRIES: u32 = 4096;

/// An echo server on monoio: one thread, on its io_uring driver.
#[derive(Parser)]
#[command(name = "peer-monoio")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
}

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(Options { tcp }: Options) -> io::Result<()> {
    let mut ring = IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring)
        .build()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the kernel refuses io_uring: {error}"),
            )
        })?;
    runtime.block_on(accept(tcp))
}

async fn accept(tcp: TcpOptions) -> io::Result<()> {
    // With the default, SO_REUSEPORT, an address in use would go unnoticed.
    let options = ListenerOpts::new().reuse_port(false);
    let listener =
        TcpListener::bind_with_config(tcp.addr, &options).map_err(cannot_listen(tcp.addr))?;
    announce(listener.local_addr()?)?;
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                // A socket that accepts no option has already been reset.
                if stream.set_nodelay(true).is_ok() {
                    monoio::spawn(echo(stream, tcp.framing));
                }
            }
            // The process is out of descriptors, or the connection ended before it was accepted: the other connections
            // go on.
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    eprintln!("a connection could not be accepted: {error}");
                }
            }
        }
    }
}

/// Echoes until the peer ends or fails; both end only this connection.
async fn echo(stream: TcpStream, framing: Framing) {
    let _ = match framing {
        Framing::Raw => echo_bytes(stream).await,
        Framing::LengthPrefixed => echo_messages(stream, LengthPrefix).await,
        Framing::Lines => echo_messages(stream, LineFeed::default()).await,
    };
}

async fn echo_bytes(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_BUFFER);
    loop {
        let (result, bytes) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        let (result, bytes) = stream.write_all(bytes).await;
        result?;
        buffer = bytes;
        buffer.clear();
    }
}

/// Echoes whole messages, and writes the replies of a burst together. monoio-codec has no codec for lines and cannot
/// detect the end of a burst, so this is written by hand.
async fn echo_messages(mut stream: TcpStream, mut framing: impl Whole) -> io::Result<()> {
    let mut input = Vec::with_capacity(READ_BUFFER);
    let mut output = Vec::new();
    loop {
        let begin = input.len();
        let (result, read) = stream.read(input.slice_mut(begin..)).await;
        input = read.into_inner();
        if result? == 0 {
            return Ok(());
        }
        let mut consumed = 0;
        let unfinished = loop {
            match framing.first(&input[consumed..]) {
                Ok(Some(length)) => {
                    output.extend_from_slice(&input[consumed..consumed + length]);
                    consumed += length;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !output.is_empty() {
            let (result, written) = stream.write_all(output).await;
            result?;
            output = emptied(written);
        }
        unfinished?;
        input.drain(..consumed);
        if input.is_empty() {
            input = emptied(input);
        }
        input.reserve(READ_BUFFER);
    }
}

fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    if buffer.capacity() > KEPT_BUFFER {
        return Vec::new();
    }
    buffer.clear();
    buffer
}
