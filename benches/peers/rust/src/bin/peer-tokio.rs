//! An echo server as in tokio's documentation: one task per connection, `read` and `write_all` for bytes, and
//! tokio-util's framed streams for messages.

use std::io;
use std::process::ExitCode;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use ringwheel_peers::options::{Framing, TcpOptions, Threads, Timers};
use ringwheel_peers::whole::{LineFeed, Whole};
use ringwheel_peers::{MAX_MESSAGE, start, timers, tokio_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite, LengthDelimitedCodec};

const READ_BUFFER: usize = 16 * 1024;

/// An echo server on tokio, with the current-thread runtime unless more threads are requested.
#[derive(Parser)]
#[command(name = "peer-tokio")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    timers: Timers,
    /// Use the multi-thread runtime, even with one worker
    #[arg(long)]
    multi_thread: bool,
}

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(options: Options) -> io::Result<()> {
    let workers = options.threads.workers;
    let multi_thread = options.multi_thread || workers.get() > 1;
    let runtime =
        tokio_server::runtime(multi_thread.then_some(workers), options.timers.timers > 0)?;
    runtime.block_on(async move {
        for duration in timers::durations(options.timers.timers) {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(duration).await;
                }
            });
        }
        match options.tcp.framing {
            Framing::Raw => tokio_server::accept(options.tcp.addr, echo_bytes).await,
            Framing::LengthPrefixed => {
                let codec = LengthDelimitedCodec::builder()
                    .max_frame_length(MAX_MESSAGE)
                    .new_codec();
                let echo = move |stream| echo_messages(stream, codec.clone());
                tokio_server::accept(options.tcp.addr, echo).await
            }
            Framing::Lines => {
                let echo = |stream| echo_messages(stream, Lines::default());
                tokio_server::accept(options.tcp.addr, echo).await
            }
        }
    })
}

/// Echoes until the peer ends or fails; both end only this connection.
async fn echo_bytes(mut stream: TcpStream) {
    let mut buffer = vec![0; READ_BUFFER];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 || stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Echoes whole messages. `forward` flushes when no further message has arrived, so the replies of a burst are written
/// together.
async fn echo_messages<C>(mut stream: TcpStream, codec: C)
where
    C: Decoder<Item = BytesMut, Error = io::Error> + Encoder<Bytes, Error = io::Error> + Clone,
{
    let (reader, writer) = stream.split();
    let messages = FramedRead::new(reader, codec.clone()).map_ok(BytesMut::freeze);
    let mut replies = FramedWrite::new(writer, codec);
    // If the input ends within a message, `forward` fails with replies unflushed. If the peer has gone, flushing fails
    // too.
    if messages.forward(&mut replies).await.is_err() {
        let _ = replies.flush().await;
    }
}

/// A line with its line feed, as a message. tokio-util's own `LinesCodec` accepts only UTF-8, and its
/// `AnyDelimiterCodec` writes nothing else.
#[derive(Clone, Default)]
struct Lines(LineFeed);

impl Decoder for Lines {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        let length = self.0.first(buffer)?;
        Ok(length.map(|length| buffer.split_to(length)))
    }
}

impl Encoder<Bytes> for Lines {
    type Error = io::Error;

    fn encode(&mut self, line: Bytes, buffer: &mut BytesMut) -> io::Result<()> {
        buffer.extend_from_slice(&line);
        Ok(())
    }
}
