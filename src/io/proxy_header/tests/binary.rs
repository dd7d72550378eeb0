//! Version 2, by the sections of the specification.

use super::*;

#[test]
fn section_2_2_addresses_of_version_2() {
    let ipv4 = v2(
        0x21,
        0x11,
        &[192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB],
    );
    let header = whole(&ipv4);
    assert_eq!(header.version(), ProxyVersion::V2);
    assert_eq!(header.source(), Some(&tcp("192.0.2.1:56324")));
    assert_eq!(header.destination(), Some(&tcp("198.51.100.2:443")));
    assert_writes_the_same(&header);

    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let destination: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    let block = [
        &source.octets()[..],
        &destination.octets(),
        &[0, 1, 0xFF, 0xFF],
    ]
    .concat();
    let header = whole(&v2(0x21, 0x21, &block));
    assert_eq!(header.source(), Some(&tcp("[2001:db8::1]:1")));
    assert_eq!(header.destination(), Some(&tcp("[::ffff:192.0.2.1]:65535")));
    assert_writes_the_same(&header);

    let mut block = [0; 216];
    block[..7].copy_from_slice(b"/run/a\0");
    block[108..112].copy_from_slice(b"\0abc");
    let header = whole(&v2(0x21, 0x31, &block));
    assert_eq!(header.source(), Some(&path("/run/a")));
    assert_eq!(
        header.destination(),
        Some(&Address::Abstract(Box::from(*b"abc")))
    );
    assert_writes_the_same(&header);

    let header = whole(&v2(0x21, 0x00, b""));
    assert_eq!((header.source(), header.destination()), (None, None));
    assert!(!header.is_local());
    assert_writes_the_same(&header);
}

/// The receiver must accept a LOCAL header whatever it has behind the command, and skip the block.
#[test]
fn section_2_2_local_headers_are_valid_whatever_they_have() {
    for (family, block) in [
        (0x00, &b""[..]),
        (0x00, b"anything"),
        (0x00, b"\x03\0\x04"),
        (0x11, b""),
        (
            0x11,
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\0\x01x",
        ),
        (0x12, b"\0"),
        (0xFF, b"\xFF\xFF\xFF"),
        (0x00, b"\x01\0\x02h2\x01\0\x02h2"),
        (0x00, b"\x03\0\x01x"),
    ] {
        let header = whole(&v2(0x20, family, block));
        assert_eq!(header, ProxyHeader::local(), "{block:?}");
        assert!(header.is_local());
        assert_writes_the_same(&header);
    }
    let mut sealed = v2(0x20, 0x00, b"\x04\0\x01x\x03\0\x04....");
    assert!(matches!(error_at_end(&sealed), Error::Checksum { .. }));
    seal(&mut sealed, 23);
    assert!(whole(&sealed).has_checksum());
}

#[test]
fn section_2_2_wrong_fixed_parts_are_refused_at_the_first_wrong_byte() {
    for (rest, expected) in [
        (&[0x11][..], Error::Version { version: 1 }),
        (&[0x31], Error::Version { version: 3 }),
        (&[0x01], Error::Version { version: 0 }),
        (&[0x22], Error::Command { command: 2 }),
        (&[0x2F], Error::Command { command: 15 }),
        (&[0x21, 0x12], Error::Datagram),
        (&[0x21, 0x22], Error::Datagram),
        (&[0x21, 0x32], Error::Datagram),
        (&[0x21, 0x01], Error::Family { family: 0x01 }),
        (&[0x21, 0x10], Error::Family { family: 0x10 }),
        (&[0x21, 0x41], Error::Family { family: 0x41 }),
        (&[0x21, 0x13], Error::Family { family: 0x13 }),
        (
            &[0x21, 0x11, 0, 11],
            Error::TooShort {
                length: 11,
                least: 12,
            },
        ),
        (
            &[0x21, 0x21, 0, 35],
            Error::TooShort {
                length: 35,
                least: 36,
            },
        ),
        (
            &[0x21, 0x31, 0, 215],
            Error::TooShort {
                length: 215,
                least: 216,
            },
        ),
        (&[0x21, 0x11, 0x0F, 0xF1], Error::TooLong { limit: 4096 }),
        (&[0x20, 0x00, 0x0F, 0xF1], Error::TooLong { limit: 4096 }),
        (&[0x21, 0x11, 0x10], Error::TooLong { limit: 4096 }),
        (&[0x20, 0xFF, 0xFF], Error::TooLong { limit: 4096 }),
    ] {
        let header = [SIGNATURE, rest].concat();
        assert_eq!(error_at_end(&header), expected);
        assert_eq!(
            ProxyHeader::parse(&[&header[..], &[0; 5000]].concat()),
            Err(expected)
        );
    }
}

#[test]
fn a_header_of_the_longest_length_is_accepted() {
    let filling = vec![0; ProxyHeader::MAX_LENGTH - 16 - 3];
    let input = with_tlvs(&[(0xE0, &filling)]);
    assert_eq!(input.len(), ProxyHeader::MAX_LENGTH);
    let mut header = whole(&input);
    assert_eq!(header.tlv(0xE0), Some(&filling[..]));
    assert_writes_the_same(&header);
    let too_long = Err(Error::TooLong {
        limit: ProxyHeader::MAX_LENGTH,
    });
    assert_eq!(header.add_tlv(0xE0, b""), too_long);
    assert_eq!(header.add_checksum(), too_long);
    assert!(!header.has_checksum());
}

#[test]
fn section_2_2_tlvs_are_read() {
    let tls = [
        &[1, 0, 0, 0, 0][..],
        &encoded(&[(0x21, b"TLSv1.2"), (0x26, b"X25519")]),
    ]
    .concat();
    let header = whole(&with_tlvs(&[
        (0x04, b""),
        (0x01, b"h2"),
        (0x02, "b\u{fc}cher.example".as_bytes()),
        (0x05, &[0xFF; 128]),
        (0xEA, b"first"),
        (0x20, &tls),
        (0x04, b"padding"),
        (0xEA, b""),
        (0x30, b"blue"),
        (0x04, b""),
    ]));
    assert_eq!(header.alpn(), Some(&b"h2"[..]));
    assert_eq!(header.authority(), Some("b\u{fc}cher.example"));
    assert_eq!(header.unique_id(), Some(&[0xFF; 128][..]));
    assert_eq!(header.network_namespace(), Some("blue"));
    assert_eq!(header.tlv(0xEA), Some(&b"first"[..]));
    assert_eq!(header.tlv(0x04), None);
    let kinds: Vec<u8> = header.tlvs().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [0x01, 0x02, 0x05, 0xEA, 0x20, 0xEA, 0x30]);
    let tls = header.tls().unwrap();
    assert_eq!(tls.version(), Some("TLSv1.2"));
    assert_eq!(tls.cipher(), None);
    assert_eq!(tls.tlv(0x26), Some(&b"X25519"[..]));
    assert_eq!(tls.tlvs().count(), 2);
    assert!(format!("{header:?} {tls:?}").contains("TLSv1.2"));
    assert_writes_the_same(&header);
}

#[test]
fn wrong_tlvs_are_refused() {
    let sub = |tlvs: &[(u8, &[u8])]| [&[1, 0, 0, 0, 0][..], &encoded(tlvs)].concat();
    let repeated = |kind| Error::TlvRepeated { kind };
    let text = |kind| Error::TlvText { kind };
    let length = |kind, length| Error::TlvLength { kind, length };
    for (tlvs, expected) in [
        (&[(0x01, &b"h2"[..]), (0x01, b"h3")][..], repeated(0x01)),
        (&[(0x02, b"a"), (0xE0, b""), (0x02, b"a")], repeated(0x02)),
        (&[(0x05, b"a"), (0x05, b"a")], repeated(0x05)),
        (&[(0x30, b"a"), (0x30, b"a")], repeated(0x30)),
        (&[(0x20, &sub(&[])), (0x20, &sub(&[]))], repeated(0x20)),
        (&[(0x03, b"abcd"), (0x03, b"abcd")], repeated(0x03)),
        (
            &[(0x20, &sub(&[(0x21, b"a"), (0x21, b"a")]))],
            repeated(0x21),
        ),
        (
            &[(0x20, &sub(&[(0x22, b"a"), (0x22, b"b")]))],
            repeated(0x22),
        ),
        (
            &[(0x20, &sub(&[(0x25, b"a"), (0x25, b"a")]))],
            repeated(0x25),
        ),
        (&[(0x02, b"a\xFF")], text(0x02)),
        (&[(0x30, "\u{e9}".as_bytes())], text(0x30)),
        (&[(0x20, &sub(&[(0x21, b"\x80")]))], text(0x21)),
        (&[(0x20, &sub(&[(0x22, b"J\xF6rg")]))], text(0x22)),
        (&[(0x20, &sub(&[(0x23, "\u{e9}".as_bytes())]))], text(0x23)),
        (&[(0x05, &[0; 129])], length(0x05, 129)),
        (&[(0x03, b"abc")], length(0x03, 3)),
        (&[(0x03, b"abcde")], length(0x03, 5)),
        (&[(0x20, b"\x01\0\0\0")], length(0x20, 4)),
        (&[(0x20, b"")], length(0x20, 0)),
        (&[(0x20, b"\x01\0\0\0\0\x21")], Error::TlvTruncated),
        (&[(0x20, b"\x01\0\0\0\0\x21\0\x02a")], Error::TlvTruncated),
    ] {
        assert_eq!(error_at_end(&with_tlvs(tlvs)), expected);
        let mut header = ProxyHeader::unknown();
        let added = tlvs
            .iter()
            .try_for_each(|(kind, value)| header.add_tlv(*kind, value));
        match tlvs[0].0 {
            kind @ 0x03 => assert_eq!(added, Err(Error::TlvNotAllowed { kind })),
            _ => assert_eq!(added, Err(expected)),
        }
        assert_writes_the_same(&header);
    }
    for block in [
        &b"\x01"[..],
        b"\x01\0",
        b"\x01\0\x01",
        b"\xE0\xFF\xFFab",
        b"\xE0\0\x01a\xE0",
    ] {
        assert_eq!(error_at_end(&v2(0x21, 0x00, block)), Error::TlvTruncated);
    }
}

/// The types within the TLV about TLS are a list of their own, and the other way round.
#[test]
fn types_of_the_other_list_mean_nothing() {
    let nested = encoded(&[
        (0x20, b""),
        (0x20, b""),
        (0x02, b"\xFF"),
        (0x03, b""),
        (0x05, &[0; 200]),
    ]);
    let tls = [&[1, 0, 0, 0, 0][..], &nested].concat();
    let header = whole(&with_tlvs(&[
        (0x20, &tls),
        (0x21, b"\xFF"),
        (0x21, b""),
        (0x22, b"name"),
    ]));
    assert_eq!(header.tls().unwrap().version(), None);
    assert_eq!(header.tls().unwrap().client_common_name(), None);
    assert_eq!((header.authority(), header.unique_id()), (None, None));
    assert!(!header.has_checksum());
}

#[test]
fn a_certificate_is_verified_only_if_there_is_one() {
    for (flags, result, has_certificate, is_verified) in [
        (1, 0_u32, false, false),
        (1, 10, false, false),
        (3, 0, true, true),
        (5, 0, true, true),
        (7, 0, true, true),
        (7, 10, true, false),
        (3, 1 << 31, true, false),
    ] {
        let value = [&[flags][..], &result.to_be_bytes()].concat();
        let header = whole(&with_tlvs(&[(0x20, &value)]));
        let tls = header.tls().unwrap();
        assert_eq!(tls.has_client_certificate(), has_certificate);
        assert_eq!(tls.is_verified(), is_verified);
        assert_eq!(tls.verification_result(), result);
    }
    for flags in [0, 2, 6] {
        let header = whole(&with_tlvs(&[(0x20, &[flags, 0, 0, 0, 0])]));
        assert!(header.tls().is_none(), "the client does not use TLS");
        assert!(header.tlv(0x20).is_some());
    }
}

/// Every wrong bit is noticed, in a header that has addresses, TLVs before and TLVs behind the checksum.
#[test]
fn section_2_2_3_the_checksum_covers_the_whole_header() {
    let addresses = [10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2];
    let tlvs = encoded(&[(0x01, b"h2"), (0x03, b"...."), (0xE0, b"behind")]);
    let mut input = v2(0x21, 0x11, &[&addresses[..], &tlvs].concat());
    seal(&mut input, 16 + 12 + 5 + 3);
    let header = whole(&input);
    assert!(header.has_checksum());
    assert_eq!(header.tlvs().count(), 2);
    assert_writes_the_same(&header);
    for byte in 0..input.len() {
        for bit in 0..8 {
            let mut wrong = input.clone();
            wrong[byte] ^= 1 << bit;
            let result = ProxyHeader::parse(&wrong);
            // A wrong type or length of the checksum itself hides it.
            let is_hidden = (16 + 12 + 5..16 + 12 + 8).contains(&byte) || byte == 16 + 12 + 2;
            let needs_more = matches!(result, Ok(ParsedProxyHeader::NeedMore { .. }));
            assert!(result.is_err() || is_hidden || needs_more, "{byte}, {bit}");
        }
    }
}
