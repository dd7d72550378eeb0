//! The type-length-values of version 2, in their encoding.

use std::str;

use super::ProxyHeader;
use super::error::ProxyHeaderError;
use super::tls;

/// A list of TLVs that were checked. It keeps them encoded, so that they take one allocation, and none if there are none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tlvs(Vec<u8>);

/// A checksum, and where it stands among the encoded TLVs.
#[derive(Clone, Copy)]
pub(super) struct Checksum {
    pub(super) position: usize,
    pub(super) value: u32,
}

impl Tlvs {
    /// The bytes before the value: the type and the length.
    pub(super) const HEAD: usize = 3;

    /// Checks encoded TLVs and copies them, without padding and the checksum, which is returned beside them.
    pub(super) fn read(encoded: &[u8]) -> Result<(Self, Option<Checksum>), ProxyHeaderError> {
        check_all(Level::Header, encoded)?;
        let checksum = find_checksum(encoded);
        let is_kept = |kind| !matches!(kind, ProxyHeader::CHECKSUM | ProxyHeader::PADDING);
        let kept = || {
            TlvReader(encoded)
                .flatten()
                .filter(|&(kind, _)| is_kept(kind))
        };
        let length = kept().map(|(_, value)| Self::HEAD + value.len()).sum();
        let mut tlvs = Tlvs(Vec::with_capacity(length));
        for (kind, value) in kept() {
            tlvs.push(kind, value);
        }
        Ok((tlvs, checksum))
    }

    /// Adds a TLV behind the others, with the same checks as for one that was read.
    pub(super) fn add(&mut self, kind: u8, value: &[u8]) -> Result<(), ProxyHeaderError> {
        if Level::Header.may_come_once(kind) && self.get(kind).is_some() {
            return Err(ProxyHeaderError::TlvRepeated { kind });
        }
        let wrong_length = ProxyHeaderError::TlvLength {
            kind,
            length: value.len(),
        };
        check(Level::Header, kind, value)?;
        u16::try_from(value.len()).map_err(|_| wrong_length)?;
        self.push(kind, value);
        Ok(())
    }

    fn push(&mut self, kind: u8, value: &[u8]) {
        self.0.push(kind);
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        TlvReader(&self.0).flatten()
    }

    pub(super) fn get(&self, kind: u8) -> Option<&[u8]> {
        find(&self.0, kind)
    }

    pub(super) fn text(&self, kind: u8) -> Option<&str> {
        find_text(&self.0, kind)
    }
}

impl std::fmt::Debug for Tlvs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let readable = |(kind, value): (u8, &[u8])| (kind, value.escape_ascii().to_string());
        f.debug_list().entries(self.iter().map(readable)).finish()
    }
}

/// The value of the first TLV of a type.
pub(super) fn find(encoded: &[u8], kind: u8) -> Option<&[u8]> {
    let mut found = TlvReader(encoded).flatten().filter(|tlv| tlv.0 == kind);
    found.next().map(|(_, value)| value)
}

/// The text of the first TLV of a type.
pub(super) fn find_text(encoded: &[u8], kind: u8) -> Option<&str> {
    str::from_utf8(find(encoded, kind)?).ok()
}

/// Checks that the TLVs are whole, that each is in order, and that none is repeated that may come once.
fn check_all(level: Level, encoded: &[u8]) -> Result<(), ProxyHeaderError> {
    let mut seen = 0_u64;
    for tlv in TlvReader(encoded) {
        let (kind, value) = tlv?;
        check(level, kind, value)?;
        if level.may_come_once(kind) {
            let bit = 1 << kind;
            if seen & bit != 0 {
                return Err(ProxyHeaderError::TlvRepeated { kind });
            }
            seen |= bit;
        }
    }
    Ok(())
}

/// The list that a TLV is in. A type means something else in the other list.
#[derive(Clone, Copy)]
enum Level {
    Header,
    /// Within the TLV about TLS.
    Tls,
}

impl Level {
    /// True for the types, all below 64, that describe the connection: two of them would contradict each other.
    fn may_come_once(self, kind: u8) -> bool {
        match self {
            Level::Header => matches!(
                kind,
                ProxyHeader::ALPN
                    | ProxyHeader::AUTHORITY
                    | ProxyHeader::CHECKSUM
                    | ProxyHeader::UNIQUE_ID
                    | ProxyHeader::TLS
                    | ProxyHeader::NETWORK_NAMESPACE
            ),
            Level::Tls => (tls::VERSION..=tls::KEY_ALGORITHM).contains(&kind),
        }
    }

    /// True for the types whose value is text in UTF-8.
    fn is_utf8(self, kind: u8) -> bool {
        match self {
            Level::Header => kind == ProxyHeader::AUTHORITY,
            Level::Tls => kind == tls::COMMON_NAME,
        }
    }

    /// True for the types whose value is text in ASCII.
    fn is_ascii(self, kind: u8) -> bool {
        match self {
            Level::Header => kind == ProxyHeader::NETWORK_NAMESPACE,
            Level::Tls => self.may_come_once(kind) && !self.is_utf8(kind),
        }
    }
}

fn check(level: Level, kind: u8, value: &[u8]) -> Result<(), ProxyHeaderError> {
    let is_length_right = match (level, kind) {
        (Level::Header, ProxyHeader::CHECKSUM) => value.len() == size_of::<u32>(),
        (Level::Header, ProxyHeader::UNIQUE_ID) => value.len() <= ProxyHeader::MAX_UNIQUE_ID,
        (Level::Header, ProxyHeader::TLS) => value.len() >= tls::HEAD,
        _ => true,
    };
    if !is_length_right {
        let length = value.len();
        return Err(ProxyHeaderError::TlvLength { kind, length });
    }
    let is_text = (!level.is_utf8(kind) || str::from_utf8(value).is_ok())
        && (!level.is_ascii(kind) || value.is_ascii());
    match (level, kind) {
        _ if !is_text => Err(ProxyHeaderError::TlvText { kind }),
        (Level::Header, ProxyHeader::TLS) => check_all(Level::Tls, &value[tls::HEAD..]),
        _ => Ok(()),
    }
}

/// The checksum among TLVs that were checked, or that are well-formed as far as it.
pub(super) fn find_checksum(encoded: &[u8]) -> Option<Checksum> {
    let mut reader = TlvReader(encoded);
    while let Some(Ok((kind, value))) = reader.next() {
        if let (ProxyHeader::CHECKSUM, Ok(bytes)) = (kind, value.try_into()) {
            return Some(Checksum {
                position: encoded.len() - reader.0.len() - value.len(),
                value: u32::from_be_bytes(bytes),
            });
        }
    }
    None
}

/// Reads TLVs one by one. What is not whole is an error, behind which nothing follows.
pub(super) struct TlvReader<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for TlvReader<'a> {
    type Item = Result<(u8, &'a [u8]), ProxyHeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let encoded = std::mem::take(&mut self.0);
        let whole = match encoded {
            [] => return None,
            [kind, high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest.split_at_checked(length).map(|parts| (*kind, parts))
            }
            _ => None,
        };
        let Some((kind, (value, rest))) = whole else {
            return Some(Err(ProxyHeaderError::TlvTruncated));
        };
        self.0 = rest;
        Some(Ok((kind, value)))
    }
}
