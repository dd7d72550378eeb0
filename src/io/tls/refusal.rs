//! The error of a connection whose peer breaks TLS, or does not speak it.

use std::error::Error;
use std::fmt;
use std::io;

/// The first bytes of HTTP requests: methods, and the preface of HTTP/2.
const HTTP: [&[u8]; 10] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
];

/// The error for rustls's error.
pub(super) fn refused(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The error for rustls's error about the first bytes of a connection.
pub(super) fn refused_from_the_start(error: rustls::Error, received: &[u8]) -> io::Error {
    if !matches!(error, rustls::Error::InvalidMessage(_)) {
        return refused(error);
    }
    // The bytes may end within a method.
    let is_http = HTTP.iter().any(|method| {
        let length = method.len().min(received.len());
        method[..length] == received[..length]
    });
    let error = NotTls { is_http, error };
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The peer's first bytes are no TLS.
#[derive(Debug)]
struct NotTls {
    is_http: bool,
    error: rustls::Error,
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_http {
            true => "the peer speaks HTTP, not TLS",
            false => "the peer does not speak TLS",
        })
    }
}

impl Error for NotTls {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
