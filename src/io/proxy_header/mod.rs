//! The header of the PROXY protocol: a proxy tells with it whose connection it passes on.

mod crc32c;
pub(crate) mod error;
pub(crate) mod tls;
mod tlv;
mod unix_field;
mod v1;
mod v1_fields;
mod v2;

use std::net::SocketAddr;

use super::address::Address;
use error::ProxyHeaderError;
use tls::ProxyTls;
use tlv::Tlvs;

/// The header with which a proxy begins a connection, to tell the server whose connection it passes on: the PROXY protocol in
/// version 1, a line of text, and in version 2, which is binary.
///
/// Behind a proxy every connection comes from the proxy's address. The header has the client's address, and in version 2 also
/// facts about the connection of the client to the proxy, such as TLS, as type-length-values (TLVs). The specification is
/// `proxy-protocol.txt` of HAProxy.
///
/// [`parse`](Self::parse) does no input and no output: it is handed what has arrived. Whoever reads a header must trust the peer
/// that sends it, since anybody can write any address into one; [`TrustedNetworks`](crate::TrustedNetworks) helps with that.
///
/// | limit | value | beyond it |
/// | --- | --- | --- |
/// | a line of version 1, with CR and LF | 107 bytes, as specified | [`ProxyHeaderError::LineTooLong`] |
/// | a header of version 2, with all TLVs | [`MAX_LENGTH`](Self::MAX_LENGTH), 4,096 bytes | [`ProxyHeaderError::TooLong`] |
/// | [`unique_id`](Self::unique_id) | 128 bytes, as specified | [`ProxyHeaderError::TlvLength`] |
///
/// ```
/// use std::net::SocketAddr;
/// use ringwheel::{ParsedProxyHeader, ProxyHeader};
///
/// let input = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
/// let ParsedProxyHeader::Complete { header, consumed } = ProxyHeader::parse(input)? else {
///     panic!("the header is whole");
/// };
/// let client: SocketAddr = "192.0.2.7:56324".parse().unwrap();
/// assert_eq!(header.source().unwrap(), &client);
/// assert_eq!(&input[consumed..], b"GET / HTTP/1.1\r\n");
/// # Ok::<(), ringwheel::ProxyHeaderError>(())
/// ```
///
/// A proxy makes a header and writes it:
///
/// ```
/// use std::net::SocketAddr;
/// use ringwheel::{ParsedProxyHeader, ProxyHeader};
///
/// let source: SocketAddr = "[2001:db8::7]:56324".parse().unwrap();
/// let destination: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
/// let mut header = ProxyHeader::new(source, destination)?;
/// header.add_tlv(ProxyHeader::AUTHORITY, b"chat.example")?;
/// header.add_checksum()?;
///
/// let mut output = Vec::new();
/// header.encode_v2(&mut output);
/// let consumed = output.len();
/// assert_eq!(ProxyHeader::parse(&output)?, ParsedProxyHeader::Complete { header, consumed });
/// # Ok::<(), ringwheel::ProxyHeaderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    version: ProxyVersion,
    is_local: bool,
    has_checksum: bool,
    /// Source and destination, which are of one family and can be written.
    addresses: Option<[Address; 2]>,
    tlvs: Tlvs,
}

/// A version of the PROXY protocol, so that logs can tell how a proxy speaks: [`ProxyHeader::version`].
///
/// ```
/// use ringwheel::{ParsedProxyHeader, ProxyHeader, ProxyVersion};
///
/// let parsed = ProxyHeader::parse(b"PROXY UNKNOWN\r\n");
/// let Ok(ParsedProxyHeader::Complete { header, .. }) = parsed else {
///     panic!("the header is whole");
/// };
/// assert_eq!(header.version(), ProxyVersion::V1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// Version 1, a line of text.
    V1,
    /// Version 2, which is binary.
    V2,
}

/// The result of [`ProxyHeader::parse`] for input that is not wrong: a header, or the number of bytes to read before the next try.
///
/// ```
/// use std::io::{self, Read};
/// use ringwheel::{ParsedProxyHeader, ProxyHeader};
///
/// /// Reads a header, and not a byte of the client's.
/// fn read_header(stream: &mut impl Read) -> io::Result<ProxyHeader> {
///     let mut input = Vec::new();
///     loop {
///         match ProxyHeader::parse(&input).map_err(io::Error::other)? {
///             ParsedProxyHeader::Complete { header, .. } => return Ok(header),
///             ParsedProxyHeader::NeedMore { at_least } => {
///                 let length = input.len();
///                 input.resize(length + at_least, 0);
///                 stream.read_exact(&mut input[length..])?;
///             }
///         }
///     }
/// }
///
/// let mut stream = &b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nhello"[..];
/// assert!(read_header(&mut stream)?.source().is_some());
/// assert_eq!(stream, b"hello");
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedProxyHeader {
    /// The header is whole.
    Complete {
        /// The header.
        header: ProxyHeader,
        /// The bytes of the input that the header takes. The bytes behind it are the client's.
        consumed: usize,
    },
    /// The input is the beginning of a header.
    NeedMore {
        /// The least number of bytes that are missing, at least 1. A reader that asks for no more never reads beyond the header.
        at_least: usize,
    },
}

impl ProxyHeader {
    /// The most bytes of a header of version 2, with its first 16: 4,096.
    ///
    /// The specification lets a header have 65,551 bytes, and asks senders to stay within 536. This is enough for paths of Unix
    /// sockets, names and a small certificate, and fits into the smallest receive buffer
    /// ([`ServerBuilder::receive_buffer`](crate::ServerBuilder::receive_buffer)).
    pub const MAX_LENGTH: usize = 4096;

    /// The most bytes of a unique ID: 128 (section 2.2.5).
    pub const MAX_UNIQUE_ID: usize = 128;

    /// The type of the TLV with the application's protocol (section 2.2.1). See [`alpn`](Self::alpn).
    pub const ALPN: u8 = 0x01;
    /// The type of the TLV with the host name that the client asked for (section 2.2.2). See [`authority`](Self::authority).
    pub const AUTHORITY: u8 = 0x02;
    /// The type of the TLV with the connection's ID (section 2.2.5). See [`unique_id`](Self::unique_id).
    pub const UNIQUE_ID: u8 = 0x05;
    /// The type of the TLV about the client's TLS (section 2.2.6). See [`tls`](Self::tls).
    pub const TLS: u8 = 0x20;
    /// The type of the TLV with the network namespace (section 2.2.7). See [`network_namespace`](Self::network_namespace).
    pub const NETWORK_NAMESPACE: u8 = 0x30;

    /// The type of the TLV with the checksum (section 2.2.3).
    const CHECKSUM: u8 = 0x03;
    /// The type of a TLV that only fills space (section 2.2.4).
    const PADDING: u8 = 0x04;

    /// Parses the header at the front of the input, in either version. The input begins with the connection's first byte.
    ///
    /// More input is asked for until the header is whole; it is then parsed again from its first byte. Bytes behind the header
    /// are not looked at.
    ///
    /// # Errors
    ///
    /// The peer should be disconnected. An error in a line of version 1, or in the first 16 bytes of version 2, comes with the first
    /// byte that cannot belong to a header, even if more is missing. The rest of version 2 is judged once it is whole.
    ///
    /// ```
    /// use ringwheel::{ParsedProxyHeader, ProxyHeader, ProxyHeaderError};
    ///
    /// assert_eq!(ProxyHeader::parse(b"PROXY TC"), Ok(ParsedProxyHeader::NeedMore { at_least: 7 }));
    /// assert_eq!(ProxyHeader::parse(b"G"), Err(ProxyHeaderError::Signature));
    /// assert_eq!(ProxyHeader::parse(b"PROXY TCP4 192.0.2.256"), Err(ProxyHeaderError::Line { position: 21 }));
    /// ```
    pub fn parse(input: &[u8]) -> Result<ParsedProxyHeader, ProxyHeaderError> {
        match input.first() {
            None => Ok(ParsedProxyHeader::NeedMore {
                at_least: v1::MIN_LINE,
            }),
            Some(b'P') => v1::parse(input),
            Some(_) => v2::parse(input),
        }
    }

    /// A header for the connection from `source` to `destination`.
    ///
    /// Both are IPv4, both IPv6, or both Unix sockets. The scope and the flow label of an IPv6 address are left out, since the
    /// protocol has no place for them.
    ///
    /// # Errors
    ///
    /// [`ProxyHeaderError::MixedAddresses`] if they are not of one family. [`ProxyHeaderError::Address`] for a Unix socket whose
    /// path is empty, has more than 108 bytes or a zero byte, or whose abstract name is empty, has more than 107 bytes or
    /// ends in a zero byte.
    pub fn new(
        source: impl Into<Address>,
        destination: impl Into<Address>,
    ) -> Result<Self, ProxyHeaderError> {
        let addresses = [source.into(), destination.into()].map(without_scope);
        match &addresses {
            [Address::Ip(source), Address::Ip(destination)] => {
                if source.is_ipv4() != destination.is_ipv4() {
                    return Err(ProxyHeaderError::MixedAddresses);
                }
            }
            [Address::Ip(_), _] | [_, Address::Ip(_)] => {
                return Err(ProxyHeaderError::MixedAddresses);
            }
            [source, destination] => {
                unix_field::encode(source)?;
                unix_field::encode(destination)?;
            }
        }
        Ok(Self::from_parts(ProxyVersion::V2, Some(addresses)))
    }

    /// A header for a connection that the proxy opens for itself, such as a health check.
    ///
    /// Version 1 cannot say this, and has the word `UNKNOWN` for it.
    #[must_use]
    pub fn local() -> Self {
        ProxyHeader {
            is_local: true,
            ..Self::unknown()
        }
    }

    /// A header for a connection whose addresses the proxy does not know, or cannot tell.
    #[must_use]
    pub fn unknown() -> Self {
        Self::from_parts(ProxyVersion::V2, None)
    }

    fn from_parts(version: ProxyVersion, addresses: Option<[Address; 2]>) -> Self {
        ProxyHeader {
            version,
            is_local: false,
            has_checksum: false,
            addresses,
            tlvs: Tlvs::default(),
        }
    }

    /// The version in which the header came; version 2 for one that was made here.
    #[must_use]
    pub fn version(&self) -> ProxyVersion {
        self.version
    }

    /// True if the proxy has opened the connection for itself, as health checks do: the command `LOCAL` of version 2.
    ///
    /// Such a header has no addresses and no TLVs: the connection's own addresses are the true ones.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// The client's address; `None` if the proxy does not tell it.
    ///
    /// It is `None` for [`is_local`](Self::is_local) and for connections whose family is not known to the proxy. The connection's
    /// own addresses are to be used then. HAProxy 2.6 also sends such headers for clients that reach it by a Unix socket.
    #[must_use]
    pub fn source(&self) -> Option<&Address> {
        self.addresses.as_ref().map(|[source, _]| source)
    }

    /// The address that the client has connected to; `None` if and only if [`source`](Self::source) is.
    #[must_use]
    pub fn destination(&self) -> Option<&Address> {
        self.addresses.as_ref().map(|[_, destination]| destination)
    }

    /// The protocol that client and proxy have negotiated by TLS (ALPN), such as `h2`.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tlv(Self::ALPN)
    }

    /// The host name that the client has asked the proxy for, with TLS the server name (SNI). The client chooses it.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.tlvs.text(Self::AUTHORITY)
    }

    /// The ID that the proxy has given to the connection, to find it in the logs of both; at most 128 bytes of any kind.
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.tlv(Self::UNIQUE_ID)
    }

    /// The network namespace of the proxy that the client has reached.
    #[must_use]
    pub fn network_namespace(&self) -> Option<&str> {
        self.tlvs.text(Self::NETWORK_NAMESPACE)
    }

    /// The TLS between client and proxy; `None` if the proxy tells nothing about it, or tells that the client does not use TLS.
    #[must_use]
    pub fn tls(&self) -> Option<ProxyTls<'_>> {
        self.tlv(Self::TLS).and_then(ProxyTls::of_client)
    }

    /// The value of the first TLV of a type.
    #[must_use]
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        self.tlvs.get(kind)
    }

    /// The types and values of all TLVs in their order, without padding and the checksum. Types that this crate does not know
    /// are among them, and may come more than once.
    ///
    /// ```
    /// use ringwheel::ProxyHeader;
    ///
    /// let mut header = ProxyHeader::unknown();
    /// header.add_tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9")?;
    /// assert_eq!(header.tlvs().collect::<Vec<_>>(), [(0xEA, &b"\x01vpce-08d2bf15fac5001c9"[..])]);
    /// # Ok::<(), ringwheel::ProxyHeaderError>(())
    /// ```
    pub fn tlvs(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.tlvs.iter()
    }

    /// True if the header came with a checksum, which was then right, or is to be written with one.
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.has_checksum
    }

    /// Adds a TLV behind the others, for [`encode_v2`](Self::encode_v2).
    ///
    /// # Errors
    ///
    /// The same as for a TLV that is parsed; and [`ProxyHeaderError::TlvNotAllowed`] for the types 0x03 (see
    /// [`add_checksum`](Self::add_checksum)) and 0x04 (padding), and for all types if the header [is local](Self::is_local). The
    /// header stays as it is.
    ///
    /// ```
    /// use ringwheel::{ProxyHeader, ProxyHeaderError};
    ///
    /// let mut header = ProxyHeader::unknown();
    /// header.add_tlv(ProxyHeader::ALPN, b"h2")?;
    /// let twice = header.add_tlv(ProxyHeader::ALPN, b"h2");
    /// assert_eq!(twice, Err(ProxyHeaderError::TlvRepeated { kind: ProxyHeader::ALPN }));
    /// # Ok::<(), ProxyHeaderError>(())
    /// ```
    pub fn add_tlv(&mut self, kind: u8, value: &[u8]) -> Result<(), ProxyHeaderError> {
        if self.is_local || matches!(kind, Self::CHECKSUM | Self::PADDING) {
            return Err(ProxyHeaderError::TlvNotAllowed { kind });
        }
        v2::check_length(self.v2_length().saturating_add(Tlvs::HEAD + value.len()))?;
        self.tlvs.add(kind, value)
    }

    /// Has [`encode_v2`](Self::encode_v2) write a checksum (CRC-32C), with which the receiver notices changed bytes.
    ///
    /// # Errors
    ///
    /// [`ProxyHeaderError::TooLong`] if there is no room for its 7 bytes.
    pub fn add_checksum(&mut self) -> Result<(), ProxyHeaderError> {
        if !self.has_checksum {
            v2::check_length(self.v2_length() + v2::CHECKSUM_LENGTH)?;
            self.has_checksum = true;
        }
        Ok(())
    }

    /// Appends the header to `output` in version 1, at most 107 bytes.
    ///
    /// Version 1 knows only IP addresses. Any other header becomes `PROXY UNKNOWN`, and TLVs are left out.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use ringwheel::ProxyHeader;
    ///
    /// let client = SocketAddr::from(([192, 0, 2, 7], 56324));
    /// let server = SocketAddr::from(([198, 51, 100, 1], 443));
    /// let mut output = Vec::new();
    /// ProxyHeader::new(client, server)?.encode_v1(&mut output);
    /// assert_eq!(output, b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n");
    /// # Ok::<(), ringwheel::ProxyHeaderError>(())
    /// ```
    pub fn encode_v1(&self, output: &mut Vec<u8>) {
        v1::encode(self.addresses.as_ref(), output);
    }

    /// Appends the header to `output` in version 2, at most [`MAX_LENGTH`](Self::MAX_LENGTH) bytes. The checksum, if there is
    /// one, is the last TLV.
    pub fn encode_v2(&self, output: &mut Vec<u8>) {
        v2::encode(self, output);
    }

    /// The bytes of the header in version 2.
    fn v2_length(&self) -> usize {
        v2::length(self)
    }
}

/// The address without the scope and the flow label of IPv6.
fn without_scope(address: Address) -> Address {
    match address {
        Address::Ip(address) => SocketAddr::new(address.ip(), address.port()).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
