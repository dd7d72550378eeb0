//! The authority of a URI: the host and port of a `Host` header, a request target or an origin.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host, and perhaps a port (RFC 3986 section 3.2, without user information).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a str,
    /// `None` where no port is named, or an empty one.
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// The authority that `text` is; `None` if it is malformed.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let host_end = match text.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_end);
        let is_plausible = match ipv6(host) {
            Some(_) => true,
            None => is_name(host),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            // `parse` alone would accept a sign too.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        is_plausible.then_some(Authority { host, port })
    }

    /// True if the host is an address and not a name.
    pub(crate) fn is_address(&self) -> bool {
        ipv6(self.host).is_some() || self.host.parse::<Ipv4Addr>().is_ok()
    }

    /// True if both name the same host, in any case of letters and any notation of an IPv6 address.
    pub(crate) fn is_same_host(&self, other: &Authority<'_>) -> bool {
        match (ipv6(self.host), ipv6(other.host)) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self.host.eq_ignore_ascii_case(other.host),
            _ => false,
        }
    }
}

/// The address in an IP literal.
fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// True for a registered name or an IPv4 address: unreserved bytes, sub-delims, and bytes that are percent-encoded.
fn is_name(host: &str) -> bool {
    let mut parts = host.split('%');
    let is_plain = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte))
    };
    let is_encoded = |part: &str| {
        part.len() >= 2
            && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
            && is_plain(part)
    };
    !host.is_empty() && parts.next().is_none_or(is_plain) && parts.all(is_encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3986_section_3_2_authorities() {
        for (text, port) in [
            ("example.com", None),
            ("example.com:", None),
            ("example.com:80", Some(80)),
            ("example.com:0080", Some(80)),
            ("example.com:65535", Some(65_535)),
            ("127.0.0.1:1833", Some(1833)),
            ("my_host-1.local.", None),
            ("a%20b", None),
            ("%C3%a4:1", Some(1)),
            ("[::1]", None),
            ("[2001:db8::7]:443", Some(443)),
            ("[::ffff:127.0.0.1]:1", Some(1)),
        ] {
            let authority = Authority::parse(text);
            assert_eq!(authority.expect(text).port, port, "{text:?}");
        }
        for text in [
            "",
            ":",
            ":80",
            "a:b",
            "a:65536",
            "a:99999999999999999999",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "user@a",
            "caf\u{e9}",
            "<a>",
            "\"a\"",
            "::1",
            "[::1",
            "[]",
            "[::1]80",
            "[::1]:x",
            "[g::1]",
            "[example.com]",
            "[::1]]",
            "a[::1]",
            "%",
            "a%2",
            "a%zz",
            "a%:80",
            "%%41",
        ] {
            assert!(Authority::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_not_names() {
        for (text, is_address) in [
            ("127.0.0.1", true),
            ("127.0.0.1:80", true),
            ("[::1]:80", true),
            ("127.0.0.1.", false),
            ("127.1", false),
            ("0x7f.0.0.1", false),
            ("localhost", false),
            ("127.0.0.1.evil.example", false),
        ] {
            let authority = Authority::parse(text).expect(text);
            assert_eq!(authority.is_address(), is_address, "{text:?}");
        }
    }

    #[test]
    fn hosts_are_the_same_in_any_case_and_notation() {
        let same = |one, two| {
            let one = Authority::parse(one).unwrap();
            one.is_same_host(&Authority::parse(two).unwrap())
        };
        assert!(same("Example.COM", "example.com:80"));
        assert!(same("[::1]", "[0:0:0:0:0:0:0:1]"));
        assert!(!same("[::1]", "[::2]"));
        assert!(!same("example.com", "example.com."));
        assert!(!same("[::1]", "localhost"));
    }
}
