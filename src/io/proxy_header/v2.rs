//! Version 2 of the PROXY protocol, which is binary (section 2.2).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::error::ProxyHeaderError;
use super::tlv::{Checksum, Tlvs, find_checksum};
use super::{ParsedProxyHeader, ProxyHeader, ProxyVersion, unix_field};
use crate::io::address::Address;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const VERSION: u8 = 2;
/// The bytes before the block: signature, version and command, family and transport, length of the block.
const FIXED: usize = 16;
/// The bytes of a checksum with its type and length.
pub(super) const CHECKSUM_LENGTH: usize = Tlvs::HEAD + size_of::<u32>();

/// The party that the header describes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    /// The proxy itself. The block means nothing.
    Local = 0,
    /// A client.
    Proxy = 1,
}

/// The family and the transport of the addresses; the pairs that a stream may have (section 2.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified = 0x00,
    Ipv4 = 0x11,
    Ipv6 = 0x21,
    Unix = 0x31,
}

impl Command {
    fn read(byte: u8) -> Result<Self, ProxyHeaderError> {
        match (byte >> 4, byte & 0xF) {
            (VERSION, 0) => Ok(Command::Local),
            (VERSION, 1) => Ok(Command::Proxy),
            (VERSION, command) => Err(ProxyHeaderError::Command { command }),
            (version, _) => Err(ProxyHeaderError::Version { version }),
        }
    }
}

impl Family {
    /// A pair of nibbles that the specification does not list is refused, such as an IPv4 address without a transport: it does not
    /// say where the addresses of such a pair end.
    fn read(byte: u8) -> Result<Self, ProxyHeaderError> {
        match byte {
            0x00 => Ok(Family::Unspecified),
            0x11 => Ok(Family::Ipv4),
            0x21 => Ok(Family::Ipv6),
            0x31 => Ok(Family::Unix),
            0x12 | 0x22 | 0x32 => Err(ProxyHeaderError::Datagram),
            family => Err(ProxyHeaderError::Family { family }),
        }
    }

    fn of(addresses: Option<&[Address; 2]>) -> Self {
        match addresses {
            None => Family::Unspecified,
            Some([Address::Ip(SocketAddr::V4(_)), _]) => Family::Ipv4,
            Some([Address::Ip(SocketAddr::V6(_)), _]) => Family::Ipv6,
            Some(_) => Family::Unix,
        }
    }

    /// The bytes of both addresses.
    const fn length(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::Ipv4 => 2 * (4 + 2),
            Family::Ipv6 => 2 * (16 + 2),
            Family::Unix => 2 * unix_field::LENGTH,
        }
    }
}

pub(super) fn parse(input: &[u8]) -> Result<ParsedProxyHeader, ProxyHeaderError> {
    check_fixed(&input[..input.len().min(FIXED)])?;
    let [high, low] = match input.get(FIXED - 2..FIXED) {
        Some(&[high, low]) => [high, low],
        _ => {
            let at_least = FIXED - input.len();
            return Ok(ParsedProxyHeader::NeedMore { at_least });
        }
    };
    let consumed = FIXED + usize::from(u16::from_be_bytes([high, low]));
    match input.get(..consumed) {
        Some(whole) => Ok(ParsedProxyHeader::Complete {
            header: parse_whole(whole)?,
            consumed,
        }),
        None => Ok(ParsedProxyHeader::NeedMore {
            at_least: consumed - input.len(),
        }),
    }
}

/// Checks the first 16 bytes, or as many as there are.
fn check_fixed(fixed: &[u8]) -> Result<(), ProxyHeaderError> {
    let signed = SIGNATURE.len().min(fixed.len());
    if fixed[..signed] != SIGNATURE[..signed] {
        return Err(ProxyHeaderError::Signature);
    }
    let [byte, rest @ ..] = &fixed[signed..] else {
        return Ok(());
    };
    let command = Command::read(*byte)?;
    let [byte, length @ ..] = rest else {
        return Ok(());
    };
    let least = match command {
        // The family is ignored.
        Command::Local => 0,
        Command::Proxy => Family::read(*byte)?.length(),
    };
    match *length {
        [] => Ok(()),
        [high] => check_length(FIXED + usize::from(u16::from_be_bytes([high, 0]))),
        [high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length < least {
                return Err(ProxyHeaderError::TooShort { length, least });
            }
            check_length(FIXED + length)
        }
    }
}

/// Checks the length of a header, or a part of it that is known, against the limit.
pub(super) fn check_length(length: usize) -> Result<(), ProxyHeaderError> {
    let limit = ProxyHeader::MAX_LENGTH;
    match length <= limit {
        true => Ok(()),
        false => Err(ProxyHeaderError::TooLong { limit }),
    }
}

/// Parses a header that is whole, and whose first 16 bytes were checked.
fn parse_whole(whole: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    if Command::read(whole[SIGNATURE.len()])? == Command::Local {
        return parse_local(whole);
    }
    let family = Family::read(whole[SIGNATURE.len() + 1])?;
    let (addresses, encoded) = whole[FIXED..].split_at(family.length());
    let (tlvs, checksum) = Tlvs::read(encoded)?;
    verify(whole, encoded, checksum)?;
    Ok(ProxyHeader {
        has_checksum: checksum.is_some(),
        tlvs,
        ..ProxyHeader::from_parts(ProxyVersion::V2, decode_addresses(family, addresses)?)
    })
}

/// Parses a header of the proxy's own, which is valid whatever its block has. Only a checksum is looked for, because a single wrong
/// bit makes such a header of one about a client.
fn parse_local(whole: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let family = Family::read(whole[SIGNATURE.len() + 1]).unwrap_or(Family::Unspecified);
    let encoded = whole.get(FIXED + family.length()..).unwrap_or_default();
    let checksum = find_checksum(encoded);
    verify(whole, encoded, checksum)?;
    Ok(ProxyHeader {
        has_checksum: checksum.is_some(),
        ..ProxyHeader::local()
    })
}

/// Verifies the checksum, which stands among the `encoded` TLVs at the end of the header. It is that of the header with zeros
/// in its own place (section 2.2.3).
fn verify(
    whole: &[u8],
    encoded: &[u8],
    checksum: Option<Checksum>,
) -> Result<(), ProxyHeaderError> {
    let Some(Checksum { position, value }) = checksum else {
        return Ok(());
    };
    let (before, rest) = whole.split_at(whole.len() - encoded.len() + position);
    let (_, after) = rest.split_at(size_of::<u32>());
    let computed = crc32c(&[before, &[0; size_of::<u32>()], after]);
    match computed == value {
        true => Ok(()),
        false => Err(ProxyHeaderError::Checksum {
            received: value,
            computed,
        }),
    }
}

fn decode_addresses(
    family: Family,
    bytes: &[u8],
) -> Result<Option<[Address; 2]>, ProxyHeaderError> {
    let addresses = match family {
        Family::Unspecified => return Ok(None),
        Family::Ipv4 => decode_ips::<4, Ipv4Addr>(bytes),
        Family::Ipv6 => decode_ips::<16, Ipv6Addr>(bytes),
        Family::Unix => {
            let (source, destination) = bytes.split_at(unix_field::LENGTH);
            Some([
                unix_field::decode(source)?,
                unix_field::decode(destination)?,
            ])
        }
    };
    Ok(addresses)
}

/// The IP addresses of both ends, then their ports.
fn decode_ips<const N: usize, Ip>(bytes: &[u8]) -> Option<[Address; 2]>
where
    Ip: From<[u8; N]>,
    SocketAddr: From<(Ip, u16)>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    let address = |ip: &[u8; N], port: &[u8; 2]| {
        Address::Ip(SocketAddr::from((Ip::from(*ip), u16::from_be_bytes(*port))))
    };
    Some([
        address(source, source_port),
        address(destination, destination_port),
    ])
}

/// The bytes that [`encode`] writes.
pub(super) fn length(header: &ProxyHeader) -> usize {
    let checksum = if header.has_checksum {
        CHECKSUM_LENGTH
    } else {
        0
    };
    let addresses = Family::of(header.addresses.as_ref()).length();
    FIXED + addresses + header.tlvs.encoded().len() + checksum
}

pub(super) fn encode(header: &ProxyHeader, output: &mut Vec<u8>) {
    let start = output.len();
    let command = match header.is_local {
        true => Command::Local,
        false => Command::Proxy,
    };
    let family = Family::of(header.addresses.as_ref());
    // The limit on a header is below that on the field.
    let block = (length(header) - FIXED) as u16;
    output.extend(SIGNATURE);
    output.extend([(VERSION << 4) | command as u8, family as u8]);
    output.extend(block.to_be_bytes());
    encode_addresses(header.addresses.as_ref(), output);
    output.extend(header.tlvs.encoded());
    if header.has_checksum {
        let field = size_of::<u32>();
        output.extend([ProxyHeader::CHECKSUM, 0, field as u8, 0, 0, 0, 0]);
        let checksum = crc32c(&[&output[start..]]);
        output.truncate(output.len() - field);
        output.extend(checksum.to_be_bytes());
    }
}

fn encode_addresses(addresses: Option<&[Address; 2]>, output: &mut Vec<u8>) {
    let Some(addresses) = addresses else {
        return;
    };
    for address in addresses {
        match address {
            Address::Ip(SocketAddr::V4(address)) => output.extend(address.ip().octets()),
            Address::Ip(SocketAddr::V6(address)) => output.extend(address.ip().octets()),
            // It was checked when the header was made.
            other => output.extend(unix_field::encode(other).unwrap_or([0; unix_field::LENGTH])),
        }
    }
    let ports = addresses.iter().filter_map(Address::port);
    output.extend(ports.flat_map(u16::to_be_bytes));
}
