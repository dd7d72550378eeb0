//! The reasons for which a server refuses an opening handshake, and the answer to each.

use std::error::Error;
use std::fmt;

use super::{ALLOWED_METHODS, SUPPORTED_VERSION};
use crate::http::Response;
use crate::http::head::HeadFault;
use crate::http::request::RequestFault;

/// The reason for which a server refused an opening handshake. The request was answered with [`status`](Self::status), and the
/// connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes do not begin an HTTP request: 400.
    RequestLine,
    /// The request line alone is longer than the head may be: 414.
    RequestLineTooLong,
    /// The head is longer than [`WebSocket::max_head`](crate::websocket::WebSocket::max_head): 431.
    HeadTooLong,
    /// There are more headers than [`WebSocket::max_headers`](crate::websocket::WebSocket::max_headers): 431.
    TooManyHeaders,
    /// A header is malformed, folded, or not ended by CR and LF: 400.
    Header,
    /// The request is of another major version of HTTP than 1: 505. A later minor version than 1.1 counts as 1.1.
    HttpVersion,
    /// The method is none of GET, HEAD and OPTIONS, though RFC 9110 or RFC 5789 has it: 405.
    Method,
    /// The method is not known at all, or longer than 16 letters: 501.
    UnknownMethod,
    /// The request target is neither a path nor an `http` URI: 400.
    Target,
    /// `Host` is missing, repeated or malformed: 400. Only HTTP/1.0 may leave it out.
    Host,
    /// The request is for a host that is not among the server's [`Hosts`](crate::websocket::Hosts): 421.
    UnknownHost,
    /// A body is announced: 400.
    Body,
    /// No upgrade to WebSocket is asked for, or none that HTTP/1.0 knows, and [`Accept::http`](crate::websocket::Accept::http) had
    /// no answer: 426.
    NoUpgrade,
    /// `Upgrade` names `websocket`, but is no list of protocols: 400.
    Upgrade,
    /// `Connection` lacks the option `Upgrade`, which a proxy may have removed, or is no list of options: 400.
    Connection,
    /// `Sec-WebSocket-Version` is not 13: 426.
    WebSocketVersion,
    /// `Sec-WebSocket-Key` is missing, repeated or not 16 bytes in base64: 400.
    Key,
    /// `Sec-WebSocket-Protocol` is no list of tokens, or has one of them twice: 400.
    Subprotocols,
    /// `Sec-WebSocket-Extensions` is no list of extensions with their parameters: 400. One that is only unknown, or has unknown
    /// parameters, is declined.
    Extensions,
    /// [`Origins`](crate::websocket::Origins) do not allow the origin: 403.
    Origin,
    /// [`Accept::upgrade`](crate::websocket::Accept::upgrade) rejected the request.
    Rejected {
        /// The status of its response.
        status: u16,
    },
    /// [`Accept::upgrade`](crate::websocket::Accept::upgrade) chose a subprotocol that was not offered: 500.
    SubprotocolNotOffered,
    /// A response of the application cannot be sent as it is: 500.
    Unsendable,
}

impl HandshakeError {
    /// The status code that the request was answered with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            HandshakeError::RequestLine
            | HandshakeError::Header
            | HandshakeError::Target
            | HandshakeError::Host
            | HandshakeError::Body
            | HandshakeError::Upgrade
            | HandshakeError::Connection
            | HandshakeError::Key
            | HandshakeError::Subprotocols
            | HandshakeError::Extensions => 400,
            HandshakeError::Origin => 403,
            HandshakeError::Method => 405,
            HandshakeError::RequestLineTooLong => 414,
            HandshakeError::UnknownHost => 421,
            HandshakeError::NoUpgrade | HandshakeError::WebSocketVersion => 426,
            HandshakeError::HeadTooLong | HandshakeError::TooManyHeaders => 431,
            HandshakeError::SubprotocolNotOffered | HandshakeError::Unsendable => 500,
            HandshakeError::UnknownMethod => 501,
            HandshakeError::HttpVersion => 505,
            HandshakeError::Rejected { status } => *status,
        }
    }

    /// The answer to the peer; for a rejection the application has one of its own.
    pub(super) fn response(&self) -> Response {
        let response = Response::text(self.status(), format!("{self}\n"));
        match self {
            HandshakeError::Method => response.header("Allow", ALLOWED_METHODS),
            HandshakeError::WebSocketVersion => {
                response.header("Sec-WebSocket-Version", SUPPORTED_VERSION)
            }
            _ => response,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeError::RequestLine => "not an HTTP request",
            HandshakeError::RequestLineTooLong => "the request line is too long",
            HandshakeError::HeadTooLong => "the request's head is too long",
            HandshakeError::TooManyHeaders => "the request has too many headers",
            HandshakeError::Header => "a header is malformed",
            HandshakeError::HttpVersion => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            HandshakeError::Method => "only GET, HEAD and OPTIONS are allowed here",
            HandshakeError::UnknownMethod => "the method is not known here",
            HandshakeError::Target => "the request target is malformed",
            HandshakeError::Host => "the Host header is missing, repeated or malformed",
            HandshakeError::UnknownHost => "the request is for another host",
            HandshakeError::Body => "a request with a body is not understood here",
            HandshakeError::NoUpgrade => {
                "this is a WebSocket server: ask for an upgrade, in HTTP/1.1"
            }
            HandshakeError::Upgrade => "the Upgrade header is malformed",
            HandshakeError::Connection => "the Connection header does not have the option Upgrade",
            HandshakeError::WebSocketVersion => "the WebSocket version is not 13",
            HandshakeError::Key => "Sec-WebSocket-Key is not 16 bytes in base64, once",
            HandshakeError::Subprotocols => {
                "an offered subprotocol is not a token, or offered twice"
            }
            HandshakeError::Extensions => "the Sec-WebSocket-Extensions header is malformed",
            HandshakeError::Origin => "the origin is not allowed",
            HandshakeError::Rejected { status } => {
                return write!(f, "the request was rejected with status {status}");
            }
            HandshakeError::SubprotocolNotOffered => {
                "the server chose a subprotocol that was not offered"
            }
            HandshakeError::Unsendable => "the server had an answer that cannot be sent",
        })
    }
}

impl Error for HandshakeError {}

impl From<RequestFault> for HandshakeError {
    fn from(fault: RequestFault) -> Self {
        match fault {
            RequestFault::Line => HandshakeError::RequestLine,
            RequestFault::Version => HandshakeError::HttpVersion,
            RequestFault::TooManyFields => HandshakeError::TooManyHeaders,
            RequestFault::Field => HandshakeError::Header,
            RequestFault::Method => HandshakeError::Method,
            RequestFault::UnknownMethod => HandshakeError::UnknownMethod,
            RequestFault::Target => HandshakeError::Target,
            RequestFault::Host => HandshakeError::Host,
        }
    }
}

impl From<HeadFault> for HandshakeError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::FirstLine => HandshakeError::RequestLine,
            HeadFault::FirstLineTooLong => HandshakeError::RequestLineTooLong,
            HeadFault::MethodTooLong => HandshakeError::UnknownMethod,
            HeadFault::Field => HandshakeError::Header,
            HeadFault::TooLong => HandshakeError::HeadTooLong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::Form;

    #[test]
    fn every_refusal_says_why_and_ends_the_connection() {
        let errors = [
            HandshakeError::RequestLine,
            HandshakeError::RequestLineTooLong,
            HandshakeError::HeadTooLong,
            HandshakeError::TooManyHeaders,
            HandshakeError::Header,
            HandshakeError::HttpVersion,
            HandshakeError::Method,
            HandshakeError::UnknownMethod,
            HandshakeError::Target,
            HandshakeError::Host,
            HandshakeError::UnknownHost,
            HandshakeError::Body,
            HandshakeError::NoUpgrade,
            HandshakeError::Upgrade,
            HandshakeError::Connection,
            HandshakeError::WebSocketVersion,
            HandshakeError::Key,
            HandshakeError::Subprotocols,
            HandshakeError::Extensions,
            HandshakeError::Origin,
            HandshakeError::SubprotocolNotOffered,
            HandshakeError::Unsendable,
        ];
        for error in errors {
            let response =
                String::from_utf8(error.response().write(&Form::default()).unwrap()).unwrap();
            let status_line = format!("HTTP/1.1 {} ", error.status());
            assert!(response.starts_with(&status_line), "{response}");
            assert!(response.contains("close\r\n"), "{response}");
            assert!(response.ends_with(&format!("\r\n\r\n{error}\n")));
        }
    }
}
