//! Starts every TLS peer on a free loopback port and checks its contract, with a client of tokio-rustls.

// The blocking sockets are for the other tests.
#[allow(dead_code)]
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use support::{Peer, bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Every peer that speaks TLS.
const BINARIES: &[&str] = &[
    env!("CARGO_BIN_EXE_peer-mio-tls"),
    env!("CARGO_BIN_EXE_peer-mio-tls-unbuffered"),
    env!("CARGO_BIN_EXE_peer-tokio-tls"),
];

/// Upper bound of each test with one peer.
const DEADLINE: Duration = Duration::from_secs(60);
/// 4 MiB: more than the sockets' buffers hold.
const LARGE: usize = 4 * 1024 * 1024;

/// The files of one certificate and its key, which all tests share.
fn files() -> &'static (PathBuf, PathBuf) {
    static FILES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FILES.get_or_init(|| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = |part: &str| folder.join(format!("{}-{part}.pem", std::process::id()));
        let (certificate, key) = (name("cert"), name("key"));
        fs::write(&certificate, cert.pem()).expect("a file");
        fs::write(&key, signing_key.serialize_pem()).expect("a file");
        (certificate, key)
    })
}

fn start(binary: &str) -> Peer {
    let (certificate, key) = files();
    let [certificate, key] = [certificate, key].map(|file| file.to_str().expect("UTF-8"));
    let arguments = ["--tls-cert", certificate, "--tls-key", key];
    Peer::start(binary, &arguments).expect("it needs no io_uring")
}

fn client() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&files().0).expect("a certificate");
    roots.add(certificate).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

async fn connect(peer: &Peer, client: &TlsConnector) -> TlsStream<TcpStream> {
    let socket = peer.connect();
    socket.set_nonblocking(true).expect("a socket option");
    let socket = TcpStream::from_std(socket).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    client.connect(name, socket).await.expect("a handshake")
}

/// Runs a check against each peer, within the deadline.
fn with_each_peer<F: Future<Output = ()>>(check: impl Fn(Arc<Peer>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for binary in BINARIES {
        let peer = Arc::new(start(binary));
        let name = peer.to_string();
        let checked = runtime.block_on(async { tokio::time::timeout(DEADLINE, check(peer)).await });
        assert!(checked.is_ok(), "{name} hangs");
    }
}

/// Writes `sent` in pieces, reads the echo at the same time, and compares.
async fn exchange(stream: TlsStream<TcpStream>, sent: &[u8], piece: usize) {
    let (mut reader, mut writer) = split(stream);
    let write = async {
        for part in sent.chunks(piece) {
            writer.write_all(part).await.expect("the peer reads");
            writer.flush().await.expect("the peer reads");
        }
    };
    let mut came = vec![0; sent.len()];
    let (_, read) = join(write, reader.read_exact(&mut came)).await;
    read.expect("the peer answers");
    assert!(came == sent, "{} bytes came back changed", sent.len());
}

#[test]
fn bytes_come_back() {
    with_each_peer(|peer| async move {
        let client = client();
        for (length, piece) in [
            (1, 1),
            (500, 1),
            (16 * 1024, 16 * 1024),
            (70_000, 4099),
            (LARGE, LARGE),
        ] {
            let stream = connect(&peer, &client).await;
            exchange(stream, &bytes(length as u64, length), piece).await;
        }
    });
}

#[test]
fn after_the_clients_end_the_rest_comes_and_the_connection_closes() {
    with_each_peer(|peer| async move {
        let (mut reader, mut writer) = split(connect(&peer, &client()).await);
        let sent = bytes(5, LARGE);
        let write = async {
            writer.write_all(&sent).await.expect("the peer reads");
            writer.shutdown().await.expect("an end of stream");
        };
        let mut came = Vec::new();
        let (_, read) = join(write, reader.read_to_end(&mut came)).await;
        // A stream that ends without a close_notify would be an error here.
        read.expect("the peer ends in order");
        assert!(came == sent, "{peer}: output was lost");
    });
}

#[test]
fn a_client_comes_back_with_a_ticket() {
    with_each_peer(|peer| async move {
        let client = client();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(&peer, &client).await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{peer}");
            stream.write_all(b"hello").await.expect("the peer reads");
            let mut came = [0; 5];
            stream.read_exact(&mut came).await.expect("an answer");
        }
    });
}

#[test]
fn failures_stay_alone() {
    with_each_peer(|peer| async move {
        let client = client();
        let good = connect(&peer, &client).await;
        // One says nothing, one speaks no TLS, one leaves after its handshake.
        let silent = peer.connect();
        let mut plain = peer.connect();
        plain
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .expect("it reads");
        drop(connect(&peer, &client).await);
        exchange(good, &bytes(9, 1000), 100).await;
        drop((silent, plain));
        exchange(connect(&peer, &client).await, &bytes(9, 1000), 100).await;
    });
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_without_end() {
    with_each_peer(|peer| async move {
        let client = client();
        let mut deaf = connect(&peer, &client).await;
        let flood = bytes(3, 64 * LARGE);
        let write = deaf.write_all(&flood);
        let written = tokio::time::timeout(Duration::from_millis(500), write).await;
        assert!(written.is_err(), "{peer} has kept everything");
        exchange(connect(&peer, &client).await, &bytes(9, 1000), 100).await;
    });
}

#[test]
fn a_missing_certificate_is_one_line_and_exit_code_1() {
    for binary in BINARIES {
        let output = Command::new(binary)
            .args([
                "--addr",
                "127.0.0.1:0",
                "--tls-cert",
                "/none",
                "--tls-key",
                "/none",
            ])
            .output()
            .expect("the peer starts");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{binary}: {problem}");
        assert_eq!(problem.lines().count(), 1, "{binary}: {problem}");
    }
}
