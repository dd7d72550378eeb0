//! A certificate authority, a server whose bytes are at hand, and clients.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

use crate::io::tls::Tls;
use crate::io::tls::builder::TlsBuilder;
use crate::io::tls::pem::Pem;
use crate::io::wire::handshake::{Handshake, Progress, SealSource};
use crate::io::wire::seal::{Rest, Seal};
use crate::io::wire::sealed::PIECE;

pub(super) type Version = &'static SupportedProtocolVersion;
pub(super) const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// Room for what the records of a piece add, as the wire has it.
const SEALED_ROOM: usize = PIECE + 8 * 1024;

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Issued {
    pub(super) fn pems(&self) -> (Pem, Pem) {
        (Pem::bytes(&self.chain), Pem::bytes(&self.key))
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Authority {
            issuer: CertifiedIssuer::self_signed(authority_params(name), key).unwrap(),
        }
    }

    /// An authority whose certificate this one issues.
    pub(super) fn subordinate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        Authority {
            issuer: CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap(),
        }
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub(super) fn issue(&self, names: &[&str], serial: u8) -> Issued {
        self.issue_with(names, serial, |_| {})
    }

    pub(super) fn issue_with(
        &self,
        names: &[&str],
        serial: u8,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    pub(super) fn root(&self) -> Pem {
        Pem::bytes(self.issuer.pem())
    }

    pub(super) fn revoke(&self, serials: &[u8]) -> Pem {
        let revoked = |&serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[serial]),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Pem::bytes(params.signed_by(&self.issuer).unwrap().pem().unwrap())
    }

    fn store(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub(super) fn client_config(
        &self,
        version: Version,
        identity: Option<&Issued>,
    ) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(self.store(), provider.clone());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap());
        match identity {
            Some(identity) => {
                let key = PrivateKeyDer::try_from(identity.key_der.clone()).unwrap();
                builder.with_client_auth_cert(vec![identity.der.clone()], key)
            }
            None => Ok(builder.with_no_client_auth()),
        }
        .unwrap()
    }

    /// Settings of a user's own.
    pub(super) fn server_config(&self) -> ServerConfig {
        let issued = self.issue(&["a.test"], 7);
        let key = PrivateKeyDer::try_from(issued.key_der).unwrap();
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.der], key)
            .unwrap()
    }

    pub(super) fn client(&self, version: Version) -> ClientConnection {
        client(&Arc::new(self.client_config(version, None)), "a.test")
    }

    /// A server with one certificate, of `a.test`.
    pub(super) fn tls(&self) -> Tls {
        self.builder().build().unwrap()
    }

    pub(super) fn builder(&self) -> TlsBuilder {
        let (chain, key) = self.issue(&["a.test"], 7).pems();
        Tls::builder().certificate(chain, key)
    }
}

pub(super) fn client(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(config.clone(), name).unwrap()
}

/// A connection of the server, driven as the event loop and the wire drive it.
pub(super) struct Connection {
    handshake: Option<Box<dyn Handshake>>,
    pub(super) seal: Option<Box<dyn Seal>>,
    pub(super) received: Vec<u8>,
    /// Bytes for the client.
    pub(super) answers: Vec<u8>,
    /// All plaintext that has come.
    pub(super) plain: Vec<u8>,
    /// The room for plaintext that each call has.
    pub(super) room: usize,
    pub(super) records: usize,
    pub(super) has_ended: bool,
}

impl Connection {
    pub(super) fn new(tls: &Tls) -> Self {
        Connection {
            handshake: Some(tls.begin().unwrap()),
            seal: None,
            received: Vec::new(),
            answers: Vec::new(),
            plain: Vec::new(),
            room: 64 * 1024,
            records: 0,
            has_ended: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.seal.is_some()
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.received.extend_from_slice(bytes);
        while let Some(handshake) = &mut self.handshake {
            match handshake.advance(&mut self.received, &mut self.answers)? {
                Progress::AwaitsInput => return Ok(()),
                Progress::GoesOn => {}
                Progress::Done => self.seal = Some(self.handshake.take().unwrap().finish()),
            }
        }
        self.unseal()
    }

    pub(super) fn unseal(&mut self) -> io::Result<()> {
        let seal = self.seal.as_mut().unwrap();
        let mut plain = vec![0; self.room];
        loop {
            let opened = seal.unseal(&mut self.received, &mut plain, &mut self.answers)?;
            assert!(opened.written <= self.room);
            self.plain.extend_from_slice(&plain[..opened.written]);
            self.received.drain(..opened.consumed);
            self.records += opened.records;
            match opened.rest {
                Rest::Nothing => {
                    assert_eq!(seal.held(), 0);
                    return Ok(());
                }
                Rest::Perhaps => assert!(opened.written > 0),
                Rest::Ended => {
                    self.has_ended = true;
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn send(&mut self, mut plain: &[u8]) {
        let mut sealed = vec![0; SEALED_ROOM];
        while !plain.is_empty() {
            let piece = &plain[..plain.len().min(PIECE)];
            let piece = self
                .seal
                .as_mut()
                .unwrap()
                .seal(piece, &mut sealed)
                .unwrap();
            assert!(piece.taken > 0 || piece.written > 0);
            plain = &plain[piece.taken..];
            self.answers.extend_from_slice(&sealed[..piece.written]);
        }
    }

    pub(super) fn end(&mut self) {
        self.seal.as_mut().unwrap().end(&mut self.answers);
    }
}

/// All that the client has to send.
pub(super) fn flight(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Hands the server's answers to the client.
pub(super) fn answer(
    server: &mut Connection,
    client: &mut ClientConnection,
) -> Result<(), rustls::Error> {
    let answers = std::mem::take(&mut server.answers);
    let mut answers = answers.as_slice();
    while !answers.is_empty() {
        client.read_tls(&mut answers).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// Hands the server's answers to the client, and returns all plaintext that comes with them.
pub(super) fn hear(server: &mut Connection, client: &mut ClientConnection) -> Vec<u8> {
    let answers = std::mem::take(&mut server.answers);
    let mut answers = answers.as_slice();
    let mut plain = Vec::new();
    while !answers.is_empty() {
        client.read_tls(&mut answers).unwrap();
        client.process_new_packets().unwrap();
        plain.extend(read(client).0);
    }
    plain
}

/// The outcome of letting both sides talk until they are silent.
#[derive(Debug)]
#[expect(dead_code, reason = "a failing test shows the errors")]
pub(super) enum Failure {
    Server(io::Error),
    Client(rustls::Error),
}

pub(super) fn talk(server: &mut Connection, client: &mut ClientConnection) -> Result<(), Failure> {
    loop {
        let bytes = flight(client);
        let heard = server.receive(&bytes);
        let answered = answer(server, client);
        heard.map_err(Failure::Server)?;
        answered.map_err(Failure::Client)?;
        if !client.wants_write() {
            return Ok(());
        }
    }
}

/// A server and a client whose handshake is done.
pub(super) fn connect(tls: &Tls, mut client: ClientConnection) -> (Connection, ClientConnection) {
    let mut server = Connection::new(tls);
    talk(&mut server, &mut client).unwrap();
    assert!(server.is_open());
    (server, client)
}

pub(super) fn write(client: &mut ClientConnection, bytes: &[u8]) -> Vec<u8> {
    client.writer().write_all(bytes).unwrap();
    flight(client)
}

/// All plaintext that the client has, and true if the server has ended its stream.
pub(super) fn read(client: &mut ClientConnection) -> (Vec<u8>, bool) {
    let mut plain = Vec::new();
    match client.reader().read_to_end(&mut plain) {
        Ok(_) => (plain, true),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            (plain, false)
        }
    }
}

/// Numbers that look random and are the same in each run (Marsaglia's xorshift).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}
