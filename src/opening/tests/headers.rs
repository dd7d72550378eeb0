//! The PROXY header.

use super::*;
use crate::ProxyHeader;

fn binary() -> Vec<u8> {
    let client: SocketAddr = CLIENT.parse().unwrap();
    let mut header = ProxyHeader::new(client, SocketAddr::from(([198, 51, 100, 1], 443))).unwrap();
    header
        .add_tlv(ProxyHeader::AUTHORITY, b"chat.example")
        .unwrap();
    header.add_checksum().unwrap();
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes);
    bytes
}

#[test]
fn a_header_is_read_in_any_pieces_and_nothing_behind_it() {
    for header in [LINE.to_vec(), binary()] {
        let all = [&header[..], b"hello"].concat();
        for cut in 0..=all.len() {
            let mut worker = Worker::new(behind_proxies());
            let made = worker.connect();
            worker.send(&made, &all[..cut]);
            worker.send(&made, &all[cut..]);
            let mut opened = worker.opened();
            assert_eq!(opened.peer, CLIENT.parse::<SocketAddr>().unwrap());
            assert!(opened.header.is_some());
            assert_eq!(read_all(&mut opened), b"hello");
            worker.assert_left(1);
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte_and_its_facts_are_kept() {
    let mut worker = Worker::new(behind_proxies());
    let made = worker.connect();
    for byte in binary() {
        assert!(worker.iterate().is_empty());
        worker.send(&made, &[byte]);
    }
    let opened = worker.opened();
    let header = opened.header.unwrap();
    assert_eq!(header.authority(), Some("chat.example"));
}

#[test]
fn a_stranger_is_reset_before_it_has_sent_anything() {
    let mut worker = Worker::new(behind_proxies());
    let made = worker.connect_from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert!(made.name.is_none() && made.peer.is_reset());
    assert_eq!(worker.stats().headers_refused, 1);
    worker.assert_left(0);
}

#[test]
fn a_malformed_header_is_reset_at_its_first_wrong_byte() {
    let mut wrong_checksum = binary();
    *wrong_checksum.last_mut().unwrap() ^= 1;
    for bytes in [&b"G"[..], b"PROXY TCP4 192.0.2.256", &wrong_checksum] {
        let mut worker = Worker::new(behind_proxies());
        let made = worker.connect();
        worker.send(&made, bytes);
        assert!(made.peer.is_reset());
        assert_eq!(worker.stats().headers_refused, 1);
        worker.assert_left(0);
    }
}

#[test]
fn a_header_that_is_late_is_reset_however_its_bytes_trickle() {
    let mut worker = Worker::new(behind_proxies());
    let made = worker.connect();
    for second in 0..10 {
        worker.send(&made, &LINE[second..=second]);
        worker.iterate_at(Duration::from_secs(second as u64));
        assert!(!made.peer.line().is_dropped);
    }
    worker.iterate_at(Duration::from_secs(10));
    assert!(made.peer.is_reset());
    assert_eq!(worker.stats().openings_late, 1);
    worker.assert_left(0);
}

#[test]
fn a_header_without_an_address_leaves_the_proxys_which_is_counted() {
    let mut local = Vec::new();
    ProxyHeader::local().encode_v2(&mut local);
    for header in [&b"PROXY UNKNOWN\r\n"[..], &local] {
        let mut worker = Worker::with_limits(behind_proxies(), 9, Some(1));
        let (one, other) = (worker.connect(), worker.connect());
        worker.send(&one, header);
        let opened = worker.opened();
        assert_eq!(opened.peer.ip(), Some(PROXY));
        worker.send(&other, header);
        assert!(other.peer.is_reset());
        assert_eq!(worker.stats().refused_per_ip, 1);
        worker.assert_left(1);
    }
}

#[test]
fn the_limit_per_address_counts_the_client_and_not_its_proxy() {
    let mut worker = Worker::with_limits(behind_proxies(), 9, Some(1));
    let other_client = b"PROXY TCP4 192.0.2.8 198.51.100.1 56324 443\r\n";
    let made = [worker.connect(), worker.connect(), worker.connect()];
    worker.send(&made[0], LINE);
    worker.send(&made[1], other_client);
    worker.send(&made[2], LINE);
    let opened = worker.iterate();
    assert_eq!(opened.len(), 2);
    assert!(made[2].peer.is_reset());
    let stats = worker.stats();
    assert_eq!((stats.refused_per_ip, stats.headers_refused), (1, 0));
    for opened in &opened {
        worker.openings.count_out(opened.peer.ip());
    }
    worker.assert_left(0);
    let made = worker.connect();
    worker.send(&made, LINE);
    worker.opened();
}

#[test]
fn a_peer_that_leaves_within_its_header_is_counted_apart() {
    for sent in [0, 5, LINE.len() - 1] {
        let mut worker = Worker::new(behind_proxies());
        let made = worker.connect();
        made.peer.line().has_ended = true;
        worker.send(&made, &LINE[..sent]);
        assert!(made.peer.is_closed());
        assert_eq!(worker.stats().openings_abandoned, 1);
        worker.assert_left(0);
    }
}

#[test]
fn a_header_comes_before_the_handshake() {
    let terms = OpeningTerms {
        proxies: behind_proxies().proxies,
        ..sealed(Script::default())
    };
    let all = [LINE, b"hey", b"hello"].concat();
    for cut in 0..=all.len() {
        let mut worker = Worker::new(terms.clone());
        let made = worker.connect();
        let mut opened = Vec::new();
        for piece in [&all[..cut], &all[cut..]] {
            worker.send(&made, piece);
            opened.extend(worker.iterate());
        }
        assert_eq!(opened.len(), 1, "cut at {cut}");
        assert_eq!(opened[0].peer, CLIENT.parse::<SocketAddr>().unwrap());
        assert_eq!(read_all(&mut opened[0]), b"hello");
        assert_eq!(made.peer.line().written, b"ok");
        worker.assert_left(1);
    }
}
