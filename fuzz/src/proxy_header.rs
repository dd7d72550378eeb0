//! PROXY headers: parsed whole and in pieces, written, and parsed again.
//!
//! Input: what arrives on a connection.

use ringwheel::{ParsedProxyHeader, ProxyHeader, ProxyHeaderError, ProxyVersion};

/// The fuzz target.
pub fn run(data: &[u8]) {
    let result = check_pieces(data);
    if let Err(ProxyHeaderError::Checksum { received, computed }) = result {
        // The fuzzer cannot guess a checksum.
        if let Some(right) = with_checksum(data, received, computed) {
            let _result = check_pieces(&right);
        }
    }
}

/// Parses every beginning of the input, which must agree with all of it; checks the header, if there is one.
fn check_pieces(input: &[u8]) -> Result<ParsedProxyHeader, ProxyHeaderError> {
    let result = ProxyHeader::parse(input);
    let mut missing = 0..0;
    for length in 0..=input.len() {
        let piece = ProxyHeader::parse(&input[..length]);
        if let Ok(ParsedProxyHeader::NeedMore { at_least }) = piece {
            assert!(at_least > 0 && length + at_least >= missing.end);
            missing = length..length + at_least;
            continue;
        }
        assert_eq!(piece, result, "with {length} bytes");
        if let Ok(ParsedProxyHeader::Complete { header, consumed }) = piece {
            assert!(consumed == length && consumed >= missing.end);
            assert!(consumed <= ProxyHeader::MAX_LENGTH);
            check_header(&header);
        }
        return result;
    }
    assert!(matches!(result, Ok(ParsedProxyHeader::NeedMore { .. })));
    result
}

/// Checks that the header is written such that it is parsed as the same, and reads all of it.
fn check_header(header: &ProxyHeader) {
    let (mut line, mut binary) = (Vec::new(), Vec::new());
    header.encode_v1(&mut line);
    header.encode_v2(&mut binary);
    let (from_line, from_binary) = (parse_whole(&line), parse_whole(&binary));
    match header.version() {
        ProxyVersion::V1 => assert_eq!(&from_line, header),
        ProxyVersion::V2 => assert_eq!(&from_binary, header),
        other => panic!("{other:?}"),
    }
    assert_eq!(from_binary.source(), header.source());
    assert_eq!(from_binary.destination(), header.destination());
    let is_ip = header.source().is_some_and(|source| source.ip().is_some());
    assert_eq!(from_line.source(), header.source().filter(|_| is_ip));

    assert!(!header.is_local() || (header.source().is_none() && header.tlvs().count() == 0));
    assert!(
        header
            .unique_id()
            .is_none_or(|id| id.len() <= ProxyHeader::MAX_UNIQUE_ID)
    );
    assert_eq!(
        header.authority().map(str::as_bytes),
        header.tlv(ProxyHeader::AUTHORITY)
    );
    let namespace = header.network_namespace().map(str::as_bytes);
    assert_eq!(namespace, header.tlv(ProxyHeader::NETWORK_NAMESPACE));
    if let Some(tls) = header.tls() {
        assert!(tls.has_client_certificate() || !tls.is_verified());
        let texts = [
            tls.version(),
            tls.client_common_name(),
            tls.cipher(),
            tls.signature_algorithm(),
            tls.key_algorithm(),
        ];
        for (kind, text) in (0x21..).zip(texts) {
            assert_eq!(text.map(str::as_bytes), tls.tlv(kind));
        }
    }
}

fn parse_whole(input: &[u8]) -> ProxyHeader {
    match ProxyHeader::parse(input) {
        Ok(ParsedProxyHeader::Complete { header, consumed }) if consumed == input.len() => header,
        other => panic!("{other:?}"),
    }
}

/// The input with the right checksum in place of the one that was received.
fn with_checksum(input: &[u8], received: u32, computed: u32) -> Option<Vec<u8>> {
    let wrong = [&[3, 0, 4], &received.to_be_bytes()[..]].concat();
    let at = input
        .windows(wrong.len())
        .position(|window| window == wrong)?;
    let mut right = input.to_vec();
    right[at + 3..at + 7].copy_from_slice(&computed.to_be_bytes());
    Some(right)
}
