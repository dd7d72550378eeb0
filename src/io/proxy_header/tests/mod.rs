//! Tests of the parser and the writer together.

mod binary;
mod captured;
mod haproxy;
mod lines;
mod model;

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use super::crc32c::crc32c;
use super::error::ProxyHeaderError as Error;
use super::{ParsedProxyHeader, ProxyHeader, ProxyVersion};
use crate::io::address::Address;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Parses every beginning of the input, and returns the outcome of the first that has one.
///
/// All longer ones have the same, and nothing is whole before the bytes are there that were called missing.
fn parse(input: &[u8]) -> Result<(ProxyHeader, usize), Option<Error>> {
    let mut outcome = Err(None);
    let mut expected = 0;
    for length in 0..=input.len() {
        let new = match ProxyHeader::parse(&input[..length]) {
            Ok(ParsedProxyHeader::NeedMore { at_least }) => {
                assert!(at_least > 0);
                assert!(
                    length + at_least >= expected,
                    "{expected} bytes were promised"
                );
                expected = length + at_least;
                Err(None)
            }
            Ok(ParsedProxyHeader::Complete { header, consumed }) => {
                assert!(
                    length >= expected,
                    "whole with {length} of {expected} bytes"
                );
                assert!(consumed <= length && consumed >= expected);
                Ok((header, consumed))
            }
            Err(error) => Err(Some(error)),
        };
        if outcome == Err(None) {
            if let Ok((_, consumed)) = new {
                assert_eq!(consumed, length);
            }
            outcome = new;
        } else {
            assert_eq!(outcome, new, "it changed after {length} bytes");
        }
    }
    outcome
}

/// The header that fills the input.
fn whole(input: &[u8]) -> ProxyHeader {
    let with_rest = [input, b"\r\nGET / HTTP/1.1\r\n"].concat();
    let (header, consumed) = parse(&with_rest).unwrap();
    assert_eq!(consumed, input.len());
    header
}

fn error(input: &[u8]) -> Error {
    parse(input).unwrap_err().expect("an error")
}

/// The error comes with the last byte, not before.
fn error_at_end(input: &[u8]) -> Error {
    assert_eq!(
        parse(&input[..input.len() - 1]),
        Err(None),
        "{}",
        input.escape_ascii()
    );
    error(input)
}

fn tcp(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn path(text: &str) -> Address {
    Address::Unix(Some(Path::new(text).into()))
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// A header of version 2 without addresses.
fn with_tlvs(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    v2(0x21, 0x00, &encoded(tlvs))
}

fn encoded(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let one = |(kind, value): &(u8, &[u8])| {
        let length = (value.len() as u16).to_be_bytes();
        [&[*kind], &length[..], value].concat()
    };
    tlvs.iter().flat_map(one).collect()
}

/// Writes the right checksum over the one at `position`.
fn seal(header: &mut [u8], position: usize) {
    header[position..position + 4].fill(0);
    let checksum = crc32c(&[header]).to_be_bytes();
    header[position..position + 4].copy_from_slice(&checksum);
}

fn assert_writes_the_same(header: &ProxyHeader) {
    let mut output = b"before".to_vec();
    match header.version() {
        ProxyVersion::V1 => header.encode_v1(&mut output),
        ProxyVersion::V2 => header.encode_v2(&mut output),
    }
    assert_eq!(&whole(&output[6..]), header);
}

#[test]
fn input_of_another_protocol_is_refused_at_the_first_wrong_byte() {
    for input in [
        "G",
        "p",
        "PO",
        "PROPFIND"[..4].as_ref(),
        "PROXYS",
        "PROXY\r",
        "\n",
        "\r\r",
        "\r\n\r\n\r",
        "\x16",
        "\0",
        "\r\n\r\n\0\r\nQUIT\r",
    ] {
        assert_eq!(
            error_at_end(input.as_bytes()),
            Error::Signature,
            "{input:?}"
        );
    }
}

#[test]
fn no_wrong_byte_panics() {
    for input in captured::ALL {
        for position in 0..input.len() {
            for byte in 0..=u8::MAX {
                let mut wrong = input.to_vec();
                wrong[position] = byte;
                let result = ProxyHeader::parse(&wrong);
                if let Ok(ParsedProxyHeader::Complete { header, consumed }) = result {
                    assert!(consumed <= wrong.len());
                    assert_writes_the_same(&header);
                }
            }
        }
    }
}

#[test]
fn headers_are_made_only_of_what_can_be_written() {
    let v4 = tcp("192.0.2.1:1");
    let v6 = tcp("[2001:db8::1]:1");
    let named = Address::Abstract(Box::from(*b"name"));
    for (source, destination) in [(&v4, &v6), (&v6, &v4), (&v4, &named), (&named, &v6)] {
        let made = ProxyHeader::new(source.clone(), destination.clone());
        assert_eq!(made, Err(Error::MixedAddresses));
    }
    let long = path(&"p".repeat(109));
    assert_eq!(
        ProxyHeader::new(named.clone(), long.clone()),
        Err(Error::Address)
    );
    assert_eq!(ProxyHeader::new(long, named.clone()), Err(Error::Address));

    let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 8, 9));
    let header = ProxyHeader::new(scoped, v6).unwrap();
    assert_eq!(header.source(), Some(&tcp("[::1]:7")));

    let header = ProxyHeader::new(Address::Unix(None), named).unwrap();
    assert_writes_the_same(&header);
    let mut line = Vec::new();
    header.encode_v1(&mut line);
    assert_eq!(line, b"PROXY UNKNOWN\r\n");

    let mut local = ProxyHeader::local();
    let kind = ProxyHeader::ALPN;
    assert_eq!(
        local.add_tlv(kind, b"h2"),
        Err(Error::TlvNotAllowed { kind })
    );
    local.add_checksum().unwrap();
    local.add_checksum().unwrap();
    assert_writes_the_same(&local);
}
