//! A WebSocket server as in fastwebsockets' examples: upgraded by hyper, one task per connection, vectored writes,
//! control frames answered by the library.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use fastwebsockets::upgrade::{self, UpgradeFut};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketError,
    WebSocketWrite,
};
use futures_util::future::{Abortable, Either, select};
use futures_util::stream::AbortHandle;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringwheel_peers::broadcast::{Membership, Room};
use ringwheel_peers::options::WebSocketOptions;
use ringwheel_peers::{MAX_MESSAGE, start, tokio_server};
use tokio::io::{AsyncWrite, BufWriter};
use tokio::net::TcpStream;

/// A WebSocket server on fastwebsockets, with the current-thread runtime, or the multi-thread one for several workers.
#[derive(Parser)]
#[command(name = "peer-fastwebsockets")]
struct Options {
    #[command(flatten)]
    web_socket: WebSocketOptions,
}

/// A frame on its way to several connections: its kind and payload.
type SharedFrame = (OpCode, Bytes);

fn main() -> ExitCode {
    start::run(serve)
}

fn serve(Options { web_socket }: Options) -> io::Result<()> {
    let workers = web_socket.threads.workers;
    let runtime = tokio_server::runtime((workers.get() > 1).then_some(workers), false)?;
    let room = web_socket.broadcast.then(Arc::default);
    runtime.block_on(tokio_server::accept(web_socket.addr, move |stream| {
        upgrade(stream, room.clone())
    }))
}

/// Speaks HTTP until the upgrade. A failure ends only this connection.
async fn upgrade(stream: TcpStream, room: Option<Arc<Room<SharedFrame>>>) {
    let service = service_fn(|request| {
        let response = answer(request, room.clone());
        async { response }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

fn answer(
    mut request: Request<Incoming>,
    room: Option<Arc<Room<SharedFrame>>>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgrading) = upgrade::upgrade(&mut request)?;
    match room {
        // Not interrupted while there is input, as in the library's own echo server.
        None => tokio::spawn(tokio::task::unconstrained(async {
            let _ = echo(upgrading).await;
        })),
        Some(room) => {
            let (task, registration) = AbortHandle::new_pair();
            let connection = Abortable::new(broadcast(upgrading, room, task), registration);
            tokio::spawn(async {
                let _ = connection.await;
            })
        }
    };
    Ok(response)
}

async fn upgraded(upgrading: UpgradeFut) -> Result<WebSocket<TokioIo<Upgraded>>, WebSocketError> {
    let mut socket = upgrading.await?;
    socket.set_writev(true);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    // The library's limit is the first length that it refuses.
    socket.set_max_message_size(MAX_MESSAGE + 1);
    Ok(socket)
}

/// Echoes every message.
async fn echo(upgrading: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded(upgrading).await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// Sends every message to the whole room, and the room's messages to the peer.
async fn broadcast(
    upgrading: UpgradeFut,
    room: Arc<Room<SharedFrame>>,
    task: AbortHandle,
) -> Result<(), WebSocketError> {
    let (reader, writer) = upgraded(upgrading).await?.split(|stream| {
        let (reader, writer) = tokio::io::split(stream);
        (reader, BufWriter::new(writer))
    });
    let membership = room.join(task);
    let own_queue = membership.sender();
    let reading = pin!(async {
        let mut reader = FragmentCollectorRead::new(reader);
        // Sends a pong or the answer to a close. A peer that is too far behind is being disconnected anyway.
        let mut reply = |frame: Frame<'static>| {
            let _ = own_queue.try_send((frame.opcode, shared(frame.payload)));
            std::future::ready(Ok::<(), Infallible>(()))
        };
        loop {
            let frame = reader.read_frame(&mut reply).await?;
            match frame.opcode {
                // The queued answer to the close frame is the last frame written.
                OpCode::Close => return std::future::pending().await,
                OpCode::Text | OpCode::Binary => {
                    room.send(&(frame.opcode, shared(frame.payload)));
                }
                _ => {}
            }
        }
    });
    let writing = pin!(write(membership, writer));
    match select(reading, writing).await {
        Either::Left((result, _)) | Either::Right((result, _)) => result,
    }
}

/// Writes the room's messages, up to a close. Queued messages are written together.
async fn write(
    mut membership: Membership<SharedFrame>,
    mut writer: WebSocketWrite<impl AsyncWrite + Unpin>,
) -> Result<(), WebSocketError> {
    while let Some(first) = membership.next().await {
        let mut next = Some(first);
        while let Some((opcode, payload)) = next {
            let frame = Frame::new(true, opcode, None, Payload::Borrowed(&payload));
            writer.write_frame(frame).await?;
            if opcode == OpCode::Close {
                return writer.flush().await;
            }
            next = membership.try_next();
        }
        writer.flush().await?;
    }
    Ok(())
}

fn shared(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Bytes(bytes) => bytes.freeze(),
        Payload::Owned(bytes) => bytes.into(),
        borrowed => Bytes::copy_from_slice(&borrowed),
    }
}
