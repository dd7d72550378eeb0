//! The networks whose peers a server believes: those of its proxies.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::address::Address;

/// A set of IP networks whose peers are trusted, and perhaps the peers of Unix sockets.
///
/// A [`ProxyHeader`](crate::ProxyHeader) may name any address as the client's. This set says whose headers are believed. It is empty
/// at first, and trusts nobody.
///
/// A network is written as an address and the number of its leading bits that all members share, such as `10.0.0.0/8`; an
/// address alone is a network of one. IPv4 addresses that are mapped into IPv6 (`::ffff:192.0.2.1`) count as IPv4, so `::/0` has
/// all IPv6 addresses and none of IPv4.
///
/// ```
/// use std::net::{IpAddr, Ipv4Addr};
/// use std::path::Path;
/// use ringwheel::{Address, TrustedNetworks};
///
/// let trusted = TrustedNetworks::of(["10.0.0.0/8", "::1"])?.with_unix_sockets();
/// assert!(trusted.contains(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))));
/// assert!(!trusted.contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
/// assert!(trusted.trusts(&Address::Unix(None)));
///
/// let error = TrustedNetworks::of(["10.1.2.3/8"]).unwrap_err();
/// assert_eq!(error.to_string(), "`10.1.2.3/8` has bits behind its prefix; the network is `10.0.0.0/8`");
/// # Ok::<(), ringwheel::NetworkError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedNetworks {
    networks: Vec<Network>,
    has_unix_sockets: bool,
}

impl TrustedNetworks {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        TrustedNetworks {
            networks: Vec::new(),
            has_unix_sockets: false,
        }
    }

    /// The set of these networks.
    ///
    /// # Errors
    ///
    /// The first text that is not a network.
    pub fn of<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, NetworkError> {
        let mut trusted = Self::none();
        for network in networks {
            trusted.add(network.as_ref())?;
        }
        Ok(trusted)
    }

    /// The set with one more network.
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv6Addr};
    /// use ringwheel::TrustedNetworks;
    ///
    /// let trusted = TrustedNetworks::none().with("2001:db8::/32")?;
    /// assert!(!trusted.contains(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    /// # Ok::<(), ringwheel::NetworkError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The text is not a network.
    pub fn with(mut self, network: &str) -> Result<Self, NetworkError> {
        self.add(network)?;
        Ok(self)
    }

    /// The set with all peers of Unix sockets. The permissions of a socket's file decide who may connect to it; an abstract name has
    /// none, and is open to every process of the machine or the container.
    #[must_use]
    pub fn with_unix_sockets(mut self) -> Self {
        self.has_unix_sockets = true;
        self
    }

    fn add(&mut self, network: &str) -> Result<(), NetworkError> {
        self.networks.push(network.parse()?);
        Ok(())
    }

    /// True if the address is in one of the networks.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// True if the peer with this address is trusted: its IP address is in one of the networks, or it has come by a Unix socket
    /// and those are trusted.
    #[must_use]
    pub fn trusts(&self, peer: &Address) -> bool {
        match peer.ip() {
            Some(ip) => self.contains(ip),
            None => self.has_unix_sockets,
        }
    }
}

/// An IP network. The bits of the address behind the prefix are zero, and it is not an IPv4 address mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.address.is_ipv4() == ip.is_ipv4() && masked(ip, self.prefix) == self.address
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(written) = address.parse::<IpAddr>() else {
            return Err(NetworkError::Address { text: text.into() });
        };
        let max = if written.is_ipv4() { 32 } else { 128 };
        let written_prefix = match prefix {
            None => max,
            Some(prefix) => parse_prefix(prefix, max).ok_or_else(|| NetworkError::Prefix {
                text: text.into(),
                max,
            })?,
        };
        let network = masked(written, written_prefix);
        if network != written {
            return Err(NetworkError::HostBits {
                text: text.into(),
                network: format!("{network}/{written_prefix}"),
            });
        }
        // A mapped IPv4 address has 96 bits in front. They are part of the prefix, or they would be zero.
        let address = network.to_canonical();
        let is_mapped = address.is_ipv4() != network.is_ipv4();
        let prefix = written_prefix - if is_mapped { 96 } else { 0 };
        Ok(Network { address, prefix })
    }
}

/// The length of a prefix in decimal, without a sign or leading zeros.
fn parse_prefix(text: &str, max: u8) -> Option<u8> {
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let prefix = text.parse().ok()?;
    (is_canonical && prefix <= max).then_some(prefix)
}

/// The address with zeros behind the prefix.
pub(crate) fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// The reason why a text is not a network for [`TrustedNetworks`].
///
/// It converts into an [`io::Error`] of kind [`io::ErrorKind::InvalidInput`], so that `?` works where servers are built.
///
/// ```
/// use ringwheel::{NetworkError, TrustedNetworks};
///
/// let error = TrustedNetworks::of(["10.0.0.0/33"]).unwrap_err();
/// assert!(matches!(error, NetworkError::Prefix { max: 32, .. }));
/// assert_eq!(error.to_string(), "`10.0.0.0/33` does not end in a prefix of 0 to 32 bits");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no IP address before the slash. A host name is not one, since nothing is looked up.
    Address {
        /// The text.
        text: String,
    },
    /// There is no number of bits behind the slash, or it is too large.
    Prefix {
        /// The text.
        text: String,
        /// The largest number of bits: 32 for IPv4, 128 for IPv6.
        max: u8,
    },
    /// The address has bits behind the prefix. It is not clear then which network is meant.
    HostBits {
        /// The text.
        text: String,
        /// The network that the address is in.
        network: String,
    },
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkError::Address { text } => {
                write!(f, "`{text}` does not begin with an IP address")
            }
            NetworkError::Prefix { text, max } => {
                write!(f, "`{text}` does not end in a prefix of 0 to {max} bits")
            }
            NetworkError::HostBits { text, network } => {
                write!(
                    f,
                    "`{text}` has bits behind its prefix; the network is `{network}`"
                )
            }
        }
    }
}

impl Error for NetworkError {}

impl From<NetworkError> for io::Error {
    fn from(error: NetworkError) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn contains(network: &str, ip: &str) -> bool {
        let trusted = TrustedNetworks::of([network]).unwrap();
        trusted.contains(ip.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("128.0.0.0/1", "255.0.0.0", "127.255.255.255"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::1", "::1", "::2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("fe80::/10", "febf::1", "fec0::"),
            ("::/0", "ffff::", "127.0.0.1"),
            ("0.0.0.0/0", "0.0.0.0", "::"),
        ] {
            assert!(contains(network, inside), "{network} {inside}");
            assert!(!contains(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn mapped_ipv4_addresses_count_as_ipv4() {
        for network in [
            "192.0.2.0/24",
            "::ffff:192.0.2.0/120",
            "::ffff:c000:200/120",
        ] {
            assert!(contains(network, "192.0.2.1"), "{network}");
            assert!(contains(network, "::ffff:192.0.2.1"), "{network}");
            assert!(!contains(network, "192.0.3.1"), "{network}");
            assert!(!contains(network, "::192.0.2.1"), "{network}");
        }
        assert!(contains("::ffff:0:0/96", "1.2.3.4"));
        assert!(contains("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!contains("::/0", "::ffff:192.0.2.1"));
    }

    /// Compares with a count of equal leading bits.
    #[test]
    fn every_prefix_of_an_address_is_a_network_of_its_own() {
        let ip: Ipv6Addr = "2001:db8:a5a5:5a5a:ffff::1".parse().unwrap();
        for prefix in 0..=128_u8 {
            let network = masked(ip.into(), prefix);
            let trusted = TrustedNetworks::of([format!("{network}/{prefix}")]).unwrap();
            assert!(trusted.contains(ip.into()));
            for bit in 0..128 {
                let other = Ipv6Addr::from_bits(ip.to_bits() ^ (1 << (127 - bit)));
                assert_eq!(trusted.contains(other.into()), bit >= u32::from(prefix));
            }
        }
    }

    #[test]
    fn texts_that_are_no_networks_are_refused() {
        for text in [
            "",
            "/",
            "/8",
            "localhost",
            "10.0.0",
            "10.0.0.0.0",
            "010.0.0.0/8",
            " 10.0.0.0/8",
            "10.0.0.0 /8",
            "[::1]",
            "fe80::1%eth0",
            "127.0.0.1:80",
            "::1::",
            "*",
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert_eq!(error, NetworkError::Address { text: text.into() });
        }
        for (text, max) in [
            ("10.0.0.0/", 32),
            ("10.0.0.0/33", 32),
            ("10.0.0.0/08", 32),
            ("10.0.0.0/+8", 32),
            ("10.0.0.0/-8", 32),
            ("10.0.0.0/8/8", 32),
            ("10.0.0.0/8 ", 32),
            ("10.0.0.0/256", 32),
            ("10.0.0.0/255.0.0.0", 32),
            ("::/129", 128),
            ("::/00", 128),
            ("::/4294967296", 128),
        ] {
            let text = text.to_owned();
            let error = text.parse::<Network>().unwrap_err();
            assert_eq!(error, NetworkError::Prefix { text, max });
        }
    }

    #[test]
    fn a_network_with_bits_behind_its_prefix_is_refused() {
        for (text, expected) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("192.0.2.1/31", "192.0.2.0/31"),
            ("0.0.0.1/0", "0.0.0.0/0"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::ffff:10.0.0.0/95", "::fffe:0:0/95"),
            ("::ffff:0.0.0.0/0", "::/0"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            let NetworkError::HostBits { network, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(network, expected);
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn unix_sockets_are_trusted_only_if_asked_for() {
        let sockets = [
            Address::Unix(None),
            Address::Unix(Some(Path::new("/run/a").into())),
            Address::Abstract(Box::from(*b"a")),
        ];
        let all_ips = TrustedNetworks::of(["0.0.0.0/0", "::/0"]).unwrap();
        for socket in sockets {
            assert!(!TrustedNetworks::none().trusts(&socket));
            assert!(!all_ips.trusts(&socket));
            assert!(TrustedNetworks::none().with_unix_sockets().trusts(&socket));
        }
        let unix = TrustedNetworks::none().with_unix_sockets();
        let ip = Address::Ip(([127, 0, 0, 1], 1).into());
        assert!(!unix.trusts(&ip));
        assert!(all_ips.trusts(&ip));
    }
}
