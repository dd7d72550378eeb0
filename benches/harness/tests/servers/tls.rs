//! A front that speaks TLS to clients, and passes their bytes to a server of this process.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringwheel_harness::certificates::Key;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// The longest wait for one side before the other one gets its turn.
const TURN: Duration = Duration::from_millis(1);

/// Tickets of a front.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tickets {
    /// Each connection gets two.
    Two,
    /// There are none, so no session can be resumed.
    None,
}

/// Starts a front with the harness's own certificate, which lives as long as the test process, and returns its address.
pub(crate) fn with_tls(server: SocketAddr, tickets: Tickets) -> SocketAddr {
    let files = Key::Ecdsa.files().unwrap();
    let config = Arc::new(config(&files.certificate, &files.key, tickets));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            // A failure ends the connection, which the client notices.
            thread::spawn(move || pass(client, TcpStream::connect(server)?, config));
        }
    });
    address
}

fn config(certificate: &Path, key: &Path, tickets: Tickets) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    match tickets {
        Tickets::Two => config.ticketer = ring::Ticketer::new().unwrap(),
        Tickets::None => config.send_tls13_tickets = 0,
    }
    config
}

/// Passes bytes in both directions until the server ends.
fn pass(mut client: TcpStream, mut server: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut buffer = [0; 16 * 1024];
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    client.set_read_timeout(Some(TURN))?;
    server.set_read_timeout(Some(TURN))?;
    let mut ended = false;
    loop {
        while session.wants_write() {
            session.write_tls(&mut client)?;
        }
        let arrived = if ended {
            None
        } else {
            once(session.read_tls(&mut client))?
        };
        if let Some(length) = arrived {
            session.process_new_packets().map_err(io::Error::other)?;
            while let Some(length @ 1..) = once(session.reader().read(&mut buffer))? {
                server.write_all(&buffer[..length])?;
            }
            if length == 0 {
                ended = true;
                server.shutdown(Shutdown::Write)?;
            }
        }
        match once(server.read(&mut buffer))? {
            Some(0) => {
                session.send_close_notify();
                session.write_tls(&mut client)?;
                return Ok(());
            }
            Some(length) => session.writer().write_all(&buffer[..length])?,
            None => {}
        }
    }
}

/// `None` if nothing has arrived in time.
fn once(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
