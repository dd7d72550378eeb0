//! An echo server as in tokio-rustls's documentation: one task per connection, `read` and `write_all` for bytes.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use ringwheel_peers::tls::TlsPeerOptions;
use ringwheel_peers::{start, tokio_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

const READ_BUFFER: usize = 16 * 1024;

/// An echo server with TLS on tokio-rustls, with the current-thread runtime.
#[derive(Parser)]
#[command(name = "peer-tokio-tls")]
struct Options {
    #[command(flatten)]
    peer: TlsPeerOptions,
}

fn main() -> ExitCode {
    start::run(|Options { peer }: Options| {
        let acceptor = TlsAcceptor::from(peer.tls.config()?);
        tokio_server::runtime(None, false)?.block_on(tokio_server::accept(
            peer.addr,
            // A connection's failure ends only this connection.
            move |stream| {
                let acceptor = acceptor.clone();
                async move { drop(echo(acceptor, stream).await) }
            },
        ))
    })
}

/// Echoes until the peer ends or fails.
async fn echo(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
        // rustls may keep encrypted bytes that the socket has not taken.
        stream.flush().await?;
    }
}
