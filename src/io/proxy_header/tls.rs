//! The TLS between a client and its proxy, as a PROXY header tells it.

use super::tlv::{TlvReader, find, find_text};

/// The bytes before the TLVs within the value: flags and the result of the verification.
pub(super) const HEAD: usize = 5;

pub(super) const VERSION: u8 = 0x21;
pub(super) const COMMON_NAME: u8 = 0x22;
pub(super) const CIPHER: u8 = 0x23;
pub(super) const SIGNATURE_ALGORITHM: u8 = 0x24;
pub(super) const KEY_ALGORITHM: u8 = 0x25;

/// The client's connection to the proxy uses TLS.
const USES_TLS: u8 = 1;
/// The client has presented a certificate on its connection.
const CERTIFICATE_ON_CONNECTION: u8 = 2;
/// The client has presented a certificate on some connection of its TLS session.
const CERTIFICATE_IN_SESSION: u8 = 4;

/// The TLS between a client and the proxy that passes its connection on: [`ProxyHeader::tls`](crate::ProxyHeader::tls).
///
/// The proxy decrypts; the server learns from this that the client's side is encrypted, and who the client is.
///
/// ```
/// use ringwheel::{ParsedProxyHeader, ProxyHeader};
///
/// // TLS 1.3, without a certificate of the client's.
/// let mut header = ProxyHeader::unknown();
/// header.add_tlv(ProxyHeader::TLS, b"\x01\0\0\0\0\x21\0\x07TLSv1.3")?;
/// let tls = header.tls().unwrap();
/// assert_eq!(tls.version(), Some("TLSv1.3"));
/// assert!(!tls.has_client_certificate());
/// assert!(!tls.is_verified());
/// # Ok::<(), ringwheel::ProxyHeaderError>(())
/// ```
#[derive(Clone, Copy)]
pub struct ProxyTls<'a> {
    flags: u8,
    verification: u32,
    tlvs: &'a [u8],
}

impl<'a> ProxyTls<'a> {
    /// The TLS that the value of a TLV tells of; `None` if the client does not use TLS. HAProxy sends the TLV even then.
    pub(super) fn of_client(value: &'a [u8]) -> Option<Self> {
        let [flags, a, b, c, d, tlvs @ ..] = value else {
            return None;
        };
        let tls = ProxyTls {
            flags: *flags,
            verification: u32::from_be_bytes([*a, *b, *c, *d]),
            tlvs,
        };
        (flags & USES_TLS != 0).then_some(tls)
    }

    /// The version, such as `TLSv1.3`.
    #[must_use]
    pub fn version(&self) -> Option<&'a str> {
        find_text(self.tlvs, VERSION)
    }

    /// The cipher, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    #[must_use]
    pub fn cipher(&self) -> Option<&'a str> {
        find_text(self.tlvs, CIPHER)
    }

    /// The algorithm that has signed the proxy's certificate, such as `RSA-SHA256`.
    #[must_use]
    pub fn signature_algorithm(&self) -> Option<&'a str> {
        find_text(self.tlvs, SIGNATURE_ALGORITHM)
    }

    /// The algorithm of the key in the proxy's certificate, such as `RSA2048`.
    #[must_use]
    pub fn key_algorithm(&self) -> Option<&'a str> {
        find_text(self.tlvs, KEY_ALGORITHM)
    }

    /// The common name in the client's certificate. It says who the client is only if [`is_verified`](Self::is_verified): anybody
    /// can make a certificate with any name.
    #[must_use]
    pub fn client_common_name(&self) -> Option<&'a str> {
        find_text(self.tlvs, COMMON_NAME)
    }

    /// True if the client has presented a certificate, on this connection or on an earlier one of its TLS session.
    #[must_use]
    pub fn has_client_certificate(&self) -> bool {
        self.flags & (CERTIFICATE_ON_CONNECTION | CERTIFICATE_IN_SESSION) != 0
    }

    /// True if the client has presented a certificate that the proxy has verified.
    ///
    /// A [`verification_result`](Self::verification_result) of 0 is not enough: HAProxy also sends it for clients without a
    /// certificate.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.has_client_certificate() && self.verification == 0
    }

    /// The result of the verification of the client's certificate: 0 if nothing was wrong. HAProxy has OpenSSL's
    /// codes, such as 10 for a certificate that has expired.
    #[must_use]
    pub fn verification_result(&self) -> u32 {
        self.verification
    }

    /// The value of the first TLV of a type within the one about TLS.
    #[must_use]
    pub fn tlv(&self, kind: u8) -> Option<&'a [u8]> {
        find(self.tlvs, kind)
    }

    /// The types and values of all TLVs within the one about TLS, in their order.
    pub fn tlvs(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        TlvReader(self.tlvs).flatten()
    }
}

impl std::fmt::Debug for ProxyTls<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyTls")
            .field("version", &self.version())
            .field("cipher", &self.cipher())
            .field("client_common_name", &self.client_common_name())
            .field("has_client_certificate", &self.has_client_certificate())
            .field("is_verified", &self.is_verified())
            .finish_non_exhaustive()
    }
}
