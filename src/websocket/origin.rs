//! The check of origins: the web pages whose scripts may open connections.

use std::fmt;
use std::str;
use std::sync::Arc;

use crate::http::Request;
use crate::http::authority::Authority;

/// The origins (scheme, host and port) of the pages whose scripts may open connections.
///
/// A browser sends a user's cookies along with a WebSocket handshake whatever page began it, and the same-origin policy does
/// not apply. A server that trusts cookies must therefore look at the page's origin, or any page that its users visit speaks
/// in their name (cross-site WebSocket hijacking). By default only pages of the [same host](Self::same_host) may connect. An upgrade that is not allowed is refused with status 403.
///
/// Programs that are not browsers send no origin, or any they like. They are let in without one unless it is
/// [`required`](Self::required). An origin is no authentication.
///
/// ```
/// use ringwheel::websocket::Origins;
///
/// let one_site = Origins::same_host();
/// let several = Origins::list(["https://example.com", "http://localhost:8080"]).required();
/// # let _ = (one_site, several);
/// ```
///
/// # How origins compare
/// As RFC 6454 has them: scheme, host and port, letters in any case, and the default ports of `http`, `https`, `ws` and
/// `wss` the same as none. A malformed origin is refused by [`same_host`](Self::same_host) and [`list`](Self::list), and more
/// than one `Origin` header always.
#[derive(Clone, Debug)]
pub struct Origins {
    rule: Rule,
    is_required: bool,
}

#[derive(Clone, Debug)]
enum Rule {
    Any,
    SameHost,
    /// Each of them is an origin.
    List(Arc<[Box<str>]>),
}

/// The error for a text that is not an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOriginError(
    /// The text.
    pub Box<str>,
);

impl fmt::Display for InvalidOriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an origin, which is a scheme, a host and perhaps a port: {:?}",
            self.0
        )
    }
}

impl std::error::Error for InvalidOriginError {}

impl Origins {
    pub(crate) const ANY: Origins = Origins {
        rule: Rule::Any,
        is_required: false,
    };

    /// All pages. Right for servers that do not trust cookies, nor the network that a client is in.
    #[must_use]
    pub fn any() -> Self {
        Origins::ANY
    }

    /// Only pages from the host and port that the request is for, as its `Host` header has it.
    ///
    /// The scheme is `http` or `https`, as of all pages from a server; an origin with another one, such as `ws`, has to be
    /// [listed](Self::list). The two are not told apart, since a server behind a proxy does not know its own. A proxy has to pass `Host` on as it is. The
    /// name in `Host` may be anybody's that resolves to this server, unless [`Hosts`](super::Hosts) list its names.
    #[must_use]
    pub fn same_host() -> Self {
        Rule::SameHost.into()
    }

    /// Only these pages, each written as `scheme://host` or `scheme://host:port`, or `null` for pages without an origin of their
    /// own (from a file, or in a sandboxed frame, which any site can make: seldom a good idea).
    ///
    /// # Panics
    /// If one of them is not an origin; [`try_list`](Self::try_list) is for origins that the program does not know.
    #[must_use]
    pub fn list<I>(origins: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        match Origins::try_list(origins) {
            Ok(origins) => origins,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`list`](Self::list), with origins from the command line or a file.
    ///
    /// # Errors
    /// The first text that is not an origin: one with a path, for instance, or just a slash at the end.
    pub fn try_list<I>(origins: I) -> Result<Self, InvalidOriginError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let checked = |origin: I::Item| {
            let origin = Box::from(origin.as_ref());
            match Origin::parse(&origin) {
                Some(_) => Ok(origin),
                None => Err(InvalidOriginError(origin)),
            }
        };
        let list: Result<_, InvalidOriginError> = origins.into_iter().map(checked).collect();
        Ok(Rule::List(list?).into())
    }

    /// Refuses requests without an origin too, and with them most programs that are not browsers.
    #[must_use]
    pub fn required(self) -> Self {
        Origins {
            is_required: true,
            ..self
        }
    }

    /// True if `request` comes from an origin that is allowed.
    pub(crate) fn allow(&self, request: &Request<'_>) -> bool {
        let mut values = request.fields().values("Origin");
        match (values.next(), values.next()) {
            (None, _) => !self.is_required,
            // RFC 6454 section 7.3: there is at most one.
            (Some(_), Some(_)) => false,
            (Some(value), None) => self.rule.allows(value, request.host()),
        }
    }
}

impl From<Rule> for Origins {
    fn from(rule: Rule) -> Self {
        Origins {
            rule,
            is_required: false,
        }
    }
}

impl Rule {
    fn allows(&self, value: &[u8], host: &str) -> bool {
        if matches!(self, Rule::Any) {
            return true;
        }
        let Some(origin) = str::from_utf8(value).ok().and_then(Origin::parse) else {
            return false;
        };
        match self {
            Rule::Any => true,
            Rule::SameHost => origin.is_at(host),
            Rule::List(listed) => listed
                .iter()
                .filter_map(|listed| Origin::parse(listed))
                .any(|listed| listed == origin),
        }
    }
}

/// An origin in its ASCII serialisation (RFC 6454 section 6.2).
#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    /// An origin that equals no other, serialised as `null`.
    Opaque,
    Tuple {
        scheme: &'a str,
        authority: Authority<'a>,
    },
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if text == "null" {
            return Some(Origin::Opaque);
        }
        let (scheme, authority) = text.split_once("://")?;
        // A Host field may end in a colon, an origin may not.
        if !is_scheme(scheme) || authority.ends_with(':') {
            return None;
        }
        let authority = Authority::parse(authority)?;
        Some(Origin::Tuple { scheme, authority })
    }

    /// True if its host and port are those of a `Host` field, in which no port means the default one.
    fn is_at(&self, host: &str) -> bool {
        match (self, Authority::parse(host)) {
            (Origin::Tuple { scheme, authority }, Some(host)) => {
                is_of_pages(scheme)
                    && authority.is_same_host(&host)
                    && port(scheme, authority) == port(scheme, &host)
            }
            _ => false,
        }
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Origin::Opaque, Origin::Opaque) => true,
            (
                Origin::Tuple { scheme, authority },
                Origin::Tuple {
                    scheme: other_scheme,
                    authority: other_authority,
                },
            ) => {
                scheme.eq_ignore_ascii_case(other_scheme)
                    && authority.is_same_host(other_authority)
                    && port(scheme, authority) == port(other_scheme, other_authority)
            }
            _ => false,
        }
    }
}

/// True if `text` is a scheme (RFC 3986 section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// True if pages are loaded with this scheme, so that an origin may have it (RFC 6454 section 4 has the scheme of the page).
fn is_of_pages(scheme: &str) -> bool {
    ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// The port that is named, or the default one of the scheme.
fn port(scheme: &str, authority: &Authority<'_>) -> Option<u16> {
    authority.port.or_else(|| default_port(scheme))
}

/// The default port of a scheme.
fn default_port(scheme: &str) -> Option<u16> {
    let is = |name| scheme.eq_ignore_ascii_case(name);
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::with_request;

    fn allows(origins: &Origins, host: &str, values: &[&str]) -> bool {
        let fields: Vec<_> = values.iter().map(|value| ("oRiGiN", *value)).collect();
        with_request(host, &fields, |request| origins.allow(request))
    }

    #[test]
    fn rfc_6454_section_5_origins_of_a_list() {
        let origins = Origins::list([
            "https://example.com",
            "http://localhost:8080",
            "https://Shop.Example:443",
            "http://[2001:db8::1]",
            "capacitor://localhost",
        ]);
        for (origin, is_allowed) in [
            ("https://example.com", true),
            ("HTTPS://EXAMPLE.COM", true),
            ("https://example.com:443", true),
            ("https://example.com:0443", true),
            ("https://example.com:8443", false),
            ("https://example.com:80", false),
            ("http://example.com", false),
            ("http://example.com:443", false),
            ("wss://example.com", false),
            ("https://example.com.", false),
            ("https://example.com.evil.example", false),
            ("https://evil-example.com", false),
            ("https://www.example.com", false),
            ("https://example.co", false),
            ("http://localhost:8080", true),
            ("http://localhost", false),
            ("http://localhost:8081", false),
            ("https://shop.example", true),
            ("https://shop.example:443", true),
            ("http://[2001:db8::1]:80", true),
            ("http://[2001:DB8:0:0::1]", true),
            ("http://[2001:db8::2]", false),
            ("capacitor://localhost", true),
            ("capacitor://localhost:80", false),
            ("null", false),
            ("", false),
            ("https://example.com/", false),
            ("https://example.com:", false),
            ("https://user@example.com", false),
            ("https://example.com https://example.com", false),
            ("https://example.com, https://example.com", false),
            ("https://", false),
            ("//example.com", false),
            ("example.com", false),
            ("https:example.com", false),
            ("1https://example.com", false),
            ("https://example.com#", false),
            ("https://example.com?", false),
            ("https://ex\u{e4}mple.com", false),
            ("https://*", false),
        ] {
            assert_eq!(
                allows(&origins, "example.com", &[origin]),
                is_allowed,
                "{origin:?}"
            );
        }
    }

    #[test]
    fn origins_of_the_same_host() {
        for (host, origin, is_allowed) in [
            ("example.com", "http://example.com", true),
            ("example.com", "https://example.com", true),
            ("EXAMPLE.com", "https://example.COM", true),
            ("example.com:80", "http://example.com", true),
            ("example.com", "http://example.com:80", true),
            ("example.com:443", "https://example.com", true),
            ("example.com:443", "http://example.com", false),
            ("example.com:8080", "http://example.com:8080", true),
            ("example.com:8080", "http://example.com", false),
            ("example.com", "http://example.com:8080", false),
            ("example.com", "http://example.org", false),
            ("example.com", "http://sub.example.com", false),
            ("example.com", "HTTPS://example.com", true),
            ("example.com", "ftp://example.com", false),
            ("example.com", "ws://example.com", false),
            ("example.com", "wss://example.com", false),
            ("example.com:443", "wss://example.com", false),
            ("example.com", "null", false),
            ("null", "null", false),
            ("[::1]:1833", "http://[::1]:1833", true),
            ("127.0.0.1:1833", "http://localhost:1833", false),
            ("example.com:", "http://example.com", true),
        ] {
            let origins = Origins::same_host();
            assert_eq!(
                allows(&origins, host, &[origin]),
                is_allowed,
                "{origin:?} at {host:?}"
            );
        }
    }

    #[test]
    fn null_is_let_in_only_if_listed() {
        assert!(allows(&Origins::list(["null"]), "a", &["null"]));
        assert!(!allows(&Origins::list(["null"]), "a", &["NULL"]));
        assert!(!allows(&Origins::list(["null"]), "a", &["https://null"]));
        assert!(!allows(&Origins::list(["https://null"]), "a", &["null"]));
    }

    #[test]
    fn no_origin_is_let_in_unless_one_is_required() {
        for origins in [
            Origins::any(),
            Origins::same_host(),
            Origins::list(["https://a"]),
        ] {
            assert!(allows(&origins, "a", &[]), "{origins:?}");
            assert!(!allows(&origins.required(), "a", &[]));
        }
    }

    #[test]
    fn rfc_6454_section_7_3_more_than_one_origin_header_is_refused() {
        let twice = ["https://a", "https://a"];
        for origins in [
            Origins::any(),
            Origins::same_host(),
            Origins::list(["https://a"]),
        ] {
            assert!(!allows(&origins, "a", &twice), "{origins:?}");
        }
    }

    #[test]
    fn any_does_not_look_at_what_the_origin_is() {
        for origin in ["https://a", "null", "file://", "example.com", ""] {
            assert!(
                allows(&Origins::any().required(), "b", &[origin]),
                "{origin:?}"
            );
        }
    }

    #[test]
    fn an_empty_list_lets_no_page_in() {
        let none = Origins::list::<[&str; 0]>([]);
        assert!(!allows(&none, "a", &["https://a"]));
        assert!(allows(&none, "a", &[]));
    }

    #[test]
    #[should_panic(expected = "not an origin")]
    fn what_is_no_origin_cannot_be_listed() {
        let _ = Origins::list(["https://example.com/"]);
    }
}
