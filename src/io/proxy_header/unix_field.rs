//! The 108 bytes of a Unix socket's address in version 2.

use std::ffi::OsString;
use std::path::Path;

use super::error::ProxyHeaderError;
use crate::io::address::Address;

/// The bytes of the field: those of `sun_path` on Linux.
pub(super) const LENGTH: usize = 108;

/// The address in the field: a path up to the first zero byte, or an abstract name behind a zero byte.
///
/// An abstract name has no end of its own, so it cannot end in zero bytes. A field of zeros is a socket without a name.
pub(super) fn decode(field: &[u8]) -> Result<Address, ProxyHeaderError> {
    if let [0, name @ ..] = field {
        let length = name.iter().rposition(|&byte| byte != 0);
        return Ok(match length {
            Some(last) => Address::Abstract(name[..=last].into()),
            None => Address::Unix(None),
        });
    }
    let path = field.split(|&byte| byte == 0).next().unwrap_or_default();
    let path = Path::new(&os_string(path)?).into();
    Ok(Address::Unix(Some(path)))
}

/// The field with an address.
pub(super) fn encode(address: &Address) -> Result<[u8; LENGTH], ProxyHeaderError> {
    let mut field = [0; LENGTH];
    let (start, bytes): (usize, &[u8]) = match address {
        Address::Unix(None) => return Ok(field),
        Address::Unix(Some(path)) => (0, path.as_os_str().as_encoded_bytes()),
        Address::Abstract(name) => (1, name),
        Address::Ip(_) => return Err(ProxyHeaderError::MixedAddresses),
    };
    let is_ambiguous = match address {
        Address::Abstract(name) => name.last().is_none_or(|&byte| byte == 0),
        _ => bytes.is_empty() || bytes.contains(&0),
    };
    match field.get_mut(start..start + bytes.len()) {
        Some(place) if !is_ambiguous => place.copy_from_slice(bytes),
        _ => return Err(ProxyHeaderError::Address),
    }
    Ok(field)
}

#[cfg(unix)]
fn os_string(bytes: &[u8]) -> Result<OsString, ProxyHeaderError> {
    use std::os::unix::ffi::OsStringExt;
    Ok(OsString::from_vec(bytes.to_vec()))
}

/// Other systems have paths of Unicode.
#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> Result<OsString, ProxyHeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ProxyHeaderError::Address)?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Address {
        Address::Unix(Some(Path::new(text).into()))
    }

    fn name(bytes: &[u8]) -> Address {
        Address::Abstract(bytes.into())
    }

    #[test]
    fn addresses_survive() {
        for address in [
            Address::Unix(None),
            path("/run/a.sock"),
            path("relative"),
            path(&"p".repeat(108)),
            name(b"a"),
            name(b"a\0b"),
            name(b"\0a"),
            name(&[0xFF; 107]),
        ] {
            let field = encode(&address).unwrap();
            assert_eq!(decode(&field), Ok(address));
        }
    }

    #[test]
    fn addresses_without_a_place_are_refused() {
        for address in [
            path(""),
            path("a\0b"),
            path(&"p".repeat(109)),
            name(b""),
            name(b"a\0"),
            name(&[1; 108]),
        ] {
            assert_eq!(encode(&address), Err(ProxyHeaderError::Address));
        }
    }

    /// Linux leaves what it likes behind a path.
    #[test]
    fn a_path_ends_at_the_first_zero() {
        let mut field = [0xAA; LENGTH];
        field[..3].copy_from_slice(b"/a\0");
        assert_eq!(decode(&field), Ok(path("/a")));
    }
}
