use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

use super::super::Tls;
use super::super::session::TlsSession;
use super::support::*;
use rustls::{AlertDescription, CipherSuite, ProtocolVersion};

fn echo(server: &mut Connection, client: &mut rustls::ClientConnection) {
    let bytes = write(client, b"ping");
    server.receive(&bytes).unwrap();
    assert_eq!(server.plain, b"ping");
    server.send(b"pong");
    answer(server, client).unwrap();
    assert_eq!(read(client), (b"pong".to_vec(), false));
}

#[test]
fn both_versions_shake_hands_and_tell_of_their_session() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        let session: TlsSession<'_> = server.seal.as_ref().unwrap().tls().unwrap();
        assert_eq!(session.version(), version.version);
        let expected = match session.version() {
            ProtocolVersion::TLSv1_3 => CipherSuite::TLS13_AES_256_GCM_SHA384,
            _ => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        };
        assert_eq!(session.cipher_suite(), expected);
        assert_eq!(session.server_name(), Some("a.test"));
        assert_eq!(session.alpn(), None);
        assert!(session.peer_certificates().is_empty());
        assert!(!session.is_resumed());
        echo(&mut server, &mut client);
    }
}

#[test]
fn each_flight_may_be_cut_at_every_byte() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        // Each turn cuts one flight more at the same place, as long as a flight is that long.
        for cut in 1.. {
            let mut server = Connection::new(&tls);
            let mut client = authority.client(version);
            let mut was_cut = false;
            while client.is_handshaking() || client.wants_write() {
                let bytes = flight(&mut client);
                let (first, second) = bytes.split_at(cut.min(bytes.len()));
                was_cut |= !second.is_empty();
                server.receive(first).unwrap();
                server.receive(second).unwrap();
                answer(&mut server, &mut client).unwrap();
            }
            echo(&mut server, &mut client);
            if !was_cut {
                assert!(cut > 100, "the flights were cut");
                break;
            }
        }
    }
}

#[test]
fn the_first_message_may_come_with_the_last_of_the_handshake() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        for room in [1, 3, 100] {
            let mut server = Connection::new(&tls);
            server.room = room;
            let mut client = authority.client(version);
            let mut early = Vec::new();
            while !server.is_open() {
                if !client.is_handshaking() {
                    early = write(&mut client, b"at once");
                } else if client.wants_write() {
                    early = flight(&mut client);
                }
                server.receive(&early).unwrap();
                answer(&mut server, &mut client).unwrap();
            }
            let bytes = write(&mut client, b", later");
            server.receive(&bytes).unwrap();
            assert!(server.plain.ends_with(b", later"));
        }
    }
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for seed in 1..=60 {
        let mut numbers = Numbers(seed);
        let version = VERSIONS[numbers.below(2)];
        let mut server = Connection::new(&tls);
        server.room = 1 + numbers.below(5000);
        let mut client = authority.client(version);
        let (mut sent, mut replied, mut to_server) = (Vec::new(), Vec::new(), Vec::new());
        let mut got = Vec::new();
        while sent.len() < 100_000 {
            if !client.is_handshaking() && numbers.below(3) == 0 {
                let length = numbers.below(20_000);
                let bytes = numbers.bytes(length);
                sent.extend_from_slice(&bytes);
                to_server.extend(write(&mut client, &bytes));
            }
            to_server.extend(flight(&mut client));
            let count = match numbers.below(3) {
                0 => to_server.len(),
                _ => numbers.below(to_server.len() + 1),
            };
            let piece: Vec<u8> = to_server.drain(..count).collect();
            server.receive(&piece).unwrap();
            if server.is_open() && numbers.below(3) == 0 {
                let length = numbers.below(40_000);
                let bytes = numbers.bytes(length);
                replied.extend_from_slice(&bytes);
                server.send(&bytes);
            }
            got.extend(hear(&mut server, &mut client));
        }
        server.receive(&to_server).unwrap();
        assert!(server.plain == sent, "seed {seed}");
        assert!(got == replied, "seed {seed}");
    }
}

#[test]
fn one_call_takes_at_most_one_expensive_step() {
    use crate::io::wire::handshake::{Progress, SealSource};
    let authority = Authority::new("root");
    let tls = authority.tls();
    let mut client = authority.client(&rustls::version::TLS12);
    let mut handshake = tls.begin().unwrap();
    let (mut received, mut answers) = (flight(&mut client), Vec::new());
    let progress = handshake.advance(&mut received, &mut answers).unwrap();
    assert_eq!(progress, Progress::AwaitsInput);
    client.read_tls(&mut answers.as_slice()).unwrap();
    client.process_new_packets().unwrap();
    // The key exchange and, behind the change of the cipher, the client's Finished.
    received = flight(&mut client);
    let progress = handshake.advance(&mut received, &mut answers).unwrap();
    assert_eq!(progress, Progress::GoesOn);
    let progress = handshake.advance(&mut received, &mut answers).unwrap();
    assert_eq!(progress, Progress::Done);
}

fn refusal(bytes: &[u8]) -> (io::Error, Vec<u8>) {
    let mut server = Connection::new(&Authority::new("root").tls());
    let error = server.receive(bytes).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    (error, server.answers)
}

#[test]
fn a_peer_that_does_not_speak_tls_is_refused_in_clear_words() {
    let (error, alert) = refusal(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(error.to_string(), "the peer speaks HTTP, not TLS");
    let source = error
        .source()
        .and_then(<dyn Error>::downcast_ref::<rustls::Error>);
    assert!(
        matches!(source, Some(rustls::Error::InvalidMessage(_))),
        "{source:?}"
    );
    // A fatal alert, decode_error.
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50]);
    let (error, _) = refusal(b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(error.to_string(), "the peer does not speak TLS");
    let (error, _) = refusal(&[22, 9, 9, 0, 1, 1]);
    assert_eq!(error.to_string(), "the peer does not speak TLS");
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    let mut numbers = Numbers(77);
    for _ in 0..2000 {
        let mut server = Connection::new(&tls);
        let length = numbers.below(60);
        let mut bytes = numbers.bytes(length);
        if numbers.below(2) == 0 {
            // A plausible header.
            bytes.splice(
                0..0,
                [
                    20 + numbers.below(5) as u8,
                    3,
                    numbers.below(5) as u8,
                    0,
                    length as u8,
                ],
            );
        }
        _ = server.receive(&bytes);
        assert!(!server.is_open());
    }
}

#[test]
fn a_flipped_bit_never_panics_and_is_noticed() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    let mut numbers = Numbers(78);
    for version in VERSIONS {
        for _ in 0..150 {
            let mut server = Connection::new(&tls);
            let mut client = authority.client(version);
            let mut bytes = flight(&mut client);
            let in_which = numbers.below(2);
            if in_which == 1 {
                server.receive(&bytes).unwrap();
                answer(&mut server, &mut client).unwrap();
                bytes = flight(&mut client);
            }
            let at = numbers.below(bytes.len());
            bytes[at] ^= 1 << numbers.below(8);
            let heard = server.receive(&bytes);
            // With TLS 1.3 all behind the first two headers is under encryption.
            if in_which == 1 && version == VERSIONS[1] && at > 11 {
                assert!(heard.is_err() || !server.is_open());
            }
            _ = answer(&mut server, &mut client);
        }
    }
}

#[test]
fn an_alert_of_the_client_ends_the_handshake() {
    let authority = Authority::new("root");
    let other = Authority::new("another root");
    for version in VERSIONS {
        let mut server = Connection::new(&authority.tls());
        let mut client = other.client(version);
        let bytes = flight(&mut client);
        server.receive(&bytes).unwrap();
        answer(&mut server, &mut client).unwrap_err();
        let bytes = flight(&mut client);
        let error = server.receive(&bytes).unwrap_err();
        let expected = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let source = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        assert!(source == Some(&expected) || source.is_some(), "{error}");
    }
}

#[test]
fn early_data_is_refused_although_the_users_settings_allow_it() {
    let authority = Authority::new("root");
    let mut config = authority.server_config();
    config.max_early_data_size = 1000;
    let mut client_config = authority.client_config(&rustls::version::TLS13, None);
    client_config.enable_early_data = true;
    let client_config = Arc::new(client_config);

    // Another server with the same settings gives the client a ticket for early data.
    let mut other = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
    let mut first = client(&client_config, "a.test");
    while first.wants_write() || other.wants_write() {
        other.read_tls(&mut flight(&mut first).as_slice()).unwrap();
        other.process_new_packets().unwrap();
        let mut answers = Vec::new();
        while other.wants_write() {
            other.write_tls(&mut answers).unwrap();
        }
        first.read_tls(&mut answers.as_slice()).unwrap();
        first.process_new_packets().unwrap();
    }

    let tls = Tls::from_config(Arc::new(config));
    let mut second = client(&client_config, "a.test");
    let mut early = second.early_data().unwrap();
    early.write_all(&[1; 500]).unwrap();
    early.write_all(&[2; 500]).unwrap();
    let (mut server, mut second) = connect(&tls, second);
    assert!(!second.is_early_data_accepted());
    echo(&mut server, &mut second);
}

#[test]
fn tls12_can_be_refused() {
    let authority = Authority::new("root");
    let tls = authority.builder().only_tls13().build().unwrap();
    let mut server = Connection::new(&tls);
    let mut client = authority.client(&rustls::version::TLS12);
    let failure = talk(&mut server, &mut client).unwrap_err();
    assert!(matches!(failure, Failure::Server(_)));
    let error = client.process_new_packets().unwrap_err();
    assert_eq!(
        error,
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
    );
    connect(&tls, authority.client(&rustls::version::TLS13));
}
