//! Headers that HAProxy 2.6.12 has sent, with `send-proxy`, `send-proxy-v2`, `send-proxy-v2-ssl-cn` and `proxy-v2-options`.

/// A client over IPv4.
pub(super) const V1_TCP4: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 55874 7101\r\n";
/// A client over IPv6.
pub(super) const V1_TCP6: &[u8] = b"PROXY TCP6 ::1 ::1 38812 7102\r\n";
/// A client over IPv4, of a socket that listens on both.
pub(super) const V1_MAPPED: &[u8] = b"PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 57850 7103\r\n";
/// A client over a Unix socket.
pub(super) const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// A client over IPv4.
pub(super) const V2_TCP4: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0C\x7F\0\0\x01\x7F\0\0\x01\x8E\xB8\x1B\
    \xC7";
/// A client over IPv6.
pub(super) const V2_TCP6: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!!\0$\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\x01\xC0`\x1B\xC8";
/// A client over IPv4, of a socket that listens on both.
pub(super) const V2_MAPPED: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!!\0$\0\0\0\0\0\0\0\0\0\0\xFF\xFF\x7F\0\0\x01\0\0\
    \0\0\0\0\0\0\0\0\xFF\xFF\x7F\0\0\x01\x85b\x1B\xC9";
/// A client over a Unix socket; health checks are the same.
pub(super) const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n \0\0\0";
/// A health check with a checksum.
pub(super) const V2_LOCAL_CHECKSUM: &[u8] = b"\r\n\r\n\0\r\nQUIT\n \0\0\x07\x03\0\x04\xA9\xB8~\x8F";
/// A checksum and a unique ID.
pub(super) const V2_UNIQUE_ID: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0D\x7F\0\0\x01\x7F\0\0\x01\x8F\x14\x1B\xD1\
    \x03\0\x04\x89\x0B\x1B\xDC\x05\0.7F000001:8F14_7F000001:1BD1_6B0EB8B7_\
    000C:064A";
/// All options, and a client without TLS.
pub(super) const V2_NO_TLS: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0L\x7F\0\0\x01\x7F\0\0\x01\xA5\xCE\x1B\xDC\
    \x03\0\x04Y\n\xEAM\x05\0.7F000001:A5CE_7F000001:1BDC_6B0EB8B7_000D:064\
    A \0\x05\0\0\0\0\0";
/// All options, and a client without a certificate.
pub(super) const V2_TLS: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0\xA0\x7F\0\0\x01\x7F\0\0\x01\x94\x9C\x1B\
    \xDB\x03\0\x04\x15\\\x94\xDC\x01\0\x08http/1.1\x02\0\x0Cchat.example\
    \x05\0.7F000001:949C_7F000001:1BDB_6B0EB8B7_000E:064A \0?\x01\0\0\0\0!\
    \0\x07TLSv1.3%\0\x07RSA2048$\0\nRSA-SHA256#\0\x16TLS_AES_256_GCM_SHA38\
    4";
/// All options, and a client with a certificate that was verified.
pub(super) const V2_CERTIFICATE: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0\xA2\x7F\0\0\x01\x7F\0\0\x01\x94\xAA\x1B\
    \xDB\x03\0\x04p0\xFB(\x02\0\x0Cchat.example\x05\0.7F000001:94AA_7F0000\
    01:1BDB_6B0EB8B7_000F:064A \0L\x07\0\0\0\0!\0\x07TLSv1.2\"\0\x05J\xC3\
    \xB6rg%\0\x07RSA2048$\0\nRSA-SHA256#\0\x1BECDHE-RSA-AES256-GCM-SHA384";

/// All of them.
pub(super) const ALL: [&[u8]; 13] = [
    V1_TCP4,
    V1_TCP6,
    V1_MAPPED,
    V1_UNKNOWN,
    V2_TCP4,
    V2_TCP6,
    V2_MAPPED,
    V2_LOCAL,
    V2_LOCAL_CHECKSUM,
    V2_UNIQUE_ID,
    V2_NO_TLS,
    V2_TLS,
    V2_CERTIFICATE,
];
