//! The request that opens a connection.

use std::fmt;
use std::net::Ipv6Addr;
use std::str;

use httparse::Header;

use crate::Address;

/// The head of the HTTP request that a connection begins with.
///
/// It is valid HTTP/1.1, with one plausible `Host` and without a body; everything else in it is what the peer says.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: Target<'a>,
    host: &'a str,
    fields: FieldSection<'a>,
    peer: &'a Address,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        method: &'a str,
        target: Target<'a>,
        host: &'a str,
        fields: FieldSection<'a>,
        peer: &'a Address,
    ) -> Self {
        Request {
            method,
            target,
            host,
            fields,
            peer,
        }
    }

    /// `GET`, or `HEAD` where no upgrade is asked for.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The request target as it was sent: usually path and query.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target.text
    }

    /// The path, which begins with `/`. Percent-encoding is left as it is.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.path
    }

    /// What follows the first `?` of the target.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.target.query
    }

    /// The host, and the port if it was named, that the client believes to talk to.
    #[must_use]
    pub fn host(&self) -> &'a str {
        // RFC 9112 section 3.2.2: a target in absolute form overrides the field.
        self.target.authority.unwrap_or(self.host)
    }

    /// The origin of the page that opens the connection. Browsers always send it; from anything else it proves nothing.
    ///
    /// [`Origins`](super::Origins) says which are let in, so there is seldom a need to look here.
    #[must_use]
    pub fn origin(&self) -> Option<&'a str> {
        self.header("Origin")
    }

    /// The subprotocols that the client offers, the preferred ones first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.fields
            .elements("Sec-WebSocket-Protocol")
            .filter_map(|element| str::from_utf8(element).ok())
    }

    /// The value of the first header `name`, in any case of letters. `None` if there is none or it is not UTF-8; see
    /// [`header_bytes`](Self::header_bytes).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The value of the first header `name`, in any case of letters, as it was sent but for the space around it.
    #[must_use]
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.values(name).next()
    }

    /// Names and values of all headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.0.iter().map(|field| (field.name, field.value))
    }

    /// The address of the peer that asks.
    #[must_use]
    pub fn peer(&self) -> &'a Address {
        self.peer
    }

    /// The values of all `Sec-WebSocket-Extensions` headers, in their order.
    #[cfg(any(feature = "deflate", test))]
    pub(crate) fn extensions(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.fields
            .values("Sec-WebSocket-Extensions")
            .filter_map(|value| str::from_utf8(value).ok())
    }

    pub(crate) fn fields(&self) -> FieldSection<'a> {
        self.fields
    }
}

/// A request target in one of the two forms that GET has: `/path?query`, or the whole `http` URI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    text: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// RFC 9112 section 3.2. There is no fragment (RFC 6455 section 3).
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let is_acceptable = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !text.bytes().all(is_acceptable) {
            return None;
        }
        let (authority, resource) = if text.starts_with('/') {
            (None, text)
        } else {
            let (scheme, rest) = text.split_once("://")?;
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return None;
            }
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, resource) = rest.split_at(end);
            Authority::parse(authority)?;
            (Some(authority), resource)
        };
        let (path, query) = match resource.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (resource, None),
        };
        Some(Target {
            text,
            authority,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}

/// A host, and perhaps a port (RFC 3986 section 3.2, without user information).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    host: &'a str,
    /// `None` where no port is named, or an empty one.
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let host_end = match text.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_end);
        let is_plausible = match ipv6(host) {
            Some(_) => true,
            None => !host.is_empty() && host.bytes().all(is_name_byte),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            // `parse` alone would take a sign too.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        is_plausible.then_some(Authority { host, port })
    }

    /// Whether both name the same host.
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

/// Unreserved, percent-encoded and sub-delims: what a registered name or an IPv4 address consists of.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// The header fields of a request or a response, in their order.
#[derive(Clone, Copy)]
pub(crate) struct FieldSection<'a>(&'a [Header<'a>]);

impl<'a> FieldSection<'a> {
    /// Parses field lines up to and with the empty line that ends them. `storage` limits how many there may be.
    pub(crate) fn parse<'s>(
        lines: &'a [u8],
        storage: &'s mut [Header<'a>],
    ) -> Result<FieldSection<'s>, httparse::Error>
    where
        'a: 's,
    {
        match httparse::parse_headers(lines, storage)? {
            httparse::Status::Complete((_, fields)) => Ok(FieldSection(fields)),
            // Not after an end was found; but then it has none.
            httparse::Status::Partial => Err(httparse::Error::NewLine),
        }
    }

    /// The values of all fields `name`.
    pub(crate) fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// The value of the field `name`, if there is exactly one.
    pub(crate) fn sole(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The elements of the list that all fields `name` are together, without the empty ones (RFC 9110 section 5.6.1).
    pub(crate) fn elements<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// Whether `token` is in the list that all fields `name` are together, in any case of letters.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.elements(name)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for FieldSection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.0.iter();
        f.debug_map()
            .entries(fields.map(|field| (field.name, String::from_utf8_lossy(field.value))))
            .finish()
    }
}

/// Whether `text` is a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// Whether `byte` may be in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Lets `look` see a request for `/` of `host` with these header fields.
#[cfg(test)]
pub(crate) fn with_request<R>(
    host: &str,
    fields: &[(&str, &str)],
    look: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| Header {
            name,
            value: value.as_bytes(),
        })
        .collect();
    let target = Target::parse("/").unwrap();
    let peer = Address::Ip(([127, 0, 0, 1], 40_000).into());
    look(&Request::new(
        "GET",
        target,
        host,
        FieldSection(&fields),
        &peer,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_in_order() {
        let fields = [
            ("X-Room", "hall"),
            ("Cookie", "a=1"),
            ("x-room", "attic"),
            ("X-Empty", ""),
        ];
        with_request("example.com", &fields, |request| {
            assert_eq!(request.header("x-ROOM"), Some("hall"));
            assert_eq!(request.header("X-Empty"), Some(""));
            assert_eq!(request.header("X-None"), None);
            let all: Vec<_> = request.headers().collect();
            assert_eq!(all.len(), 4);
            assert_eq!(all[2], ("x-room", &b"attic"[..]));
        });
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_there_as_bytes() {
        let fields = [Header {
            name: "X-Name",
            value: b"caf\xe9",
        }];
        let peer = Address::Ip(([127, 0, 0, 1], 1).into());
        let request = Request::new(
            "GET",
            Target::parse("/").unwrap(),
            "example.com",
            FieldSection(&fields),
            &peer,
        );
        assert_eq!(request.header("X-Name"), None);
        assert_eq!(request.header_bytes("X-Name"), Some(&b"caf\xe9"[..]));
    }

    #[test]
    fn rfc_9110_section_5_6_1_lists_span_repeated_fields_and_have_empty_elements() {
        let fields = [
            ("Sec-WebSocket-Protocol", "chat.v2, ,chat.v1"),
            ("Host", "example.com"),
            ("sec-websocket-protocol", "\tsuperchat ,"),
            ("Sec-WebSocket-Protocol", ""),
        ];
        with_request("example.com", &fields, |request| {
            let offered: Vec<_> = request.subprotocols().collect();
            assert_eq!(offered, ["chat.v2", "chat.v1", "superchat"]);
        });
    }

    #[test]
    fn rfc_9112_section_3_2_target_forms() {
        for (text, host, path, query) in [
            ("/", "field.example", "/", None),
            ("/chat", "field.example", "/chat", None),
            ("/chat?", "field.example", "/chat", Some("")),
            ("/a%20b?c=d?e&f", "field.example", "/a%20b", Some("c=d?e&f")),
            ("//double/slash", "field.example", "//double/slash", None),
            ("/http://x/", "field.example", "/http://x/", None),
            (
                "http://target.example:8080/p?q",
                "target.example:8080",
                "/p",
                Some("q"),
            ),
            ("HTTPS://target.example", "target.example", "/", None),
            ("http://[::1]?q", "[::1]", "/", Some("q")),
        ] {
            let target = Target::parse(text).expect(text);
            let peer = Address::Ip(([127, 0, 0, 1], 1).into());
            let request = Request::new("GET", target, "field.example", FieldSection(&[]), &peer);
            assert_eq!(
                (
                    request.target(),
                    request.host(),
                    request.path(),
                    request.query()
                ),
                (text, host, path, query)
            );
        }
    }

    #[test]
    fn rfc_9112_section_3_2_what_is_no_target_of_get() {
        for text in [
            "",
            "*",
            "chat",
            "example.com:80",
            "ftp://example.com/",
            "://example.com/",
            "http:/example.com/",
            "http:///path",
            "http://user@example.com/",
            "http://example.com:port/",
            "/a#fragment",
            "/a b",
            "/caf\u{e9}",
            "/\x7f",
        ] {
            assert!(Target::parse(text).is_none(), "{text:?}");
        }
    }

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
        ] {
            assert!(Authority::parse(text).is_none(), "{text:?}");
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
