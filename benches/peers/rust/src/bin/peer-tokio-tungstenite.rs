//! A WebSocket server as in tokio-tungstenite's examples: one task per connection, whose stream is forwarded into its
//! sink, or a queue per connection for broadcasts.

use std::future::{self, Future};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use futures_util::future::{Abortable, Either, select};
use futures_util::stream::AbortHandle;
use futures_util::{Sink, SinkExt, StreamExt, TryStreamExt};
use ringwheel_peers::broadcast::{Membership, Room};
use ringwheel_peers::options::WebSocketOptions;
use ringwheel_peers::{MAX_MESSAGE, start, tokio_server};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// A WebSocket server on tokio-tungstenite, with the current-thread runtime, or the multi-thread one for several
/// workers.
#[derive(Parser)]
#[command(name = "peer-tokio-tungstenite")]
struct Options {
    #[command(flatten)]
    web_socket: WebSocketOptions,
}

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(Options { web_socket }: Options) -> io::Result<()> {
    let workers = web_socket.threads.workers;
    let runtime = tokio_server::runtime((workers.get() > 1).then_some(workers), false)?;
    runtime.block_on(async move {
        if web_socket.broadcast {
            let room = Arc::new(Room::default());
            let connection = move |stream| end_when_aborted(room.clone(), stream);
            tokio_server::accept(web_socket.addr, connection).await
        } else {
            // A failure ends only this connection.
            let connection = |stream| async { echo(stream).await.unwrap_or_default() };
            tokio_server::accept(web_socket.addr, connection).await
        }
    })
}

async fn handshake(stream: TcpStream) -> Result<WebSocketStream<TcpStream>, Error> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    accept_async_with_config(stream, Some(config)).await
}

/// Echoes every message. `forward` flushes when no further message has arrived, so the replies of a burst are written
/// together.
async fn echo(stream: TcpStream) -> Result<(), Error> {
    let (mut writer, reader) = handshake(stream).await?.split();
    let messages = reader.try_filter(|message| future::ready(is_data(message)));
    if let Err(error) = messages.forward(&mut writer).await {
        // Replies may be unflushed. If the peer has gone, flushing fails, too.
        writer.flush().await?;
        return Err(error);
    }
    Ok(())
}

/// A connection of the room, which the room ends if it falls behind.
fn end_when_aborted(room: Arc<Room<Message>>, stream: TcpStream) -> impl Future<Output = ()> {
    let (task, registration) = AbortHandle::new_pair();
    let connection = Abortable::new(broadcast(room, task, stream), registration);
    async {
        // Aborted or failed: both end only this connection.
        let _ = connection.await;
    }
}

/// Sends every message to the whole room, and the room's messages to the peer.
async fn broadcast(
    room: Arc<Room<Message>>,
    task: AbortHandle,
    stream: TcpStream,
) -> Result<(), Error> {
    let (writer, reader) = handshake(stream).await?.split();
    let membership = room.join(task);
    let reading = reader.try_for_each(|message| {
        if is_data(&message) {
            room.send(&message);
        }
        future::ready(Ok(()))
    });
    let writing = std::pin::pin!(write(membership, writer));
    match select(reading, writing).await {
        Either::Left((result, _)) | Either::Right((result, _)) => result,
    }
}

/// Writes the room's messages; queued ones are written together.
async fn write(
    mut membership: Membership<Message>,
    mut writer: impl Sink<Message, Error = Error> + Unpin,
) -> Result<(), Error> {
    while let Some(message) = membership.next().await {
        writer.feed(message).await?;
        while let Some(message) = membership.try_next() {
            writer.feed(message).await?;
        }
        writer.flush().await?;
    }
    Ok(())
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}
