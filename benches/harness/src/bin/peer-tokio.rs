//! An echo server as tokio's documentation teaches it: the current-thread runtime, a task per connection, `read` and
//! `write_all`, with a buffer of 16 KiB per connection.

use std::io;

use ringwheel_harness::listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const READ_BUFFER: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let address = listen::address();
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(async move {
            let listener = TcpListener::bind(address).await?;
            listen::announce(listener.local_addr()?)?;
            loop {
                let (stream, _) = listener.accept().await?;
                if stream.set_nodelay(true).is_ok() {
                    tokio::spawn(echo(stream));
                }
            }
        })
}

/// Echoes until the peer ends or fails; either way only this connection is over.
async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; READ_BUFFER];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 || stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
