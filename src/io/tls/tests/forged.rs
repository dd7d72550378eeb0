//! Records that rustls's client would not send.

use super::super::seal::TlsSeal;
use super::support::*;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::version::TLS13;
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

/// Encrypts for a client that has no more to say.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    fn record(&mut self, kind: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let sealed = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }
}

fn connect_forger() -> (Connection, Forger) {
    let authority = Authority::new("root");
    let mut config = authority.client_config(&TLS13, None);
    config.enable_secret_extraction = true;
    let config = std::sync::Arc::new(config);
    let (server, client) = connect(&authority.tls(), client(&config, "a.test"));
    let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
        panic!("another cipher")
    };
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_256_GCM_SHA384 else {
        unreachable!()
    };
    let encrypter = suite.aead_alg.encrypter(key, iv);
    (
        server,
        Forger {
            encrypter,
            sequence,
        },
    )
}

/// A key update that asks for none in return.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

#[test]
fn replies_leave_while_half_a_handshake_message_is_in_hand() {
    for cut in 1..KEY_UPDATE.len() {
        let (mut server, mut forger) = connect_forger();
        let (first, second) = KEY_UPDATE.split_at(cut);
        let mut bytes = forger.record(ContentType::ApplicationData, b"one");
        bytes.extend(forger.record(ContentType::Handshake, first));
        // A part of the next record may be there, too.
        let next = forger.record(ContentType::Handshake, second);
        bytes.extend_from_slice(&next[..7]);
        server.receive(&bytes).unwrap();
        assert_eq!(server.plain, b"one");
        assert!(!server.received.is_empty(), "the half message is kept");
        server.send(b"reply");
        server.receive(&next[7..]).unwrap();
        assert!(server.received.is_empty());
        server.send(b"reply");
    }
}

#[test]
fn our_end_can_be_said_while_half_a_handshake_message_is_in_hand() {
    let (mut server, mut forger) = connect_forger();
    let half = forger.record(ContentType::Handshake, &KEY_UPDATE[..2]);
    server.receive(&half).unwrap();
    server.end();
    assert!(!server.answers.is_empty());
}

#[test]
fn empty_records_are_borne_within_limits() {
    let (mut server, mut forger) = connect_forger();
    let mut bytes = forger.record(ContentType::ApplicationData, b"");
    bytes.extend(forger.record(ContentType::Handshake, b""));
    server.receive(&bytes).unwrap();
    server.send(b"reply");
    server.end();
    let bytes = forger.record(ContentType::ApplicationData, b"after");
    server.receive(&bytes).unwrap();
    assert_eq!(server.plain, b"after");
    let flood: Vec<u8> = (0..100)
        .flat_map(|_| forger.record(ContentType::ApplicationData, b""))
        .collect();
    server.receive(&flood).unwrap_err();
}

#[test]
fn other_messages_within_a_handshake_message_are_refused() {
    let (mut server, mut forger) = connect_forger();
    let mut bytes = forger.record(ContentType::ApplicationData, b"good");
    bytes.extend(forger.record(ContentType::Handshake, &KEY_UPDATE[..2]));
    bytes.extend(forger.record(ContentType::ApplicationData, b"bad"));
    server.receive(&bytes).unwrap_err();
    assert_eq!(server.plain, b"good");
    server.end();
}

#[test]
fn a_large_handshake_message_is_refused() {
    let (mut server, mut forger) = connect_forger();
    let mut message = vec![24, 1, 0, 0];
    message.resize(16_000, 0);
    let mut outcome = Ok(());
    for _ in 0..6 {
        let bytes = forger.record(ContentType::Handshake, &message);
        outcome = outcome.and_then(|()| server.receive(&bytes));
    }
    assert!(outcome.is_err());
    assert!(server.received.len() < 96 * 1024);
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<TlsSeal>();
    assert!(size <= 1600, "{size}");
}
