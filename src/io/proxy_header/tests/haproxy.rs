//! Headers that another program has written.

use super::*;

#[test]
fn every_header_by_haproxy_2_6_is_read() {
    for input in captured::ALL {
        let header = whole(input);
        assert_writes_the_same(&header);
    }
    let [v1, v2] = [captured::V1_TCP4, captured::V2_TCP4].map(whole);
    assert_eq!(v1.source(), Some(&tcp("127.0.0.1:55874")));
    assert_eq!(v1.destination(), Some(&tcp("127.0.0.1:7101")));
    assert_eq!(v2.destination(), Some(&tcp("127.0.0.1:7111")));
    let [v1, v2] = [captured::V1_TCP6, captured::V2_TCP6].map(whole);
    assert_eq!(v1.destination(), Some(&tcp("[::1]:7102")));
    assert_eq!(v2.destination(), Some(&tcp("[::1]:7112")));
    let [v1, v2] = [captured::V1_MAPPED, captured::V2_MAPPED].map(whole);
    assert_eq!(v1.destination(), Some(&tcp("[::ffff:127.0.0.1]:7103")));
    assert_eq!(v2.destination(), Some(&tcp("[::ffff:127.0.0.1]:7113")));
    assert_eq!(whole(captured::V1_UNKNOWN).source(), None);
    assert_eq!(whole(captured::V2_LOCAL), ProxyHeader::local());
    let check = whole(captured::V2_LOCAL_CHECKSUM);
    assert!(check.is_local() && check.has_checksum());
}

#[test]
fn options_of_haproxy_2_6_are_read() {
    let header = whole(captured::V2_UNIQUE_ID);
    assert!(header.has_checksum());
    assert_eq!(
        header.unique_id(),
        Some(&b"7F000001:8F14_7F000001:1BD1_6B0EB8B7_000C:064A"[..])
    );

    let header = whole(captured::V2_NO_TLS);
    assert!(header.tls().is_none() && header.tlv(ProxyHeader::TLS).is_some());

    let header = whole(captured::V2_TLS);
    assert_eq!(header.alpn(), Some(&b"http/1.1"[..]));
    assert_eq!(header.authority(), Some("chat.example"));
    let tls = header.tls().unwrap();
    assert_eq!(
        (tls.version(), tls.cipher()),
        (Some("TLSv1.3"), Some("TLS_AES_256_GCM_SHA384"))
    );
    assert_eq!(
        (tls.key_algorithm(), tls.signature_algorithm()),
        (Some("RSA2048"), Some("RSA-SHA256"))
    );
    assert!(!tls.has_client_certificate() && !tls.is_verified());
    assert_eq!(
        (tls.verification_result(), tls.client_common_name()),
        (0, None)
    );

    let header = whole(captured::V2_CERTIFICATE);
    let tls = header.tls().unwrap();
    assert_eq!(tls.version(), Some("TLSv1.2"));
    assert_eq!(tls.client_common_name(), Some("J\u{f6}rg"));
    assert!(tls.has_client_certificate() && tls.is_verified());
}
