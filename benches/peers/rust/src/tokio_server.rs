//! The runtime and the accept loop of the peers on tokio.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::start::{announce, cannot_listen};

/// A pause after a failed accept, so that a lack of descriptors does not keep the accept loop busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The multi-thread runtime with this number of workers, or else the current-thread runtime. Timers cost time in every
/// turn of the runtime, so they are enabled only on request.
///
/// # Errors
/// Fails if the system refuses a poll or a thread.
pub fn runtime(workers: Option<NonZeroUsize>, timers: bool) -> io::Result<Runtime> {
    let mut builder = match workers {
        None => Builder::new_current_thread(),
        Some(workers) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers.get());
            builder
        }
    };
    if timers {
        builder.enable_time();
    }
    builder.enable_io().build()
}

/// Accepts for ever, and spawns a task for each connection.
///
/// # Errors
/// Fails if `address` cannot be listened on.
pub async fn accept<F>(
    address: SocketAddr,
    mut connection: impl FnMut(TcpStream) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address)
        .await
        .map_err(cannot_listen(address))?;
    announce(listener.local_addr()?)?;
    loop {
        match listener.accept().await {
            // A socket that accepts no option has already been reset.
            Ok((stream, _)) if stream.set_nodelay(true).is_err() => {}
            Ok((stream, _)) => {
                tokio::spawn(connection(stream));
            }
            // The process is out of descriptors, or the connection ended before it was accepted: the other connections
            // go on.
            Err(error) => {
                eprintln!("a connection could not be accepted: {error}");
                let _ = tokio::task::spawn_blocking(|| thread::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
}
