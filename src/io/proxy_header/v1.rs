//! Version 1 of the PROXY protocol, a line of text (section 2.1).

use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::str;

use super::error::ProxyHeaderError;
use super::v1_fields::{may_begin_ipv4, may_begin_ipv6, may_begin_port};
use super::{ParsedProxyHeader, ProxyHeader, ProxyVersion};
use crate::io::address::Address;

/// The most bytes of a line, with CR and LF: 107, the longest that the specification has.
const MAX_LINE: usize = 107;
/// The bytes of the shortest line, `PROXY UNKNOWN`, with CR and LF.
pub(super) const MIN_LINE: usize = 15;

const START: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"UNKNOWN";
const IPV4: &[u8] = b"TCP4";
const IPV6: &[u8] = b"TCP6";
/// The family, two addresses and two ports.
const FIELDS: usize = 5;

pub(super) fn parse(input: &[u8]) -> Result<ParsedProxyHeader, ProxyHeaderError> {
    let within = &input[..input.len().min(MAX_LINE)];
    if let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") {
        let consumed = end + 2;
        let addresses = decode(&input[..end]).ok_or_else(|| fault(&input[..consumed]))?;
        let header = ProxyHeader::from_parts(ProxyVersion::V1, addresses);
        return Ok(ParsedProxyHeader::Complete { header, consumed });
    }
    if !may_begin(within) {
        return Err(fault(within));
    }
    // A CR may be the end's first byte.
    let (text, missing) = match within {
        [text @ .., b'\r'] => (text, 1),
        text => (text, 2),
    };
    if text.len() + 2 > MAX_LINE {
        return Err(ProxyHeaderError::LineTooLong { limit: MAX_LINE });
    }
    Ok(ParsedProxyHeader::NeedMore {
        at_least: missing.max(MIN_LINE.saturating_sub(input.len())),
    })
}

/// The addresses in a line without its end; `None` if the line is wrong.
fn decode(line: &[u8]) -> Option<Option<[Address; 2]>> {
    let rest = line.strip_prefix(START)?;
    if let [] | [b' ', ..] = rest.strip_prefix(UNKNOWN).unwrap_or(b"?") {
        return Some(None);
    }
    let mut fields = rest.split(|&byte| byte == b' ');
    let mut next = || fields.next().and_then(|field| str::from_utf8(field).ok());
    let family = next()?.as_bytes();
    let ips = [parse_ip(family, next()?)?, parse_ip(family, next()?)?];
    let ports = [parse_port(next()?)?, parse_port(next()?)?];
    if fields.next().is_some() {
        return None;
    }
    let address = |end: usize| Address::Ip(SocketAddr::new(ips[end], ports[end]));
    Some(Some([address(0), address(1)]))
}

fn parse_ip(family: &[u8], text: &str) -> Option<IpAddr> {
    match family {
        IPV4 => text.parse().ok().map(IpAddr::V4),
        IPV6 => text.parse().ok().map(IpAddr::V6),
        _ => None,
    }
}

fn parse_port(text: &str) -> Option<u16> {
    may_begin_port(text.as_bytes()).then(|| text.parse().ok())?
}

/// True if a line may begin with these bytes, of which the last may be the CR of its end, or that and the LF.
fn may_begin(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(START) else {
        return START.starts_with(line);
    };
    if let Some(ignored) = rest.strip_prefix(UNKNOWN) {
        return matches!(ignored, [] | [b' ', ..] | [b'\r'] | [b'\r', b'\n']);
    }
    let (text, is_ended) = match rest {
        [text @ .., b'\r'] | [text @ .., b'\r', b'\n'] => (text, true),
        text => (text, false),
    };
    if is_ended {
        return decode(&line[..START.len() + text.len()]).is_some();
    }
    let fields = || text.split(|&byte| byte == b' ');
    let count = fields().count();
    let family = fields().next().unwrap_or_default();
    let is_right = |(index, field): (usize, &[u8])| {
        let is_whole = index + 1 < count;
        may_begin_field(family, index, field, is_whole)
    };
    count <= FIELDS && fields().enumerate().all(is_right)
}

/// True if the field at `index` may begin with these bytes, or may be them if it is whole.
fn may_begin_field(family: &[u8], index: usize, field: &[u8], is_whole: bool) -> bool {
    let text = str::from_utf8(field).unwrap_or_default();
    match (index, is_whole) {
        (0, true) => family == IPV4 || family == IPV6,
        (0, false) => [IPV4, IPV6, UNKNOWN]
            .iter()
            .any(|word| word.starts_with(field)),
        (1 | 2, true) => parse_ip(family, text).is_some(),
        (1 | 2, false) if family == IPV4 => may_begin_ipv4(field),
        (1 | 2, false) => may_begin_ipv6(field),
        (_, true) => parse_port(text).is_some(),
        (_, false) => may_begin_port(field),
    }
}

/// The error for a line that is wrong, with the position of the first byte that no line has there.
fn fault(line: &[u8]) -> ProxyHeaderError {
    let is_right = |&length: &usize| may_begin(&line[..length]);
    let position = (1..line.len()).take_while(is_right).count();
    match position < START.len() {
        true => ProxyHeaderError::Signature,
        false => ProxyHeaderError::Line { position },
    }
}

pub(super) fn encode(addresses: Option<&[Address; 2]>, output: &mut Vec<u8>) {
    output.extend(START);
    match addresses {
        Some([Address::Ip(source), Address::Ip(destination)]) => {
            output.extend(if source.is_ipv4() { IPV4 } else { IPV6 });
            let ips = [source.ip(), destination.ip()];
            let ports = [source.port(), destination.port()];
            ips.iter().for_each(|ip| put(output, ip));
            ports.iter().for_each(|port| put(output, port));
        }
        _ => output.extend(UNKNOWN),
    }
    output.extend(b"\r\n");
}

/// Appends a space and a field.
fn put(output: &mut Vec<u8>, field: &impl Display) {
    // Writing to a vector does not fail.
    let _written = write!(output, " {field}");
}
