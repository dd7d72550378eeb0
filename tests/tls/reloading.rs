//! Certificates that change while the server serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ringwheel::protocol::Raw;
use ringwheel::{Server, Tls, TlsErrorKind};
use support::scale::{report, sized};
use support::tls::{Authority, Issued, NAME, TlsClient, VERSIONS, client_config};
use support::{DEADLINE, TestServer, listen, raw_echo};

/// A folder with the files of a certificate, removed at the end of the test.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let name = format!("ringwheel-tls-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, issued: &Issued) {
        fs::write(self.path("chain.pem"), &issued.chain).unwrap();
        fs::write(self.path("key.pem"), &issued.key).unwrap();
    }

    fn tls(&self) -> Tls {
        Tls::from_pem_files(self.path("chain.pem"), self.path("key.pem")).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// True if the server has presented this certificate.
fn has_presented(client: &TlsClient, issued: &Issued) -> bool {
    client.tls.peer_certificates().unwrap()[0] == issued.der
}

#[test]
fn no_handshake_fails_while_certificates_are_reloaded() {
    let reloads = sized(200, 10_000);
    let authority = Authority::shared();
    let certificates = [authority.issue(&[NAME]), authority.issue(&[NAME])];
    let files = Files::new("load");
    files.write(&certificates[0]);
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(builder, listen(Raw).tls(files.tls()), echo);
    let configs = VERSIONS.map(|version| client_config(&[version]));
    let mut stays = TlsClient::open_with(server.addr(), &configs[1]);
    let (is_over, handshakes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for config in &configs {
            scope.spawn(|| {
                // At least so many, however fast the reloads are.
                let mut left = 150;
                while left > 0 || !is_over.load(Ordering::Relaxed) {
                    let mut client = TlsClient::open_with(server.addr(), config);
                    client.ping();
                    client.finish();
                    client.expect_end();
                    handshakes.fetch_add(1, Ordering::Relaxed);
                    left = u32::saturating_sub(left, 1);
                }
            });
        }
        for number in 0..reloads {
            files.write(&certificates[(number + 1) % 2]);
            server.handle().reload_tls().unwrap();
            stays.ping();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let stats = server.handle().stats();
    assert_eq!((stats.handshakes_failed, stats.openings_late), (0, 0));
    report(
        "no_handshake_fails_while_certificates_are_reloaded",
        format_args!(
            "{reloads} reloads, {} handshakes",
            handshakes.load(Ordering::Relaxed)
        ),
    );
    server.finish(&events);
}

#[test]
fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_nobody() {
    let authority = Authority::shared();
    let certificates = [authority.issue(&[NAME]), authority.issue(&[NAME])];
    let files = Files::new("change");
    files.write(&certificates[0]);
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw).tls(files.tls()), echo);
    let open = || TlsClient::open_with(server.addr(), &client_config(&VERSIONS[1..]));
    let mut first = open();
    assert!(has_presented(&first, &certificates[0]));
    files.write(&certificates[1]);
    assert!(has_presented(&open(), &certificates[0]), "not reloaded yet");
    server.handle().reload_tls().unwrap();
    let mut second = open();
    assert!(has_presented(&second, &certificates[1]));
    fs::write(files.path("chain.pem"), "no certificate").unwrap();
    let error = server.handle().reload_tls().unwrap_err();
    let file: Option<&Path> = error.file();
    assert_eq!(file, Some(files.path("chain.pem").as_path()));
    let mut third = open();
    assert!(has_presented(&third, &certificates[1]), "the old one stays");
    for client in [&mut first, &mut second, &mut third] {
        client.ping();
    }
    server.handle().shutdown(DEADLINE);
    drop((first, second, third));
    server.join();
    events.assert_lifecycles();
}

#[test]
fn listeners_with_settings_of_rustls_are_passed_over() {
    let authority = Authority::shared();
    let certificates = [authority.issue(&[NAME]), authority.issue(&[NAME])];
    let files = Files::new("passed-over");
    files.write(&certificates[0]);
    let own = || listen(Raw).tls(Tls::from_config(Arc::new(certificates[0].server_config())));
    let (echo, events) = raw_echo();
    let server = TestServer::start(own(), echo);
    let handle = server.handle();
    let error = handle.reload_tls().unwrap_err();
    assert_eq!(error.kind(), TlsErrorKind::NotReloadable);

    let added = handle
        .listen(listen(Raw).tls(files.tls()), raw_echo().0)
        .unwrap();
    let presents = |issued: &Issued| {
        let config = client_config(&VERSIONS[1..]);
        let mut client = TlsClient::open_with(added[0].socket_addr().unwrap(), &config);
        client.ping();
        has_presented(&client, issued)
    };
    files.write(&certificates[1]);
    handle.reload_tls().unwrap();
    assert!(presents(&certificates[1]));
    fs::write(files.path("key.pem"), "no key").unwrap();
    assert_eq!(handle.reload_tls().unwrap_err().kind(), TlsErrorKind::NoKey);
    server.finish(&events);
}
