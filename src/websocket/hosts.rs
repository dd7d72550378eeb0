//! The names that a server is known by: requests for other hosts are none of its business.

use std::fmt;
use std::sync::Arc;

use crate::http::authority::Authority;

/// The names of hosts that a server answers to.
///
/// A request names the host that it is for. A server that answers to any name also answers to that of a stranger: a page of
/// `evil.example` whose name is made to resolve to this server (DNS rebinding) is a page of the *same host* then, to the browser
/// and to [`Origins::same_host`](super::Origins::same_host). So a server that only some networks can reach, such as one on a
/// developer's machine, should list its names. A request for another is refused with status 421, whether it asks for an upgrade
/// or not.
///
/// ```
/// use ringwheel::websocket::{Hosts, WebSocket};
///
/// let protocol: WebSocket = WebSocket::new().hosts(Hosts::list(["localhost", "chat.example.com"]));
/// # drop(protocol);
/// ```
///
/// # How hosts compare
/// Case and port do not matter. An IP address is always answered to, listed or not: it is no name that could be made
/// to resolve to another place. So is an HTTP/1.0 request without a host, such as a proxy's health check, which no browser sends.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// `None` for any. Each of them is a host without a port.
    listed: Option<Arc<[Box<str>]>>,
}

/// The error for a text that is not the name of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHostError(
    /// The text.
    pub Box<str>,
);

impl fmt::Display for InvalidHostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a host, which is a name or an address without a port: {:?}",
            self.0
        )
    }
}

impl std::error::Error for InvalidHostError {}

impl Hosts {
    pub(crate) const ANY: Hosts = Hosts { listed: None };

    /// Every host. This is the default, since a server cannot know its names.
    #[must_use]
    pub fn any() -> Self {
        Hosts::ANY
    }

    /// Only these names, each without a port. A name with a dot at its end is another than the one without.
    ///
    /// # Panics
    /// If one of them is not a host; [`try_list`](Self::try_list) is for names that the program does not know.
    #[must_use]
    pub fn list<I>(names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        match Hosts::try_list(names) {
            Ok(hosts) => hosts,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`list`](Self::list), with names from the command line or a file.
    ///
    /// # Errors
    /// The first text that is not a host: one with a port or a scheme, for instance.
    pub fn try_list<I>(names: I) -> Result<Self, InvalidHostError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let checked = |name: I::Item| {
            let name = Box::from(name.as_ref());
            match Authority::parse(&name) {
                Some(authority) if authority.host == &*name => Ok(name),
                _ => Err(InvalidHostError(name)),
            }
        };
        let listed: Result<_, InvalidHostError> = names.into_iter().map(checked).collect();
        Ok(Hosts {
            listed: Some(listed?),
        })
    }

    /// True if the server answers to `host`, the value of a `Host` field, or nothing if there is none.
    pub(crate) fn know(&self, host: &str) -> bool {
        let Some(listed) = &self.listed else {
            return true;
        };
        match Authority::parse(host) {
            None => host.is_empty(),
            Some(host) => {
                let mut known = listed.iter().filter_map(|name| Authority::parse(name));
                host.is_address() || known.any(|known| known.is_same_host(&host))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_names_are_known() {
        let hosts = Hosts::list(["localhost", "Chat.example.com", "[2001:db8::1]"]);
        for (host, is_known) in [
            ("localhost", true),
            ("LOCALHOST:1833", true),
            ("chat.EXAMPLE.com:443", true),
            ("chat.example.com:", true),
            ("chat.example.com.", false),
            ("example.com", false),
            ("a.chat.example.com", false),
            ("chat.example.com.evil.example", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1", true),
            ("192.0.2.7:8080", true),
            ("[::1]:1833", true),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("2130706433", false),
            ("", true),
            ("a b", false),
        ] {
            assert_eq!(hosts.know(host), is_known, "{host:?}");
            assert!(Hosts::any().know(host), "{host:?}");
        }
    }

    #[test]
    fn an_empty_list_knows_addresses_only() {
        let none = Hosts::list::<[&str; 0]>([]);
        assert!(!none.know("localhost"));
        assert!(none.know("127.0.0.1"));
    }

    #[test]
    fn what_is_no_host_cannot_be_listed() {
        for text in [
            "",
            "localhost:80",
            "localhost:",
            "http://localhost",
            "localhost/",
            "user@localhost",
            "::1",
            "*.example.com/",
            "a b",
        ] {
            assert_eq!(
                Hosts::try_list([text]).err(),
                Some(InvalidHostError(text.into()))
            );
        }
    }

    #[test]
    #[should_panic(expected = "not a host")]
    fn a_wrong_list_panics() {
        let _ = Hosts::list(["localhost:80"]);
    }
}
