use std::io::{self, Write};
use std::sync::Arc;

use super::support::*;
use rustls::version::TLS13;

#[test]
fn close_notify_ends_each_direction_for_itself() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let bytes = flight(&mut client);
        server.receive(&bytes).unwrap();
        assert_eq!(server.plain, b"last");
        assert!(server.has_ended);
        // The other direction goes on.
        server.send(b"but I have more");
        server.end();
        let said = server.answers.clone();
        server.end();
        assert_eq!(server.answers, said, "the end is said once");
        answer(&mut server, &mut client).unwrap();
        assert_eq!(read(&mut client), (b"but I have more".to_vec(), true));
        let error = server.seal.unwrap().seal(b"x", &mut [0; 999]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn the_peer_may_go_on_after_our_end() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        server.end();
        answer(&mut server, &mut client).unwrap();
        assert_eq!(read(&mut client), (Vec::new(), true));
        let bytes = write(&mut client, b"still here");
        server.receive(&bytes).unwrap();
        assert_eq!(server.plain, b"still here");
        client.send_close_notify();
        let bytes = flight(&mut client);
        server.receive(&bytes).unwrap();
        assert!(server.has_ended);
    }
}

#[test]
fn a_stream_that_is_cut_has_no_end() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        let mut bytes = write(&mut client, b"whole");
        bytes.extend(write(&mut client, b"cut"));
        bytes.pop();
        server.receive(&bytes).unwrap();
        assert_eq!(server.plain, b"whole");
        assert!(!server.has_ended);
    }
}

#[test]
fn keys_are_updated_by_the_client() {
    let authority = Authority::new("root");
    let (mut server, mut client) = connect(&authority.tls(), authority.client(&TLS13));
    for round in 0..100_u8 {
        let mut bytes = write(&mut client, &[round]);
        client.refresh_traffic_keys().unwrap();
        bytes.extend(write(&mut client, &[round]));
        server.receive(&bytes).unwrap();
        assert_eq!(server.plain.split_off(0), [round, round]);
        server.send(&[round]);
        answer(&mut server, &mut client).unwrap();
        assert_eq!(read(&mut client).0, [round]);
    }
}

#[test]
fn a_flood_of_key_updates_is_refused() {
    let authority = Authority::new("root");
    let (mut server, mut client) = connect(&authority.tls(), authority.client(&TLS13));
    let mut bytes = Vec::new();
    for _ in 0..40 {
        client.refresh_traffic_keys().unwrap();
        bytes.extend(flight(&mut client));
    }
    server.receive(&bytes).unwrap_err();
}

#[test]
fn much_data_passes_through_little_room() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        for room in [1, 100, 16_383, 16_384, 16_385, 50_000] {
            let (mut server, mut client) = connect(&tls, authority.client(version));
            client.set_buffer_limit(None);
            server.room = room;
            let plain = Numbers(room as u64).bytes(if room == 1 { 40_000 } else { 300_000 });
            let bytes = write(&mut client, &plain);
            for piece in bytes.chunks(30_001) {
                server.receive(piece).unwrap();
            }
            assert!(server.plain == plain);
            server.send(&plain);
            assert!(hear(&mut server, &mut client) == plain);
        }
    }
}

#[test]
fn records_of_one_byte_are_counted() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        client.set_buffer_limit(None);
        let before = server.records;
        let bytes: Vec<u8> = (0..500_u32)
            .flat_map(|number| write(&mut client, &[number as u8]))
            .collect();
        server.receive(&bytes).unwrap();
        assert_eq!(server.plain.len(), 500);
        assert_eq!(server.records - before, 500);
    }
}

#[test]
fn a_bad_record_is_told_after_the_plaintext_before_it() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        let mut bytes = write(&mut client, b"good");
        bytes.extend(write(&mut client, b"bad"));
        *bytes.last_mut().unwrap() ^= 1;
        let error = server.receive(&bytes).unwrap_err();
        assert_eq!(server.plain, b"good");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let source = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        assert_eq!(source, Some(&rustls::Error::DecryptError));
        // The error stays, nothing more is said, and the client has learnt of it.
        server.unseal().unwrap_err();
        let said = server.answers.len();
        server.end();
        assert_eq!(server.answers.len(), said);
        let mut seal = server.seal.take().unwrap();
        seal.seal(b"more", &mut [0; 999]).unwrap_err();
        let alert = answer(&mut server, &mut client).unwrap_err();
        let expected = rustls::AlertDescription::BadRecordMac;
        assert_eq!(alert, rustls::Error::AlertReceived(expected));
    }
}

#[test]
fn plaintext_amid_the_records_is_refused() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        let mut bytes = write(&mut client, b"good");
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        server.receive(&bytes).unwrap_err();
        assert_eq!(server.plain, b"good");
    }
}

#[test]
fn a_users_limit_for_records_is_kept() {
    let authority = Authority::new("root");
    let mut config = authority.server_config();
    config.max_fragment_size = Some(32);
    let tls = super::super::Tls::from_config(Arc::new(config));
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        let plain = Numbers(3).bytes(50_000);
        server.send(&plain);
        assert!(server.answers.len() > 80_000);
        assert!(hear(&mut server, &mut client) == plain);
    }
}

#[test]
fn a_bad_record_after_our_end_is_refused() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut server, mut client) = connect(&tls, authority.client(version));
        server.end();
        let mut bytes = write(&mut client, b"bad");
        *bytes.last_mut().unwrap() ^= 1;
        server.receive(&bytes).unwrap_err();
    }
}
