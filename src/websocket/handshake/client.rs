//! The client's side of the handshake: it writes the request and checks the response.

use std::error::Error;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{RESERVED, SUPPORTED_VERSION, accept_value};
use crate::http::authority::Authority;
use crate::http::fields::{FieldLines, FieldSection, is_field_value, is_token, write_field};
use crate::http::head::{
    HeadFault, HeadLimits, HeadSearch, Place, parse_status_line, split_first_line,
};
use crate::http::request::Target;

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientRequest<'a> {
    /// The server's host, with the port if it is not the scheme's default.
    pub(crate) host: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// The subprotocols that are offered, the preferred ones first.
    pub(crate) subprotocols: &'a [String],
    /// The value of `Sec-WebSocket-Extensions`.
    pub(crate) extensions: Option<&'a str>,
    /// Further headers: an origin, an authorization.
    pub(crate) headers: &'a [(String, String)],
    /// Chosen at random for each connection.
    pub(crate) key: [u8; 16],
}

impl ClientRequest<'_> {
    /// The request as bytes (RFC 6455 section 4.1).
    ///
    /// # Errors
    /// The part of the request that cannot be sent.
    pub(crate) fn write(&self) -> Result<Vec<u8>, ClientHandshakeError> {
        let fields = self.check()?;
        let mut text = Vec::with_capacity(512);
        text.extend_from_slice(format!("GET {} HTTP/1.1\r\n", self.target).as_bytes());
        write_field(&mut text, "Host", self.host);
        text.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
        write_field(&mut text, "Sec-WebSocket-Key", &self.key_value());
        write_field(&mut text, "Sec-WebSocket-Version", SUPPORTED_VERSION);
        if !self.subprotocols.is_empty() {
            let offer = self.subprotocols.join(", ");
            write_field(&mut text, "Sec-WebSocket-Protocol", &offer);
        }
        if let Some(extensions) = self.extensions {
            write_field(&mut text, "Sec-WebSocket-Extensions", extensions);
        }
        text.extend_from_slice(fields.text());
        text.extend_from_slice(b"\r\n");
        Ok(text)
    }

    /// Checks the user's values, and returns the further headers.
    fn check(&self) -> Result<FieldLines, ClientHandshakeError> {
        const OWN: [&str; 3] = ["host", "sec-websocket-key", "sec-websocket-version"];
        if Authority::parse(self.host).is_none() {
            return Err(ClientHandshakeError::InvalidHost);
        }
        if !self.target.starts_with('/') || Target::parse(self.target).is_none() {
            return Err(ClientHandshakeError::InvalidTarget);
        }
        let mut offered = self.subprotocols.iter().enumerate();
        let is_unique = |(index, name)| !self.subprotocols[..index].contains(name);
        if !offered.all(|(index, name)| is_token(name.as_bytes()) && is_unique((index, name))) {
            return Err(ClientHandshakeError::InvalidSubprotocol);
        }
        let mut fields = FieldLines::default();
        for (name, value) in self.headers {
            if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                return Err(ClientHandshakeError::InvalidHeader);
            }
            fields.add(name, value);
        }
        let is_valid =
            fields.check_without(&RESERVED).is_ok() && self.extensions.is_none_or(is_field_value);
        is_valid
            .then_some(fields)
            .ok_or(ClientHandshakeError::InvalidHeader)
    }

    fn key_value(&self) -> String {
        STANDARD.encode(self.key)
    }
}

/// The agreement of client and server, from the client's point of view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Established {
    /// Bytes of the response; frames may follow.
    pub(crate) consumed: usize,
    /// The one that the server chose of those offered.
    pub(crate) subprotocol: Option<Box<str>>,
    /// The value of `Sec-WebSocket-Extensions`, only if extensions were offered.
    pub(crate) extensions: Option<String>,
}

/// The client's side of a handshake that is under way. Its cost is linear in the input, as that of
/// [`Handshake`](super::Handshake).
#[derive(Debug)]
pub(crate) struct ClientHandshake {
    search: HeadSearch,
    /// Bytes of interim responses, behind which the next head begins.
    begun: usize,
    interim_responses: u8,
}

impl ClientHandshake {
    /// The most interim responses before the response. One or two are common.
    const MAX_INTERIM: u8 = 8;

    pub(crate) fn new() -> Self {
        ClientHandshake {
            search: HeadSearch::new(Place::StatusLine),
            begun: 0,
            interim_responses: 0,
        }
    }

    /// Looks for the response to `request` at the front of `input`, which begins with the connection's first byte each time,
    /// and checks it (RFC 6455 section 4.1). `None` while it is not whole. Do not call it again after any other result.
    ///
    /// The `limits` are those of each head. Interim responses, with another status from 100 to 199 than 101, are skipped, as
    /// many as [`MAX_INTERIM`](Self::MAX_INTERIM).
    pub(crate) fn read_response(
        &mut self,
        input: &[u8],
        limits: &HeadLimits,
        request: &ClientRequest<'_>,
    ) -> Result<Option<Established>, ClientHandshakeError> {
        let Some(head) = self.find_response(input, limits.bytes)? else {
            return Ok(None);
        };
        let (_, lines) = split_first_line(head).ok_or(ClientHandshakeError::Malformed)?;
        let mut storage = limits.storage(head.len());
        let fields = FieldSection::parse(lines, &mut storage).map_err(|error| match error {
            httparse::Error::TooManyHeaders => ClientHandshakeError::TooLong,
            _ => ClientHandshakeError::Malformed,
        })?;
        check_response(&fields, request)?;
        Ok(Some(Established {
            consumed: self.begun + head.len(),
            subprotocol: chosen_subprotocol(&fields, request)?,
            extensions: agreed_extensions(&fields, request)?,
        }))
    }

    /// The head of the response that switches protocols, behind the interim ones; `None` while it is not whole.
    fn find_response<'a>(
        &mut self,
        input: &'a [u8],
        limit: usize,
    ) -> Result<Option<&'a [u8]>, ClientHandshakeError> {
        loop {
            let rest = &input[self.begun..];
            let Some(place) = self.search.find_head(rest, limit)? else {
                return Ok(None);
            };
            let head = &rest[place];
            match split_first_line(head).and_then(|(line, _)| parse_status_line(line)) {
                Some((1.., 101)) => return Ok(Some(head)),
                // RFC 9110 section 15.2: a client understands them, whether it expects one or not.
                Some((1.., 100..=199)) if self.interim_responses < Self::MAX_INTERIM => {
                    self.interim_responses += 1;
                    self.begun += head.len();
                    self.search = HeadSearch::new(Place::StatusLine);
                }
                Some((1.., 100..=199)) => return Err(ClientHandshakeError::TooLong),
                Some((0, 100..=199)) | None => return Err(ClientHandshakeError::Malformed),
                Some((_, status)) => return Err(ClientHandshakeError::Status(status)),
            }
        }
    }
}

fn check_response(
    fields: &FieldSection<'_>,
    request: &ClientRequest<'_>,
) -> Result<(), ClientHandshakeError> {
    let upgrade = fields.sole("Upgrade");
    if !upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return Err(ClientHandshakeError::Upgrade);
    }
    if !fields.lists("Connection", "upgrade") {
        return Err(ClientHandshakeError::Connection);
    }
    let expected = accept_value(request.key_value().as_bytes());
    if fields.sole("Sec-WebSocket-Accept") != Some(expected.as_bytes()) {
        return Err(ClientHandshakeError::Accept);
    }
    Ok(())
}

fn chosen_subprotocol(
    fields: &FieldSection<'_>,
    request: &ClientRequest<'_>,
) -> Result<Option<Box<str>>, ClientHandshakeError> {
    const NAME: &str = "Sec-WebSocket-Protocol";
    if fields.values(NAME).next().is_none() {
        return Ok(None);
    }
    fields
        .sole_text(NAME)
        .filter(|chosen| request.subprotocols.iter().any(|offered| offered == chosen))
        .map(|chosen| Some(chosen.into()))
        .ok_or(ClientHandshakeError::Subprotocol)
}

fn agreed_extensions(
    fields: &FieldSection<'_>,
    request: &ClientRequest<'_>,
) -> Result<Option<String>, ClientHandshakeError> {
    let values = fields.values("Sec-WebSocket-Extensions");
    let values: Vec<_> = values.filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return Ok(None);
    }
    // RFC 9110 section 5.2: repeated fields are one list.
    String::from_utf8(values.join(&b", "[..]))
        .ok()
        .filter(|_| request.extensions.is_some())
        .map(Some)
        .ok_or(ClientHandshakeError::Extensions)
}

/// The reasons for which a client's opening handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientHandshakeError {
    /// The host to ask is malformed.
    InvalidHost,
    /// The target to ask for is not a path.
    InvalidTarget,
    /// A subprotocol to offer is not a token, or is offered twice.
    InvalidSubprotocol,
    /// A header to send is malformed, or is written automatically.
    InvalidHeader,
    /// The answer is not HTTP/1.1.
    Malformed,
    /// The answer's head is longer than 8 KiB or has more than 64 headers, or more than 8 interim answers (status 100 to 199) come
    /// before it.
    TooLong,
    /// The answer has another status than 101 (Switching Protocols).
    Status(
        /// The status code.
        u16,
    ),
    /// The answer does not switch to `websocket`.
    Upgrade,
    /// The answer's `Connection` lacks the option `Upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is missing, or is not the value for the key that was sent.
    Accept,
    /// The server chose a subprotocol that was not offered.
    Subprotocol,
    /// The server uses an extension that was not offered.
    Extensions,
}

impl fmt::Display for ClientHandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientHandshakeError::InvalidHost => "the host to connect to is malformed",
            ClientHandshakeError::InvalidTarget => "the target to ask for is not a path",
            ClientHandshakeError::InvalidSubprotocol => {
                "a subprotocol to offer is not a token, or is offered twice"
            }
            ClientHandshakeError::InvalidHeader => "a header to send is malformed or reserved",
            ClientHandshakeError::Malformed => "the answer is not HTTP/1.1",
            ClientHandshakeError::TooLong => "the answer's head is too long",
            ClientHandshakeError::Status(status) => {
                return write!(f, "the server answered with status {status}");
            }
            ClientHandshakeError::Upgrade => "the server does not switch to WebSocket",
            ClientHandshakeError::Connection => "the answer's Connection is not Upgrade",
            ClientHandshakeError::Accept => "the server has not understood the key",
            ClientHandshakeError::Subprotocol => {
                "the server chose a subprotocol that was not offered"
            }
            ClientHandshakeError::Extensions => "the server uses an extension that was not offered",
        })
    }
}

impl Error for ClientHandshakeError {}

impl From<HeadFault> for ClientHandshakeError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::FirstLine | HeadFault::MethodTooLong | HeadFault::Field => {
                ClientHandshakeError::Malformed
            }
            HeadFault::FirstLineTooLong | HeadFault::TooLong => ClientHandshakeError::TooLong,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixtures::{Outcome, RFC_RESPONSE, at_once, damaged};
    use super::*;

    fn offers() -> Vec<String> {
        vec!["chat".to_owned(), "superchat".to_owned()]
    }

    /// A client's request with the key of the RFC's example.
    fn client_request(subprotocols: &[String]) -> ClientRequest<'_> {
        ClientRequest {
            host: "server.example.com",
            target: "/chat",
            subprotocols,
            extensions: Some("permessage-deflate"),
            headers: &[],
            key: *b"the sample nonce",
        }
    }

    fn read_response(input: &[u8]) -> Result<Option<Established>, ClientHandshakeError> {
        let limits = HeadLimits::default();
        ClientHandshake::new().read_response(input, &limits, &client_request(&offers()))
    }

    fn read_response_by_bytes(input: &[u8]) -> Result<Option<Established>, ClientHandshakeError> {
        let mut handshake = ClientHandshake::new();
        let limits = HeadLimits::default();
        (1..=input.len())
            .map(|length| {
                handshake.read_response(&input[..length], &limits, &client_request(&offers()))
            })
            .find(|result| *result != Ok(None))
            .unwrap_or(Ok(None))
    }

    #[test]
    fn rfc_6455_section_4_1_a_clients_request() {
        let offers = offers();
        let headers = [("Origin".to_owned(), "http://example.com".to_owned())];
        let request = ClientRequest {
            headers: &headers,
            ..client_request(&offers)
        };
        let text = String::from_utf8(request.write().unwrap()).unwrap();
        assert_eq!(
            text,
            "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
             Origin: http://example.com\r\n\r\n"
        );
        assert_eq!(at_once(text.as_bytes()).status(), 101);
    }

    #[test]
    fn a_client_sends_nothing_that_is_malformed() {
        use ClientHandshakeError as E;
        let none: &[String] = &[];
        let request = client_request(none);
        for host in ["", "a b", "a/b", "a\r\nb: c", "user@a"] {
            let request = ClientRequest { host, ..request };
            assert_eq!(request.write(), Err(E::InvalidHost), "{host:?}");
        }
        for target in ["", "chat", "*", "http://a/", "/a b", "/a#b", "/a\r\nb: c"] {
            let request = ClientRequest { target, ..request };
            assert_eq!(request.write(), Err(E::InvalidTarget), "{target:?}");
        }
        for names in [&[""][..], &["a b"], &["a,b"], &["a\r\n"], &["a", "b", "a"]] {
            let subprotocols: Vec<_> = names.iter().map(|name| name.to_string()).collect();
            let subprotocols = &subprotocols;
            let request = ClientRequest {
                subprotocols,
                ..request
            };
            assert_eq!(request.write(), Err(E::InvalidSubprotocol), "{names:?}");
        }
        for (name, value) in [
            ("", "a"),
            ("a b", "c"),
            ("a", "b\r\nc: d"),
            ("Host", "other"),
            ("Sec-WebSocket-Key", "a"),
            ("sec-websocket-version", "8"),
            ("Sec-WebSocket-Protocol", "a"),
            ("Connection", "close"),
        ] {
            let headers = &[(name.to_owned(), value.to_owned())];
            let request = ClientRequest { headers, ..request };
            assert_eq!(request.write(), Err(E::InvalidHeader), "{name:?}");
        }
        let extensions = Some("a\r\nb: c");
        let request = ClientRequest {
            extensions,
            ..request
        };
        assert_eq!(request.write(), Err(E::InvalidHeader));
    }

    #[test]
    fn rfc_6455_section_1_3_example_from_the_clients_side() {
        let established = Established {
            consumed: RFC_RESPONSE.len(),
            subprotocol: Some("chat".into()),
            extensions: None,
        };
        let mut input = RFC_RESPONSE.as_bytes().to_vec();
        input.extend_from_slice(b"\x81\x05hello");
        assert_eq!(read_response(&input), Ok(Some(established)));
        for cut in 0..RFC_RESPONSE.len() {
            let limits = HeadLimits::default();
            let mut handshake = ClientHandshake::new();
            let offers = offers();
            let request = client_request(&offers);
            let first = handshake.read_response(&input[..cut], &limits, &request);
            assert_eq!(first, Ok(None), "cut at {cut}");
            let second = handshake.read_response(&input, &limits, &request);
            assert_eq!(second, read_response(&input), "cut at {cut}");
        }
    }

    #[test]
    fn rfc_6455_section_4_1_responses_that_a_client_takes() {
        for (old, new, subprotocol, extensions) in [
            ("", "", Some("chat"), None),
            (" Switching Protocols", "", Some("chat"), None),
            (" Switching Protocols", " ", Some("chat"), None),
            ("Switching", "caf\u{e9}", Some("chat"), None),
            (
                "Upgrade: websocket",
                "UPGRADE:WebSocket",
                Some("chat"),
                None,
            ),
            (
                "Connection: Upgrade",
                "Connection: keep-alive, upgrade",
                Some("chat"),
                None,
            ),
            (
                "Protocol: chat",
                "Protocol: superchat",
                Some("superchat"),
                None,
            ),
            ("Sec-WebSocket-Protocol: chat\r\n", "", None, None),
            (
                "Sec-WebSocket-Protocol: chat",
                "Sec-WebSocket-Extensions: a; b=\"c,d\"\r\nSec-WebSocket-Extensions: e",
                None,
                Some("a; b=\"c,d\", e"),
            ),
        ] {
            let response = RFC_RESPONSE.replacen(old, new, 1);
            let established = Established {
                consumed: response.len(),
                subprotocol: subprotocol.map(Box::from),
                extensions: extensions.map(String::from),
            };
            let found = read_response(response.as_bytes());
            assert_eq!(found, Ok(Some(established)), "{response}");
            assert_eq!(read_response_by_bytes(response.as_bytes()), found);
        }
    }

    #[test]
    fn rfc_6455_section_4_1_responses_that_fail_a_client() {
        use ClientHandshakeError as E;
        for (old, new, error) in [
            ("HTTP/1.1", "HTTP/1.0", E::Malformed),
            ("HTTP/1.1", "HTTP/2.0", E::Malformed),
            ("HTTP/1.1", "HTTP/1.12", E::Malformed),
            ("HTTP/1.1", "\x16\x03\x01", E::Malformed),
            ("HTTP/1.1", "SSH-2.0", E::Malformed),
            ("HTTP/1.1", "\r\nHTTP/1.1", E::Malformed),
            ("101", "1010", E::Malformed),
            ("101", "+101", E::Malformed),
            ("101", "", E::Malformed),
            ("101", "10", E::Malformed),
            ("101", "1x1", E::Malformed),
            ("101", " 101", E::Malformed),
            (
                "Upgrade: websocket\r\n",
                "Upgrade: websocket\n",
                E::Malformed,
            ),
            ("Upgrade: websocket", "Upgrade : websocket", E::Malformed),
            ("Upgrade: websocket", "Upgrade:\r\n websocket", E::Malformed),
            ("101", "200", E::Status(200)),
            ("HTTP/1.1 101", "HTTP/1.0 100", E::Malformed),
            ("101", "302", E::Status(302)),
            ("HTTP/1.1 101", "HTTP/1.0 403", E::Status(403)),
            ("101", "503", E::Status(503)),
            ("Upgrade: websocket\r\n", "", E::Upgrade),
            ("Upgrade: websocket", "Upgrade: h2c", E::Upgrade),
            ("Upgrade: websocket", "Upgrade: websocket, h2c", E::Upgrade),
            (
                "Upgrade: websocket",
                "Upgrade: websocket\r\nUpgrade: websocket",
                E::Upgrade,
            ),
            ("Connection: Upgrade\r\n", "", E::Connection),
            ("Connection: Upgrade", "Connection: close", E::Connection),
            ("Accept: s3", "Accept: S3", E::Accept),
            ("xOo=", "xOo", E::Accept),
            ("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Accept:", E::Accept),
            ("Sec-WebSocket-Accept", "X-Accept", E::Accept),
            ("Protocol: chat", "Protocol: mqtt", E::Subprotocol),
            ("Protocol: chat", "Protocol: Chat", E::Subprotocol),
            (
                "Protocol: chat",
                "Protocol: chat, superchat",
                E::Subprotocol,
            ),
            ("Protocol: chat", "Protocol:", E::Subprotocol),
            (
                "Protocol: chat",
                "Protocol: chat\r\nSec-WebSocket-Protocol: chat",
                E::Subprotocol,
            ),
        ] {
            let response = RFC_RESPONSE.replacen(old, new, 1);
            assert_ne!(response, RFC_RESPONSE);
            assert_eq!(read_response(response.as_bytes()), Err(error), "{response}");
            assert_eq!(
                read_response_by_bytes(response.as_bytes()),
                Err(error),
                "{response}"
            );
        }
    }

    #[test]
    fn rfc_9110_section_15_2_interim_responses_are_skipped() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
        for interim in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 102\r\n\r\n",
            hints,
            &hints.repeat(8),
            &format!("HTTP/1.1 100 Continue\r\n\r\n{hints}HTTP/1.1 199 \r\nA:\r\n\r\n"),
            // Each has a limit of its own.
            &format!("HTTP/1.1 103\r\nA: {}\r\n\r\n", "a".repeat(8000)).repeat(8),
        ] {
            let input = format!("{interim}{RFC_RESPONSE}\u{1}frames");
            let established = Established {
                consumed: interim.len() + RFC_RESPONSE.len(),
                subprotocol: Some("chat".into()),
                extensions: None,
            };
            let found = Ok(Some(established));
            assert_eq!(read_response(input.as_bytes()), found, "{interim}");
            assert_eq!(read_response_by_bytes(input.as_bytes()), found, "{interim}");
            let request_offers = offers();
            let limits = HeadLimits::default();
            for cut in (0..input.len()).take(1000) {
                let mut handshake = ClientHandshake::new();
                let request = client_request(&request_offers);
                let first = handshake.read_response(&input.as_bytes()[..cut], &limits, &request);
                let found_in_two = match first {
                    Ok(None) => handshake.read_response(input.as_bytes(), &limits, &request),
                    other => other,
                };
                assert_eq!(found_in_two, found, "cut at {cut}");
            }
        }
    }

    #[test]
    fn interim_responses_are_limited_in_number_and_size_and_do_not_hide_a_refusal() {
        use ClientHandshakeError as E;
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        let long = format!("HTTP/1.1 103 {}\r\n\r\n", "a".repeat(9000));
        for (input, error) in [
            (interim.repeat(9) + RFC_RESPONSE, E::TooLong),
            (interim.repeat(100_000), E::TooLong),
            (long + RFC_RESPONSE, E::TooLong),
            (
                format!("{interim}HTTP/1.1 403 Forbidden\r\n\r\n"),
                E::Status(403),
            ),
            (
                format!("HTTP/1.0 100 Continue\r\n\r\n{RFC_RESPONSE}"),
                E::Malformed,
            ),
            (
                format!("HTTP/1.1 100 Continue\n\n{RFC_RESPONSE}"),
                E::Malformed,
            ),
            (format!("{interim}\r\n{RFC_RESPONSE}"), E::Malformed),
        ] {
            assert_eq!(read_response(input.as_bytes()), Err(error));
            assert_eq!(read_response_by_bytes(input.as_bytes()), Err(error));
        }
        assert_eq!(read_response(interim.repeat(8).as_bytes()), Ok(None));
    }

    #[test]
    fn rfc_6455_section_4_1_nothing_is_taken_that_was_not_offered() {
        let none: &[String] = &[];
        let plain = ClientRequest {
            extensions: None,
            ..client_request(none)
        };
        let with_extension = RFC_RESPONSE.replace("Protocol: chat", "Extensions: x");
        let with_empty_list = RFC_RESPONSE.replace("Protocol: chat", "Extensions:");
        let limits = HeadLimits::default();
        for (response, error) in [
            (RFC_RESPONSE, Some(ClientHandshakeError::Subprotocol)),
            (&with_extension, Some(ClientHandshakeError::Extensions)),
            (&with_empty_list, None),
        ] {
            let result = ClientHandshake::new().read_response(response.as_bytes(), &limits, &plain);
            assert_eq!(result.err(), error, "{response}");
        }
    }

    #[test]
    fn a_response_without_an_end_is_refused_at_the_limit() {
        let mut endless_reason = b"HTTP/1.1 101 ".to_vec();
        endless_reason.resize(100_000, b'a');
        let mut endless_value = b"HTTP/1.1 101 OK\r\nA: ".to_vec();
        endless_value.resize(100_000, b'a');
        let many_fields = RFC_RESPONSE.replacen("Upgrade", &("a:\r\n".repeat(64) + "Upgrade"), 1);
        for input in [endless_reason, endless_value, many_fields.into_bytes()] {
            assert_eq!(read_response(&input), Err(ClientHandshakeError::TooLong));
            assert_eq!(
                read_response_by_bytes(&input),
                Err(ClientHandshakeError::TooLong)
            );
        }
    }

    #[test]
    fn both_sides_understand_each_other() {
        let offers = offers();
        for byte in 0..=u8::MAX {
            let request = ClientRequest {
                key: [byte; 16],
                ..client_request(&offers)
            };
            let Outcome::Upgraded { response, .. } = at_once(&request.write().unwrap()) else {
                panic!("it is a valid request");
            };
            let limits = HeadLimits::default();
            let established =
                ClientHandshake::new().read_response(response.as_bytes(), &limits, &request);
            assert_eq!(
                established,
                Ok(Some(Established {
                    consumed: response.len(),
                    subprotocol: Some("chat".into()),
                    extensions: None,
                }))
            );
        }
    }

    proptest! {
        #[test]
        fn a_damaged_response_comes_to_the_same_however_it_arrives((bytes, cuts) in damaged(RFC_RESPONSE)) {
            let mut handshake = ClientHandshake::new();
            let limits = HeadLimits::default();
            let offers = offers();
            let request = client_request(&offers);
            let mut result = Ok(None);
            for length in cuts.into_iter().chain([bytes.len()]) {
                if result == Ok(None) {
                    result = handshake.read_response(&bytes[..length], &limits, &request);
                }
            }
            prop_assert_eq!(result, read_response(&bytes));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for start in ["", "HTTP/1.1", "HTTP/1.1 101\r\n", "HTTP/1.1 101\r\nUpgrade: "] {
                let mut input = start.as_bytes().to_vec();
                input.extend_from_slice(&bytes);
                let _ = read_response(&input);
            }
        }
    }
}
