use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::Tls;
use super::super::error::TlsErrorKind;
use super::super::pem::Pem;
use super::support::*;
use rustls::HandshakeKind;
use rustls::version::TLS13;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ringwheel-tls-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, issued: &Issued) -> (PathBuf, PathBuf) {
        let (chain, key) = (self.0.join("chain.pem"), self.0.join("key.pem"));
        fs::write(&chain, &issued.chain).unwrap();
        fs::write(&key, &issued.key).unwrap();
        (chain, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// True if new connections get this certificate.
fn serves(tls: &Tls, authority: &Authority, issued: &Issued) -> bool {
    let (_, client) = connect(tls, authority.client(&TLS13));
    client.peer_certificates().unwrap()[0] == issued.der
}

#[test]
fn renewed_files_are_served_and_bad_ones_change_nothing() {
    let folder = Folder::new("files");
    let authority = Authority::new("root");
    let [first, second] = [1, 2].map(|serial| authority.issue(&["a.test"], serial));
    let (chain, key) = folder.write(&first);
    let tls = Tls::from_pem_files(&chain, &key).unwrap();
    let clone = tls.clone();
    let (mut server, mut old) = connect(&tls, authority.client(&TLS13));
    assert!(serves(&clone, &authority, &first));

    // The chain is renewed, the key is not yet.
    fs::write(&chain, &second.chain).unwrap();
    let error = tls.reload().unwrap_err();
    assert_eq!(
        (error.kind(), error.file()),
        (TlsErrorKind::KeyMismatch, Some(key.as_path()))
    );
    assert!(serves(&clone, &authority, &first));

    fs::write(&key, &second.key).unwrap();
    tls.reload().unwrap();
    assert!(serves(&clone, &authority, &second));

    fs::remove_file(&key).unwrap();
    let error = tls.reload().unwrap_err();
    assert_eq!(
        (error.kind(), error.file()),
        (TlsErrorKind::Unreadable, Some(key.as_path()))
    );
    assert!(serves(&clone, &authority, &second));

    // A connection from before all that still works.
    let bytes = write(&mut old, b"hello");
    server.receive(&bytes).unwrap();
    assert_eq!(server.plain, b"hello");
}

#[test]
fn a_handshake_under_way_keeps_its_settings() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    let mut server = Connection::new(&tls);
    let other = Authority::new("another root").builder();
    tls.reload_with(other).unwrap();
    talk(&mut server, &mut authority.client(&TLS13)).unwrap();
    assert!(server.is_open());
}

#[test]
fn other_settings_may_follow() {
    let authority = Authority::new("root");
    let [first, second] = [1, 2].map(|serial| authority.issue(&["a.test"], serial));
    let tls = Tls::from_pem(&first.chain, &first.key).unwrap();
    let wrong = Tls::builder().certificate(Pem::bytes(&second.chain), Pem::bytes(&first.key));
    let error = tls.reload_with(wrong).unwrap_err();
    assert_eq!(error.kind(), TlsErrorKind::KeyMismatch);
    assert!(serves(&tls, &authority, &first));
    let (chain, key) = second.pems();
    tls.reload_with(Tls::builder().certificate(chain, key))
        .unwrap();
    assert!(serves(&tls, &authority, &second));
    tls.reload().unwrap();
    assert!(serves(&tls, &authority, &second));
}

#[test]
fn a_users_settings_are_replaced_by_others_of_theirs() {
    let authority = Authority::new("root");
    let [first, second] = [1, 2].map(|serial| authority.issue(&["a.test"], serial));
    let config = |issued: &Issued| {
        let tls = Tls::from_pem(&issued.chain, &issued.key).unwrap();
        tls.shared.config.read().unwrap().clone()
    };
    let tls = Tls::from_config(config(&first));
    assert!(serves(&tls, &authority, &first));
    assert_eq!(
        tls.reload().unwrap_err().kind(),
        TlsErrorKind::NotReloadable
    );
    tls.reload_config(config(&second));
    assert!(serves(&tls, &authority, &second));
}

#[test]
fn sessions_are_resumed_across_a_reload() {
    let authority = Authority::new("root");
    for version in VERSIONS {
        let tls = authority.tls();
        let config = Arc::new(authority.client_config(version, None));
        let kind = || {
            let (server, client) = connect(&tls, client(&config, "a.test"));
            let session = server.seal.as_ref().unwrap().tls().unwrap();
            assert_eq!(session.server_name(), Some("a.test"));
            let kind = client.handshake_kind().unwrap();
            assert_eq!(session.is_resumed(), kind == HandshakeKind::Resumed);
            kind
        };
        assert_eq!(kind(), HandshakeKind::Full);
        assert_eq!(kind(), HandshakeKind::Resumed);
        tls.reload().unwrap();
        assert_eq!(kind(), HandshakeKind::Resumed);
        tls.reload_with(authority.builder()).unwrap();
        assert_eq!(kind(), HandshakeKind::Resumed);
    }
}

#[test]
fn a_client_that_is_revoked_cannot_resume() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let identity = clients.issue(&["client"], 2);
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(version, Some(&identity)));
        let terms = || {
            authority
                .builder()
                .require_client_certificates(clients.root())
        };
        let tls = terms()
            .revocation_list(clients.revoke(&[]))
            .build()
            .unwrap();
        let (server, _) = connect(&tls, client(&config, "a.test"));
        assert!(!server.seal.unwrap().tls().unwrap().is_resumed());
        let (server, _) = connect(&tls, client(&config, "a.test"));
        let session = server.seal.as_ref().unwrap().tls().unwrap();
        assert!(session.is_resumed());
        assert_eq!(
            session.peer_certificates(),
            std::slice::from_ref(&identity.der)
        );

        tls.reload_with(terms().revocation_list(clients.revoke(&[2])))
            .unwrap();
        let mut server = Connection::new(&tls);
        let mut client = client(&config, "a.test");
        assert!(matches!(
            talk(&mut server, &mut client),
            Err(Failure::Server(_))
        ));
    }
}

#[test]
fn a_client_cannot_resume_past_a_demand_for_certificates() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(version, None));
        let tls = authority.tls();
        connect(&tls, client(&config, "a.test"));
        let terms = authority
            .builder()
            .require_client_certificates(clients.root());
        tls.reload_with(terms).unwrap();
        let mut server = Connection::new(&tls);
        let mut client = client(&config, "a.test");
        assert!(talk(&mut server, &mut client).is_err());
    }
}
