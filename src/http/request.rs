//! Requests, from bytes to values.

use crate::Address;
use std::str;

use httparse::Header;

use super::authority::Authority;
use super::fields::FieldSection;
use super::head::split_first_line;

/// The head of an HTTP request.
///
/// The head is valid HTTP/1.1 with one plausible `Host`, or HTTP/1.0, where `Host` may be missing; everything else in it is the
/// peer's word.
///
/// ```
/// use ringwheel::http::{Request, Response};
/// use ringwheel::websocket::{Accept, Answer};
///
/// struct Door;
///
/// impl Accept for Door {
///     type State = ();
///     fn upgrade(&self, request: &Request<'_>) -> Answer<()> {
///         match request.header("Authorization") {
///             Some("Bearer sesame") => Answer::accept(()),
///             _ => Answer::reject(Response::text(401, "a token, please\n")),
///         }
///     }
///     fn http(&self, request: &Request<'_>) -> Option<Response> {
///         (request.path() == "/health").then(|| Response::text(200, "ok\n"))
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    method: &'a str,
    /// The minor version: 0 for HTTP/1.0. All others are understood as 1.1.
    minor_version: u8,
    target: Target<'a>,
    host: &'a str,
    fields: FieldSection<'a>,
    peer: &'a Address,
}

impl<'a> Request<'a> {
    /// Parses a whole head, of a request with one of `methods`. There may be as many fields as `storage` has room for.
    ///
    /// # Errors
    /// The first fault, in the order in which the parts of a head follow each other.
    pub(crate) fn parse(
        head: &'a [u8],
        storage: &'a mut [Header<'a>],
        methods: &[&str],
        peer: &'a Address,
    ) -> Result<Self, RequestFault> {
        let (line, lines) = split_first_line(head).ok_or(RequestFault::Line)?;
        let (method, target, version) = parse_request_line(line).ok_or(RequestFault::Line)?;
        // A minor version above 1 is compatible (RFC 9110 section 2.5), another major version is another protocol.
        let (1, minor_version) = version else {
            return Err(RequestFault::Version);
        };
        let fields = FieldSection::parse(lines, storage).map_err(|error| match error {
            httparse::Error::TooManyHeaders => RequestFault::TooManyFields,
            _ => RequestFault::Field,
        })?;
        if !methods.contains(&method) {
            return Err(match KNOWN_METHODS.contains(&method) {
                true => RequestFault::Method,
                false => RequestFault::UnknownMethod,
            });
        }
        let target = Target::parse_for(method, target).ok_or(RequestFault::Target)?;
        let host = parse_host(&fields, minor_version).ok_or(RequestFault::Host)?;
        Ok(Request {
            method,
            minor_version,
            target,
            host,
            fields,
            peer,
        })
    }

    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The request target as it was sent: usually path and query.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target.text
    }

    /// The path, which begins with `/`, or is `*` in a request about the server as a whole. Percent-encoding is left as it is.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.path
    }

    /// The part of the target behind its first `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.target.query
    }

    /// The host, and the port if one is named, that the client believes it is talking to. Empty in an HTTP/1.0 request that names
    /// none.
    #[must_use]
    pub fn host(&self) -> &'a str {
        // RFC 9112 section 3.2.2: a target in absolute form overrides the field.
        self.target.authority.unwrap_or(self.host)
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
        self.fields.iter()
    }

    /// The address of the client, or of the proxy before it.
    #[must_use]
    pub fn peer(&self) -> &'a Address {
        self.peer
    }

    /// True if the request is of a version that knows upgrades. In HTTP/1.0 they have no meaning (RFC 9110 section 7.8).
    pub(crate) fn may_upgrade(&self) -> bool {
        self.minor_version > 0
    }

    /// True if the head announces a body, or could be read as announcing one (RFC 9112 section 6). Bytes behind the head
    /// would be a body for one receiver and another message for the next: a way to smuggle requests.
    pub(crate) fn announces_body(&self) -> bool {
        let is_zero = |value: &[u8]| !value.is_empty() && value.iter().all(|&digit| digit == b'0');
        let has_length = self.fields.values("Content-Length").next().is_some()
            && !self.fields.sole("Content-Length").is_some_and(is_zero);
        has_length || self.fields.values("Transfer-Encoding").next().is_some()
    }

    /// All header fields.
    pub(crate) fn fields(&self) -> FieldSection<'a> {
        self.fields
    }
}

/// The reasons for which a head is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestFault {
    Line,
    Version,
    TooManyFields,
    Field,
    /// A method that is not among those allowed.
    Method,
    /// A method that nobody has heard of.
    UnknownMethod,
    Target,
    Host,
}

/// The methods of RFC 9110 section 9, and PATCH (RFC 5789). Others are not recognized, which is another error than not allowed.
const KNOWN_METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// The value of `Host` (RFC 9112 section 3.2): there is exactly one, but for HTTP/1.0, where there may be none.
fn parse_host<'a>(fields: &FieldSection<'a>, minor_version: u8) -> Option<&'a str> {
    if minor_version == 0 && fields.values("Host").next().is_none() {
        return Some("");
    }
    fields
        .sole_text("Host")
        .filter(|host| Authority::parse(host).is_some())
}

/// Method, target and version (RFC 9112 section 3). The [search](super::head::HeadSearch) has checked the bytes that they
/// consist of.
fn parse_request_line(line: &[u8]) -> Option<(&str, &str, (u8, u8))> {
    let mut parts = str::from_utf8(line).ok()?.splitn(3, ' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    match version.strip_prefix("HTTP/")?.as_bytes() {
        [major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] if !target.is_empty() => {
            Some((method, target, (major - b'0', minor - b'0')))
        }
        _ => None,
    }
}

/// A request target: `/path?query`, the whole `http` URI, or `*`, which only OPTIONS has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    text: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// As [`parse`](Self::parse), with the form that only some methods have.
    fn parse_for(method: &str, text: &'a str) -> Option<Self> {
        match (method, text) {
            ("OPTIONS", "*") => Some(Target {
                text,
                authority: None,
                path: text,
                query: None,
            }),
            _ => Target::parse(text),
        }
    }

    /// The target that `text` is (RFC 9112 section 3.2). It has no fragment, which is the client's own business.
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

/// Calls `look` with a request for `/` of `host` with these header fields.
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
    look(&Request {
        method: "GET",
        minor_version: 1,
        target: Target::parse("/").unwrap(),
        host,
        fields: FieldSection(&fields),
        peer: &Address::Ip(([127, 0, 0, 1], 40_000).into()),
    })
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
        let request = Request {
            method: "GET",
            minor_version: 1,
            target: Target::parse("/").unwrap(),
            host: "example.com",
            fields: FieldSection(&fields),
            peer: &Address::Ip(([127, 0, 0, 1], 1).into()),
        };
        assert_eq!(request.header("X-Name"), None);
        assert_eq!(request.header_bytes("X-Name"), Some(&b"caf\xe9"[..]));
    }

    #[test]
    fn rfc_9110_section_5_6_1_lists_span_repeated_fields_and_have_empty_elements() {
        let fields = [
            ("X-List", "chat.v2, ,chat.v1"),
            ("Host", "example.com"),
            ("x-list", "\tsuperchat ,"),
            ("X-List", ""),
        ];
        with_request("example.com", &fields, |request| {
            let elements: Vec<_> = request.fields().elements("X-List").collect();
            assert_eq!(elements, [&b"chat.v2"[..], b"chat.v1", b"superchat"]);
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
            let request = Request {
                method: "GET",
                minor_version: 1,
                target,
                host: "field.example",
                fields: FieldSection(&[]),
                peer: &Address::Ip(([127, 0, 0, 1], 1).into()),
            };
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
            assert!(Target::parse_for("GET", text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn rfc_9112_section_3_2_4_only_options_has_an_asterisk() {
        assert!(Target::parse_for("OPTIONS", "*").is_some_and(|target| target.path == "*"));
        assert!(Target::parse_for("OPTIONS", "/*").is_some());
        for (method, text) in [
            ("GET", "*"),
            ("HEAD", "*"),
            ("OPTIONS", "**"),
            ("OPTIONS", ""),
        ] {
            assert!(Target::parse_for(method, text).is_none(), "{method} {text}");
        }
    }
}
