//! The opening handshake (RFC 6455 section 4), from both sides, over bytes.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::str;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use httparse::Header;
use sha1::{Digest, Sha1};

use super::accept::{Accept, Acceptance, Verdict};
use super::origin::Origins;
use super::request::{Authority, FieldSection, Request, Target, is_token, is_token_byte};
use super::response::{FieldLines, Response, Unsendable, is_field_value, write_field};

/// How large the head of a request or a response may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeLimits {
    /// Bytes of the head with the empty line that ends it; no more than `u32::MAX` count.
    pub(crate) head_bytes: usize,
    /// Header fields.
    pub(crate) headers: usize,
}

impl HandshakeLimits {
    /// 8 KiB, as common servers have it: room for cookies and a token.
    pub(crate) const DEFAULT_HEAD_BYTES: usize = 8 * 1024;
    /// Browsers send about fifteen, and each proxy adds a few.
    pub(crate) const DEFAULT_HEADERS: usize = 64;

    /// Room for the fields of a head of so many bytes, of which a field needs at least four. Not on the stack, for the limit
    /// may be any; a connection needs it once.
    fn storage<'a>(&self, head_bytes: usize) -> Vec<Header<'a>> {
        vec![httparse::EMPTY_HEADER; self.headers.min(head_bytes / 4)]
    }
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        HandshakeLimits {
            head_bytes: Self::DEFAULT_HEAD_BYTES,
            headers: Self::DEFAULT_HEADERS,
        }
    }
}

/// Why a server refused an opening handshake. It was answered with [`status`](Self::status), and the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes do not begin an HTTP request: 400.
    RequestLine,
    /// The request line alone is longer than the head may be: 414.
    RequestLineTooLong,
    /// The head is longer than it may be: 431.
    HeadTooLong,
    /// There are more header fields than there may be: 431.
    TooManyHeaders,
    /// A header field is malformed, folded, or ended by less than CR and LF: 400.
    Header,
    /// It is HTTP, but not 1.1: 505.
    HttpVersion,
    /// The method is neither GET nor HEAD: 405.
    Method,
    /// The request target is neither a path nor an `http` URI: 400.
    Target,
    /// `Host` is missing, repeated or malformed: 400.
    Host,
    /// A body is announced: 400.
    Body,
    /// No upgrade to WebSocket is asked for, and [`Accept::http`] had no answer: 426.
    NoUpgrade,
    /// `Upgrade` is not among the options of `Connection`; a proxy may have taken it out: 400.
    Connection,
    /// `Sec-WebSocket-Version` is not 13: 426.
    WebSocketVersion,
    /// `Sec-WebSocket-Key` is missing, repeated or not 16 bytes in base64: 400.
    Key,
    /// A subprotocol that is offered is not a token: 400.
    Subprotocols,
    /// [`Origins`] do not allow the origin: 403.
    Origin,
    /// [`Accept::upgrade`] rejected the request.
    Rejected {
        /// The status of its response.
        status: u16,
    },
    /// [`Accept::upgrade`] chose a subprotocol that was not offered: 500.
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
            | HandshakeError::Connection
            | HandshakeError::Key
            | HandshakeError::Subprotocols => 400,
            HandshakeError::Origin => 403,
            HandshakeError::Method => 405,
            HandshakeError::RequestLineTooLong => 414,
            HandshakeError::NoUpgrade | HandshakeError::WebSocketVersion => 426,
            HandshakeError::HeadTooLong | HandshakeError::TooManyHeaders => 431,
            HandshakeError::SubprotocolNotOffered | HandshakeError::Unsendable => 500,
            HandshakeError::HttpVersion => 505,
            HandshakeError::Rejected { status } => *status,
        }
    }

    /// What the peer is told, but for a rejection, of which the application says it.
    fn response(&self) -> Response {
        let response = Response::text(self.status(), format!("{self}\n"));
        match self {
            HandshakeError::Method => response.header("Allow", "GET, HEAD"),
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
            HandshakeError::HttpVersion => "only HTTP/1.1 is spoken here",
            HandshakeError::Method => "only GET and HEAD are understood here",
            HandshakeError::Target => "the request target is malformed",
            HandshakeError::Host => "the Host header is missing, repeated or malformed",
            HandshakeError::Body => "a request with a body is not understood here",
            HandshakeError::NoUpgrade => "this is a WebSocket server: ask for an upgrade",
            HandshakeError::Connection => "the Connection header does not have the option Upgrade",
            HandshakeError::WebSocketVersion => "the WebSocket version is not 13",
            HandshakeError::Key => "Sec-WebSocket-Key is not 16 bytes in base64, once",
            HandshakeError::Subprotocols => "an offered subprotocol is not a token",
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

const SUPPORTED_VERSION: &str = "13";

/// What a server's handshakes go by.
#[derive(Debug)]
pub(crate) struct Rules<'a, A> {
    pub(crate) limits: HandshakeLimits,
    pub(crate) origins: &'a Origins,
    pub(crate) accept: &'a A,
}

/// How far the server's side of a handshake has come.
#[derive(Debug)]
pub(crate) enum Progress<S> {
    /// The head is not whole yet; nothing is consumed.
    NeedMore,
    /// The connection is a WebSocket now; frames may follow what is consumed.
    Upgraded {
        consumed: usize,
        response: Vec<u8>,
        state: S,
        subprotocol: Option<Box<str>>,
    },
    /// A plain request has got its answer, and the connection ends in order.
    Answered { consumed: usize, response: Vec<u8> },
    /// The connection ends with this response.
    Refused {
        response: Vec<u8>,
        error: HandshakeError,
    },
}

/// The server's side of a handshake, between arrivals.
///
/// Every byte is looked at once as it comes, and the head once more when it is whole. So what cannot become a request is
/// refused with its first wrong byte, and input that comes byte by byte costs no more than input in one piece.
#[derive(Debug)]
pub(crate) struct Handshake(Head);

impl Handshake {
    pub(crate) fn new() -> Self {
        Handshake(Head::new(Place::Method))
    }

    /// Looks for the request at the front of `input`, which begins with the connection's first byte each time, and answers
    /// it. It is not called again once it has returned anything but [`Progress::NeedMore`].
    ///
    /// `negotiate` is called when everything else is well, and returns the value of the response's
    /// `Sec-WebSocket-Extensions`, if extensions are agreed on.
    pub(crate) fn read_request<A: Accept>(
        &mut self,
        input: &[u8],
        peer: SocketAddr,
        rules: &Rules<'_, A>,
        negotiate: impl FnOnce(&Request<'_>) -> Option<String>,
    ) -> Progress<A::State> {
        let answered = match self.0.find_end(input, rules.limits.head_bytes) {
            Ok(None) => return Progress::NeedMore,
            Ok(Some(end)) => answer(&input[..end], peer, rules, negotiate),
            Err(fault) => Err(HandshakeError::from(fault).into()),
        };
        answered.unwrap_or_else(|refusal| refusal.write(input.starts_with(b"HEAD ")))
    }
}

/// A refusal that is still to be written.
struct Refusal {
    error: HandshakeError,
    response: Response,
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        Refusal {
            error,
            response: error.response(),
        }
    }
}

impl From<Unsendable> for Refusal {
    fn from(Unsendable(why): Unsendable) -> Self {
        log::error!(
            "a request is answered with status 500 instead of a response that is wrong: {why}"
        );
        HandshakeError::Unsendable.into()
    }
}

impl Refusal {
    fn write<S>(self, to_head: bool) -> Progress<S> {
        match self.response.write(to_head) {
            Ok(response) => Progress::Refused {
                response,
                error: self.error,
            },
            // Its own response can be sent, so this does not come here again.
            Err(unsendable) => Refusal::from(unsendable).write(to_head),
        }
    }
}

/// Answers the request that `head` is.
fn answer<A: Accept>(
    head: &[u8],
    peer: SocketAddr,
    rules: &Rules<'_, A>,
    negotiate: impl FnOnce(&Request<'_>) -> Option<String>,
) -> Result<Progress<A::State>, Refusal> {
    let mut storage = rules.limits.storage(head.len());
    let request = parse_request(head, &mut storage, peer)?;
    if !asks_for_upgrade(&request) {
        let response = rules.accept.http(&request);
        let response = response.ok_or(HandshakeError::NoUpgrade)?;
        return Ok(Progress::Answered {
            consumed: head.len(),
            response: response.write(request.method() == "HEAD")?,
        });
    }
    let key = check_upgrade(&request)?;
    if !rules.origins.allow(&request) {
        return Err(HandshakeError::Origin.into());
    }
    let acceptance = match rules.accept.upgrade(&request).into_verdict() {
        Verdict::Accept(acceptance) => acceptance,
        Verdict::Reject(response) => {
            return Err(Refusal {
                error: HandshakeError::Rejected {
                    status: response.status(),
                },
                response,
            });
        }
    };
    check_acceptance(&acceptance, &request)?;
    let extensions = negotiate(&request);
    Ok(Progress::Upgraded {
        consumed: head.len(),
        response: write_upgrade(key, &acceptance, extensions.as_deref()),
        state: acceptance.state,
        subprotocol: acceptance.subprotocol,
    })
}

/// Parses a whole head and checks what every request must be, upgrade or not.
fn parse_request<'a>(
    head: &'a [u8],
    storage: &'a mut [Header<'a>],
    peer: SocketAddr,
) -> Result<Request<'a>, HandshakeError> {
    let (line, lines) = split_first_line(head).ok_or(HandshakeError::RequestLine)?;
    let (method, target, version) = parse_request_line(line).ok_or(HandshakeError::RequestLine)?;
    // RFC 6455 section 4.2.1: HTTP/1.1 or higher; but a major version is a protocol of its own.
    if version.0 != 1 || version.1 < 1 {
        return Err(HandshakeError::HttpVersion);
    }
    let fields = FieldSection::parse(lines, storage).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders,
        _ => HandshakeError::Header,
    })?;
    if !matches!(method, "GET" | "HEAD") {
        return Err(HandshakeError::Method);
    }
    let target = Target::parse(target).ok_or(HandshakeError::Target)?;
    let host = sole_text(&fields, "Host")
        .filter(|host| Authority::parse(host).is_some())
        .ok_or(HandshakeError::Host)?;
    if has_body(&fields) {
        return Err(HandshakeError::Body);
    }
    Ok(Request::new(method, target, host, fields, peer))
}

/// The first line without its end, and what follows.
fn split_first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = head.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&head[..end], &head[end + 2..]))
}

/// Method, target and version (RFC 9112 section 3). What bytes they consist of, [`Head`] has seen to.
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

fn sole_text<'a>(fields: &FieldSection<'a>, name: &str) -> Option<&'a str> {
    str::from_utf8(fields.sole(name)?).ok()
}

/// RFC 9112 section 6: what announces a body, or could be read as announcing one. Bytes behind the head would be taken for
/// frames here and for a body elsewhere (request smuggling).
fn has_body(fields: &FieldSection<'_>) -> bool {
    let is_zero = |value: &[u8]| !value.is_empty() && value.iter().all(|&digit| digit == b'0');
    let has_length = fields.values("Content-Length").next().is_some()
        && !fields.sole("Content-Length").is_some_and(is_zero);
    has_length || fields.values("Transfer-Encoding").next().is_some()
}

/// Whether a GET would have the connection upgraded to WebSocket, be it right or not.
fn asks_for_upgrade(request: &Request<'_>) -> bool {
    request.method() == "GET" && request.fields().lists("Upgrade", "websocket")
}

/// RFC 6455 section 4.2.1, items 4 to 6 and 8. Returns the key as it was sent.
fn check_upgrade<'a>(request: &Request<'a>) -> Result<&'a [u8], HandshakeError> {
    let fields = request.fields();
    if !fields.lists("Connection", "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if fields.sole("Sec-WebSocket-Version") != Some(SUPPORTED_VERSION.as_bytes()) {
        return Err(HandshakeError::WebSocketVersion);
    }
    let key = fields.sole("Sec-WebSocket-Key");
    let key = key.filter(|key| is_key(key)).ok_or(HandshakeError::Key)?;
    if !fields.elements("Sec-WebSocket-Protocol").all(is_token) {
        return Err(HandshakeError::Subprotocols);
    }
    Ok(key)
}

/// Base64 as clients write keys: the example key of RFC 6455 section 4.1 itself has bits set that no byte has.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether `text` is 16 bytes in base64.
fn is_key(text: &[u8]) -> bool {
    // Room for what 24 characters can hold; for more there is none, which is an error too.
    let mut bytes = [0; 18];
    KEY_BASE64.decode_slice(text, &mut bytes) == Ok(16)
}

fn check_acceptance<S>(acceptance: &Acceptance<S>, request: &Request<'_>) -> Result<(), Refusal> {
    acceptance.fields.check()?;
    if let Some(chosen) = &acceptance.subprotocol {
        if !request.subprotocols().any(|offered| offered == &**chosen) {
            log::error!("the subprotocol {chosen:?} was chosen, but not offered");
            return Err(HandshakeError::SubprotocolNotOffered.into());
        }
    }
    Ok(())
}

/// The server's answer, RFC 6455 section 4.2.2 item 5.
fn write_upgrade<S>(key: &[u8], acceptance: &Acceptance<S>, extensions: Option<&str>) -> Vec<u8> {
    let mut text = Vec::with_capacity(256 + acceptance.fields.text().len());
    text.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    text.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
    write_field(&mut text, "Sec-WebSocket-Accept", &accept_value(key));
    if let Some(subprotocol) = &acceptance.subprotocol {
        write_field(&mut text, "Sec-WebSocket-Protocol", subprotocol);
    }
    if let Some(extensions) = extensions {
        write_field(&mut text, "Sec-WebSocket-Extensions", extensions);
    }
    text.extend_from_slice(acceptance.fields.text());
    text.extend_from_slice(b"\r\n");
    text
}

/// What proves that a server has understood the key (RFC 6455 section 4.2.2 item 5.4).
fn accept_value(key: &[u8]) -> String {
    let hash = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientRequest<'a> {
    /// The server's host, with the port if it is not the scheme's default.
    pub(crate) host: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// What is offered, the preferred ones first.
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
    /// What of it cannot be sent.
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

    /// Checks what the user says, and returns the further headers.
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
        let is_valid = fields.check().is_ok() && self.extensions.is_none_or(is_field_value);
        is_valid
            .then_some(fields)
            .ok_or(ClientHandshakeError::InvalidHeader)
    }

    fn key_value(&self) -> String {
        STANDARD.encode(self.key)
    }
}

/// What client and server have agreed on, from the client's side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Established {
    /// Bytes of the response; frames may follow.
    pub(crate) consumed: usize,
    /// The one that the server chose of those offered.
    pub(crate) subprotocol: Option<Box<str>>,
    /// The value of `Sec-WebSocket-Extensions`, only if extensions were offered.
    pub(crate) extensions: Option<String>,
}

/// The client's side of a handshake, between arrivals. As linear as [`Handshake`].
#[derive(Debug)]
pub(crate) struct ClientHandshake(Head);

impl ClientHandshake {
    pub(crate) fn new() -> Self {
        ClientHandshake(Head::new(Place::StatusLine))
    }

    /// Looks for the response to `request` at the front of `input`, which begins with the connection's first byte each time,
    /// and checks it (RFC 6455 section 4.1). `None` while it is not whole. It is not called again after anything else.
    pub(crate) fn read_response(
        &mut self,
        input: &[u8],
        limits: &HandshakeLimits,
        request: &ClientRequest<'_>,
    ) -> Result<Option<Established>, ClientHandshakeError> {
        let Some(consumed) = self.0.find_end(input, limits.head_bytes)? else {
            return Ok(None);
        };
        let head = &input[..consumed];
        let (line, lines) = split_first_line(head).ok_or(ClientHandshakeError::Malformed)?;
        match parse_status_line(line) {
            Some((1, 101)) => {}
            Some((0, 101)) | None => return Err(ClientHandshakeError::Malformed),
            Some((_, status)) => return Err(ClientHandshakeError::Status(status)),
        }
        let mut storage = limits.storage(head.len());
        let fields = FieldSection::parse(lines, &mut storage).map_err(|error| match error {
            httparse::Error::TooManyHeaders => ClientHandshakeError::TooLong,
            _ => ClientHandshakeError::Malformed,
        })?;
        check_response(&fields, request)?;
        Ok(Some(Established {
            consumed,
            subprotocol: chosen_subprotocol(&fields, request)?,
            extensions: agreed_extensions(&fields, request)?,
        }))
    }
}

/// The minor version and the status code of an HTTP/1.0 or 1.1 response (RFC 9112 section 4). The reason may be anything,
/// or left out with its space.
fn parse_status_line(line: &[u8]) -> Option<(u8, u16)> {
    let (minor, code) = match line.strip_prefix(b"HTTP/1.")? {
        [minor @ (b'0' | b'1'), b' ', code @ ..] => (minor - b'0', code),
        _ => return None,
    };
    let code = match code {
        [a, b, c] | [a, b, c, b' ', ..] => [*a, *b, *c],
        _ => return None,
    };
    let digits = code.iter().all(u8::is_ascii_digit);
    let status = str::from_utf8(&code).ok()?.parse().ok()?;
    digits.then_some((minor, status))
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
    sole_text(fields, NAME)
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

/// Why a client's opening handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientHandshakeError {
    /// The request would have a host that is none.
    InvalidHost,
    /// The request would have a target that is no path.
    InvalidTarget,
    /// The request would offer a subprotocol that is no token, or one twice.
    InvalidSubprotocol,
    /// The request would have a header that cannot be sent, or one that is written by itself.
    InvalidHeader,
    /// The answer is not HTTP/1.1.
    Malformed,
    /// The answer's head is longer than it may be, or has more headers.
    TooLong,
    /// The answer is another one than 101 (Switching Protocols).
    Status(
        /// The status code.
        u16,
    ),
    /// The answer does not switch to `websocket`.
    Upgrade,
    /// The answer's `Connection` does not have the option `Upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is missing, or not the value that the key gives.
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

/// The search for the end of a head, which goes on where it stopped.
///
/// Invariant: `searched` bytes were looked at, all of them may stand where they do, and the next one is at `place`.
#[derive(Debug)]
struct Head {
    searched: u32,
    place: Place,
}

/// Where in a head a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Method,
    Target,
    Version,
    StatusLine,
    /// After the CR of a line.
    LineEnd,
    LineStart,
    FieldName,
    FieldValue,
    /// After the CR of the empty line.
    HeadEnd,
    /// Behind the head.
    Behind,
}

/// Why a head is refused before it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadFault {
    FirstLine,
    FirstLineTooLong,
    Field,
    TooLong,
}

impl Head {
    /// The longest method that is waited for. Those of RFC 9110 have at most 7 letters, those of WebDAV up to 16.
    const MAX_METHOD: usize = 16;

    fn new(place: Place) -> Self {
        Head { searched: 0, place }
    }

    /// The length of the head, once it is whole. No byte before `searched` is looked at again.
    ///
    /// Stricter than a tolerant receiver may be: a line ends in CR and LF, there is no line before the first and none is
    /// folded. What means different things to different receivers is how requests are smuggled.
    fn find_end(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, HeadFault> {
        let limit = limit.min(u32::MAX as usize);
        let within = &input[..input.len().min(limit)];
        debug_assert!(
            within.len() >= self.searched as usize,
            "input was taken away"
        );
        for (position, &byte) in within.iter().enumerate().skip(self.searched as usize) {
            self.place = self.after(byte, position).ok_or(self.fault())?;
            if self.place == Place::Behind {
                return Ok(Some(position + 1));
            }
        }
        self.searched = within.len() as u32;
        if within.len() < limit {
            return Ok(None);
        }
        Err(match self.fault() {
            HeadFault::FirstLine => HeadFault::FirstLineTooLong,
            _ => HeadFault::TooLong,
        })
    }

    /// Where the byte after `byte` stands, or `None` if `byte` cannot stand where it does.
    fn after(&self, byte: u8, position: usize) -> Option<Place> {
        const STATUS_LINE: &[u8] = b"HTTP/1.";
        match (self.place, byte) {
            (Place::Method, b' ') if position > 0 => Some(Place::Target),
            (Place::Method, _) if is_token_byte(byte) && position < Self::MAX_METHOD => {
                Some(Place::Method)
            }
            (Place::Target, b' ') => Some(Place::Version),
            (Place::Target, _) if byte.is_ascii_graphic() => Some(Place::Target),
            (Place::Version, b'\r') => Some(Place::LineEnd),
            (Place::Version, b'H' | b'T' | b'P' | b'/' | b'.' | b'0'..=b'9') => {
                Some(Place::Version)
            }
            (Place::StatusLine, _) if position < STATUS_LINE.len() => {
                (byte == STATUS_LINE[position]).then_some(Place::StatusLine)
            }
            (Place::StatusLine | Place::FieldValue, b'\r') => Some(Place::LineEnd),
            (Place::StatusLine | Place::FieldValue, b'\t' | b' '..=b'~' | 0x80..) => {
                Some(self.place)
            }
            (Place::LineEnd, b'\n') => Some(Place::LineStart),
            (Place::LineStart, b'\r') => Some(Place::HeadEnd),
            (Place::LineStart, _) if is_token_byte(byte) => Some(Place::FieldName),
            (Place::FieldName, b':') => Some(Place::FieldValue),
            (Place::FieldName, _) if is_token_byte(byte) => Some(Place::FieldName),
            (Place::HeadEnd, b'\n') => Some(Place::Behind),
            _ => None,
        }
    }

    /// What is wrong if something is wrong here.
    fn fault(&self) -> HeadFault {
        match self.place {
            Place::Method | Place::Target | Place::Version | Place::StatusLine => {
                HeadFault::FirstLine
            }
            _ => HeadFault::Field,
        }
    }
}

impl From<HeadFault> for HandshakeError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::FirstLine => HandshakeError::RequestLine,
            HeadFault::FirstLineTooLong => HandshakeError::RequestLineTooLong,
            HeadFault::Field => HandshakeError::Header,
            HeadFault::TooLong => HandshakeError::HeadTooLong,
        }
    }
}

impl From<HeadFault> for ClientHandshakeError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::FirstLine | HeadFault::Field => ClientHandshakeError::Malformed,
            HeadFault::FirstLineTooLong | HeadFault::TooLong => ClientHandshakeError::TooLong,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::super::accept::{AcceptAll, Answer};
    use super::*;

    /// The client's request of RFC 6455 section 1.2, with the Sec-WebSocket-Protocol that it has there.
    const RFC_REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000);

    /// Lets in who asks for anything but `/closed`, speaks `chat`, and has a page and a wrong one.
    struct Doors;

    impl Accept for Doors {
        type State = String;

        fn upgrade(&self, request: &Request<'_>) -> Answer<String> {
            let answer = match request.path() {
                "/closed" => Answer::reject(Response::text(403, "closed\n")),
                "/split" => Answer::reject(Response::new(403).header("X-Name", "a\r\nb: c")),
                path => Answer::accept(path.to_owned()),
            };
            let answer = match request.query() {
                Some("unoffered") => answer.subprotocol("mqtt"),
                Some("other-case") => answer.subprotocol("CHAT"),
                Some("header") => answer.header("Set-Cookie", "a=1").header("X-Room", "hall"),
                Some("split") => answer.header("X-Name", "a\r\nb: c"),
                Some("reserved") => answer.header("Sec-WebSocket-Accept", "x"),
                _ => answer,
            };
            match request.subprotocols().find(|offered| *offered == "chat") {
                Some(chosen) if request.query().is_none() => answer.subprotocol(chosen),
                _ => answer,
            }
        }

        fn http(&self, request: &Request<'_>) -> Option<Response> {
            match request.path() {
                "/" => Some(Response::html("<p>hello")),
                "/split" => Some(Response::new(200).header("X-Name", "a\r\nb: c")),
                _ => None,
            }
        }
    }

    /// What a request came to.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Outcome {
        NeedMore,
        Upgraded {
            consumed: usize,
            response: String,
            state: String,
            subprotocol: Option<String>,
        },
        Answered {
            consumed: usize,
            response: String,
        },
        Refused {
            response: String,
            error: HandshakeError,
        },
    }

    impl Outcome {
        fn status(&self) -> u16 {
            match self {
                Outcome::NeedMore => 0,
                Outcome::Upgraded { response, .. }
                | Outcome::Answered { response, .. }
                | Outcome::Refused { response, .. } => response[9..12].parse().unwrap(),
            }
        }
    }

    fn read(handshake: &mut Handshake, input: &[u8], origins: &Origins) -> Outcome {
        let rules = Rules {
            limits: HandshakeLimits::default(),
            origins,
            accept: &Doors,
        };
        let text = |response| String::from_utf8(response).unwrap();
        match handshake.read_request(input, PEER, &rules, |_| None) {
            Progress::NeedMore => Outcome::NeedMore,
            Progress::Upgraded {
                consumed,
                response,
                state,
                subprotocol,
            } => Outcome::Upgraded {
                consumed,
                response: text(response),
                state,
                subprotocol: subprotocol.map(String::from),
            },
            Progress::Answered { consumed, response } => Outcome::Answered {
                consumed,
                response: text(response),
            },
            Progress::Refused { response, error } => {
                let response = text(response);
                let outcome = Outcome::Refused { response, error };
                assert_eq!(outcome.status(), error.status());
                outcome
            }
        }
    }

    fn at_once(input: &[u8]) -> Outcome {
        read(&mut Handshake::new(), input, &Origins::any())
    }

    /// What byte after byte comes to, and how many of them that took.
    fn byte_by_byte(input: &[u8]) -> (Outcome, usize) {
        let mut handshake = Handshake::new();
        for length in 1..=input.len() {
            let outcome = read(&mut handshake, &input[..length], &Origins::any());
            if outcome != Outcome::NeedMore {
                return (outcome, length);
            }
        }
        (Outcome::NeedMore, input.len())
    }

    fn error_of(input: &[u8]) -> Option<HandshakeError> {
        match at_once(input) {
            Outcome::Refused { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The request of the RFC with one line replaced, or taken out where the new one is empty.
    fn with_line(name: &str, line: &str) -> String {
        let old = RFC_REQUEST
            .split_inclusive("\r\n")
            .find(|line| line.starts_with(name))
            .expect(name);
        let new = if line.is_empty() {
            String::new()
        } else {
            format!("{line}\r\n")
        };
        RFC_REQUEST.replacen(old, &new, 1)
    }

    /// The request of the RFC with a line more.
    fn with_also(line: &str) -> String {
        with_line("Host", &format!("Host: server.example.com\r\n{line}"))
    }

    #[test]
    fn rfc_6455_section_1_3_example() {
        let Outcome::Upgraded {
            consumed,
            response,
            state,
            subprotocol,
        } = at_once(RFC_REQUEST.as_bytes())
        else {
            panic!("it is the example of the RFC");
        };
        assert_eq!(consumed, RFC_REQUEST.len());
        assert_eq!(
            response,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
        assert_eq!(
            (state.as_str(), subprotocol.as_deref()),
            ("/chat", Some("chat"))
        );
    }

    #[test]
    fn a_request_may_be_cut_anywhere_and_frames_may_follow() {
        let whole = at_once(RFC_REQUEST.as_bytes());
        let mut input = RFC_REQUEST.as_bytes().to_vec();
        input.extend_from_slice(b"\x81\x80\0\0\0\0\r\n\r\n");
        for first in 0..input.len() {
            for second in [first + 1, first + 2, first + 3, input.len()] {
                let second = second.min(input.len());
                let mut handshake = Handshake::new();
                let mut outcome = Outcome::NeedMore;
                for length in [first, second, input.len()] {
                    if outcome == Outcome::NeedMore {
                        outcome = read(&mut handshake, &input[..length], &Origins::any());
                    }
                }
                assert_eq!(outcome, whole, "cut at {first} and {second}");
            }
        }
        assert_eq!(
            byte_by_byte(&input),
            (whole, RFC_REQUEST.len()),
            "the head is all that is waited for"
        );
    }

    /// Every byte that was looked at once is spoiled before the next call, so a second look would refuse the request.
    #[test]
    fn no_byte_is_looked_at_twice_before_the_head_is_whole() {
        let cookie = format!("Cookie: {}", "c=\u{e9}; ".repeat(900));
        let request = with_also(&cookie);
        for step in [1, 2, 3, 7, 100, 4000] {
            let mut handshake = Handshake::new();
            let mut length = step;
            while length < request.len() {
                let mut input = request.as_bytes()[..length].to_vec();
                input[..length - step].fill(0);
                assert_eq!(
                    read(&mut handshake, &input, &Origins::any()),
                    Outcome::NeedMore
                );
                assert_eq!(handshake.0.searched as usize, length);
                length += step;
            }
            let outcome = read(&mut handshake, request.as_bytes(), &Origins::any());
            assert_eq!(outcome.status(), 101);
        }
    }

    #[test]
    fn rfc_6455_section_4_2_1_what_an_upgrade_may_look_like() {
        for request in [
            with_line("Upgrade", "UPGRADE: WebSocket"),
            with_line("Upgrade", "Upgrade: h2c, websocket"),
            with_line("Upgrade", "Upgrade: h2c\r\nUpgrade:websocket"),
            with_line("Connection", "connection: keep-alive, Upgrade"),
            with_line(
                "Connection",
                "Connection: keep-alive\r\nConnection: uPGRADE",
            ),
            with_line("Connection", "Connection:\t,,upgrade , "),
            with_line("Host", "Host:server.example.com:8080 \t"),
            with_line("Host", "Host: [::1]:1833"),
            with_line("Origin", ""),
            with_line("Origin", "Origin: null"),
            with_line("Sec-WebSocket-Protocol", ""),
            with_line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: "),
            with_line(
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: chat",
            ),
            // The example of section 4.1, whose last bits are no byte's.
            with_line(
                "Sec-WebSocket-Key",
                "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==",
            ),
            with_line("GET", "GET / HTTP/1.1"),
            with_line("GET", "GET /a/b%20c?d=e&f=%2F? HTTP/1.1"),
            with_line("GET", "GET http://server.example.com/chat HTTP/1.1"),
            with_line("GET", "GET https://server.example.com HTTP/1.1"),
            with_line("GET", "GET /chat HTTP/1.9"),
            with_also("Content-Length: 0"),
            with_also("X-Empty:"),
            with_also("X-Text: caf\u{e9}\tand more"),
            with_also("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        ] {
            assert_eq!(at_once(request.as_bytes()).status(), 101, "{request}");
            assert_eq!(
                byte_by_byte(request.as_bytes()).0.status(),
                101,
                "{request}"
            );
        }
    }

    #[test]
    fn malformed_upgrades_are_refused_alike_in_one_piece_and_byte_by_byte() {
        use HandshakeError as E;
        let key =
            |value: &str| with_line("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {value}"));
        let version = |value: &str| {
            with_line(
                "Sec-WebSocket-Version",
                &format!("Sec-WebSocket-Version: {value}"),
            )
        };
        let host = |value: &str| with_line("Host", &format!("Host: {value}"));
        let offer = |value: &str| {
            with_line(
                "Sec-WebSocket-Protocol",
                &format!("Sec-WebSocket-Protocol: {value}"),
            )
        };
        let line = |line: &str| with_line("GET", line);
        let cases: &[(String, E)] = &[
            // RFC 9112 section 3: the request line.
            (line(" GET /chat HTTP/1.1"), E::RequestLine),
            (line("GET  /chat HTTP/1.1"), E::RequestLine),
            (line("GET /chat  HTTP/1.1"), E::RequestLine),
            (line("GET\t/chat HTTP/1.1"), E::RequestLine),
            (line("GET /chat HTTP/1.1 "), E::RequestLine),
            (line("GET /chat"), E::RequestLine),
            (line("GET /chat "), E::RequestLine),
            (line("GET /chat HTTP"), E::RequestLine),
            (line("GET /chat HTTP/1"), E::RequestLine),
            (line("GET /chat HTTP/11"), E::RequestLine),
            (line("GET /chat HTTP/1.10"), E::RequestLine),
            (line("GET /chat http/1.1"), E::RequestLine),
            (line("GET /chat HTTPS/1.1"), E::RequestLine),
            (line("GET /ch\u{e9}t HTTP/1.1"), E::RequestLine),
            (line("GET /ch\0t HTTP/1.1"), E::RequestLine),
            (line("GET /ch\rt HTTP/1.1"), E::RequestLine),
            (line("G(T /chat HTTP/1.1"), E::RequestLine),
            (line("AMETHODTHATISLONG /chat HTTP/1.1"), E::RequestLine),
            (line("\r\nGET /chat HTTP/1.1"), E::RequestLine),
            (RFC_REQUEST.replacen("\r\n", "\n", 1), E::RequestLine),
            (RFC_REQUEST.replacen("\r\n", "\r", 1), E::Header),
            (line("GET /chat HTTP/1.0"), E::HttpVersion),
            (line("GET /chat HTTP/0.9"), E::HttpVersion),
            (line("GET /chat HTTP/2.0"), E::HttpVersion),
            (line("GET /chat HTTP/3.1"), E::HttpVersion),
            (line("get /chat HTTP/1.1"), E::Method),
            (line("POST /chat HTTP/1.1"), E::Method),
            (line("CONNECT server.example.com:80 HTTP/1.1"), E::Method),
            (line("OPTIONS * HTTP/1.1"), E::Method),
            (line("GET * HTTP/1.1"), E::Target),
            (line("GET chat HTTP/1.1"), E::Target),
            (line("GET /chat#top HTTP/1.1"), E::Target),
            (line("GET ws://server.example.com/ HTTP/1.1"), E::Target),
            (line("GET http://a@b/ HTTP/1.1"), E::Target),
            // RFC 9112 section 5: field lines.
            (with_also("X-Name : value"), E::Header),
            (with_also("X-Name\t: value"), E::Header),
            (with_also(" X-Name: value"), E::Header),
            (with_also("X-Name: one\r\n two"), E::Header),
            (with_also("X-Name: one\r\n\ttwo"), E::Header),
            (with_also("X-Name"), E::Header),
            (with_also(": value"), E::Header),
            (with_also("X Name: value"), E::Header),
            (with_also("X-N\u{e9}me: value"), E::Header),
            (with_also("X-Name: a\0b"), E::Header),
            (with_also("X-Name: a\x7fb"), E::Header),
            (with_also("X-Name: a\x1bb"), E::Header),
            (with_also("X-Name: a\rb"), E::Header),
            (with_also("X-Name: a\nX-Other: b"), E::Header),
            (with_also("X-Name: a\r\r"), E::Header),
            (with_also("a:\r\n".repeat(64).trim_end()), E::TooManyHeaders),
            // RFC 9112 section 3.2: Host.
            (with_line("Host", ""), E::Host),
            (host(""), E::Host),
            (host("a\r\nHost: a"), E::Host),
            (host("a\r\nhost: b"), E::Host),
            (host("a, b"), E::Host),
            (host("a b"), E::Host),
            (host("a/b"), E::Host),
            (host("user@a"), E::Host),
            (host("a:port"), E::Host),
            (host("a:70000"), E::Host),
            (host("[::1"), E::Host),
            (host("caf\u{e9}"), E::Host),
            // RFC 9112 section 6: no body.
            (with_also("Content-Length: 5"), E::Body),
            (with_also("Content-Length: -0"), E::Body),
            (with_also("Content-Length: 0x0"), E::Body),
            (with_also("Content-Length: 0, 0"), E::Body),
            (with_also("Content-Length:"), E::Body),
            (with_also("Content-Length: 0\r\nContent-Length: 0"), E::Body),
            (with_also("Transfer-Encoding: chunked"), E::Body),
            (with_also("transfer-encoding: identity"), E::Body),
            (
                with_also("Content-Length: 0\r\nTransfer-Encoding: chunked"),
                E::Body,
            ),
            // RFC 6455 section 4.2.1.
            (with_line("Upgrade", ""), E::NoUpgrade),
            (with_line("Upgrade", "Upgrade: websocket/13"), E::NoUpgrade),
            (with_line("Upgrade", "Upgrade: web socket"), E::NoUpgrade),
            (line("HEAD /chat HTTP/1.1"), E::NoUpgrade),
            (with_line("Connection", ""), E::Connection),
            (
                with_line("Connection", "Connection: keep-alive"),
                E::Connection,
            ),
            (
                with_line("Connection", "Connection: close upgrade"),
                E::Connection,
            ),
            (with_line("Sec-WebSocket-Version", ""), E::WebSocketVersion),
            (version(""), E::WebSocketVersion),
            (version("12"), E::WebSocketVersion),
            (version("013"), E::WebSocketVersion),
            (version("+13"), E::WebSocketVersion),
            (version("13, 8"), E::WebSocketVersion),
            (
                version("13\r\nSec-WebSocket-Version: 13"),
                E::WebSocketVersion,
            ),
            (with_line("Sec-WebSocket-Key", ""), E::Key),
            (key(""), E::Key),
            (key("dGhlIHNhbXBsZSBub25jZQ"), E::Key),
            (key("dGhlIHNhbXBsZSBub25jZQ="), E::Key),
            (key("dGhlIHNhbXBsZSBub25jZTE="), E::Key),
            (key("dGhlIHNhbXBsZSBub25jZTEy"), E::Key),
            (key("dGhlIHNhbXBsZSBub25jZ==="), E::Key),
            (key("dGhlIHNhbXBsZSBub2_jZQ=="), E::Key),
            (key("dGhlIHNhbXBs ZSBub25jZQ="), E::Key),
            (key("dGhlIHNhbXBsZSBub25jZTEyMzQ1Njc4OTA="), E::Key),
            (key(&"A".repeat(4000)), E::Key),
            (
                key("dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
                E::Key,
            ),
            (offer("chat room"), E::Subprotocols),
            (offer("chat, ch@t"), E::Subprotocols),
            (offer("\"chat\""), E::Subprotocols),
            (
                offer("chat\r\nSec-WebSocket-Protocol: caf\u{e9}"),
                E::Subprotocols,
            ),
        ];
        assert!(cases.len() >= 60);
        for (request, error) in cases {
            let outcome = at_once(request.as_bytes());
            let Outcome::Refused { error: found, .. } = &outcome else {
                panic!("not refused: {request:?}");
            };
            assert_eq!(found, error, "{request:?}");
            assert_eq!(byte_by_byte(request.as_bytes()).0, outcome, "{request:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_refused_with_its_first_wrong_byte() {
        for (input, refused_after) in [
            // TLS: handshake record, version 3.1.
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 1),
            (b"\x80\x2e\x01\x03\x01", 1),
            (b"\0\0\0\x05hello", 1),
            (b"\xff\xff", 1),
            (b"\x81\x85abcd", 1),
            (b"\r\n\r\nGET / HTTP/1.1", 1),
            (b" GET / HTTP/1.1", 1),
            (b"{\"op\":\"hello\"}", 1),
            (b"*1\r\n$4\r\nPING\r\n", 3),
            (b"SSH-2.0-OpenSSH_9.9\r\n", 17),
            (b"AVERYLONGMETHODTOKEN", 17),
            (b"EHLO mail.example\r\n", 18),
            (b"GET /\r\n", 6),
            (b"GET / FTP/1.1\r\n", 7),
            (b"GET / HTTP/1.1\nHost: a", 15),
            (b"GET / HTTP/1.1\r\nHost a", 21),
            (b"GET / HTTP/1.1\r\n Host: a", 17),
            (b"GET / HTTP/1.1\r\nHost: a\x7fb", 24),
            (b"GET / HTTP/1.1\r\nHost: a\nb", 24),
            (b"GET / HTTP/1.1\r\nHost: a\rb", 25),
        ] {
            let (outcome, length) = byte_by_byte(input);
            assert_eq!(outcome.status(), 400, "{input:?}");
            assert_eq!(length, refused_after, "{input:?}");
            assert_eq!(at_once(input), outcome);
        }
    }

    #[test]
    fn rfc_9113_section_3_4_the_preface_of_http_2_is_another_version() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(error_of(preface), Some(HandshakeError::HttpVersion));
    }

    #[test]
    fn a_head_without_an_end_is_refused_at_the_limit() {
        const LIMIT: usize = HandshakeLimits::DEFAULT_HEAD_BYTES;
        const SIZE: usize = 20 * 1024 * 1024;
        let mut endless_line = b"GET /".to_vec();
        endless_line.resize(SIZE, b'a');
        let mut endless_value = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
        endless_value.resize(SIZE, b'a');
        let fields = b"GET / HTTP/1.1\r\n".iter();
        let endless_fields = fields.chain(b"a: b\r\n".iter().cycle());
        let endless_fields: Vec<u8> = endless_fields.take(SIZE).copied().collect();
        for (input, error) in [
            (endless_line, HandshakeError::RequestLineTooLong),
            (endless_value, HandshakeError::HeadTooLong),
            (endless_fields, HandshakeError::HeadTooLong),
        ] {
            assert_eq!(error_of(&input), Some(error), "in one piece");
            let (outcome, length) = byte_by_byte(&input);
            assert_eq!(length, LIMIT, "byte by byte");
            assert_eq!(outcome, at_once(&input));
        }
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
        const LIMIT: usize = HandshakeLimits::DEFAULT_HEAD_BYTES;
        let padding = LIMIT - with_also("X-Padding: ").len();
        for (excess, status) in [(0, 101), (1, 431)] {
            let request = with_also(&format!("X-Padding: {}", "x".repeat(padding + excess)));
            assert_eq!(request.len(), LIMIT + excess);
            assert_eq!(at_once(request.as_bytes()).status(), status);
            assert_eq!(byte_by_byte(request.as_bytes()).0.status(), status);
        }
    }

    #[test]
    fn there_may_be_as_many_headers_as_the_limit_and_none_more() {
        let own = RFC_REQUEST.matches("\r\n").count() - 2;
        for (excess, status) in [(0, 101), (1, 431)] {
            let count = HandshakeLimits::DEFAULT_HEADERS - own + excess;
            let request = with_also("a:\r\n".repeat(count).trim_end());
            assert_eq!(at_once(request.as_bytes()).status(), status);
        }
    }

    #[test]
    fn limits_may_be_any_number() {
        for (head_bytes, headers, status) in [
            (usize::MAX, usize::MAX, 101),
            (usize::MAX, 0, 431),
            (0, 64, 414),
            (1, 64, 414),
        ] {
            let rules = Rules {
                limits: HandshakeLimits {
                    head_bytes,
                    headers,
                },
                origins: &Origins::any(),
                accept: &AcceptAll,
            };
            let input = RFC_REQUEST.as_bytes();
            match Handshake::new().read_request(input, PEER, &rules, |_| None) {
                Progress::Upgraded { .. } => assert_eq!(status, 101),
                Progress::Refused { error, .. } => assert_eq!(error.status(), status),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_plain_request_gets_the_applications_answer() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let Outcome::Answered { consumed, response } = at_once(get.as_bytes()) else {
            panic!("there is a page");
        };
        assert_eq!(consumed, get.len());
        assert_eq!(
            response,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Length: 8\r\n\r\n<p>hello"
        );
        let head = get.replace("GET", "HEAD");
        let Outcome::Answered {
            response: to_head, ..
        } = at_once(head.as_bytes())
        else {
            panic!("there is a page");
        };
        assert_eq!(Some(to_head.as_str()), response.strip_suffix("<p>hello"));
    }

    #[test]
    fn rfc_9110_section_7_8_another_upgrade_is_ignored() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
        assert_eq!(at_once(request.as_bytes()).status(), 200);
    }

    #[test]
    fn rfc_9110_section_15_5_22_a_plain_request_without_an_answer() {
        let get = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
        let Outcome::Refused { response, error } = at_once(get.as_bytes()) else {
            panic!("there is no such page");
        };
        assert_eq!(error, HandshakeError::NoUpgrade);
        assert!(response.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"));
        let head = get.replace("GET", "HEAD");
        let Outcome::Refused { response, .. } = at_once(head.as_bytes()) else {
            panic!("there is no such page");
        };
        assert!(response.ends_with("\r\n\r\n"), "no body: {response}");
        assert!(!response.contains("Content-Length: 0\r\n"), "{response}");
    }

    #[test]
    fn rfc_6455_section_4_2_2_item_4_the_version_that_is_spoken_is_named() {
        let request = with_line("Sec-WebSocket-Version", "Sec-WebSocket-Version: 14");
        let Outcome::Refused { response, .. } = at_once(request.as_bytes()) else {
            panic!("there is no such version");
        };
        assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }

    #[test]
    fn rfc_9110_section_15_5_6_the_methods_that_are_allowed_are_named() {
        let request = with_line("GET", "DELETE /chat HTTP/1.1");
        let Outcome::Refused { response, .. } = at_once(request.as_bytes()) else {
            panic!("there is no such method here");
        };
        assert!(response.contains("\r\nAllow: GET, HEAD\r\n"), "{response}");
    }

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
            HandshakeError::Target,
            HandshakeError::Host,
            HandshakeError::Body,
            HandshakeError::NoUpgrade,
            HandshakeError::Connection,
            HandshakeError::WebSocketVersion,
            HandshakeError::Key,
            HandshakeError::Subprotocols,
            HandshakeError::Origin,
            HandshakeError::SubprotocolNotOffered,
            HandshakeError::Unsendable,
        ];
        for error in errors {
            let response = String::from_utf8(error.response().write(false).unwrap()).unwrap();
            let status_line = format!("HTTP/1.1 {} ", error.status());
            assert!(response.starts_with(&status_line), "{response}");
            assert!(response.contains("close\r\n"), "{response}");
            assert!(response.ends_with(&format!("\r\n\r\n{error}\n")));
        }
    }

    #[test]
    fn an_origin_that_is_not_allowed_is_forbidden() {
        let origins = Origins::list(["http://example.com"]);
        let evil = with_line("Origin", "Origin: http://evil.example");
        for (request, status) in [(RFC_REQUEST, 101), (&evil, 403)] {
            let outcome = read(&mut Handshake::new(), request.as_bytes(), &origins);
            assert_eq!(outcome.status(), status);
        }
        let same_host = Origins::same_host();
        let own = with_line("Origin", "Origin: https://Server.example.com");
        for (request, status) in [(RFC_REQUEST, 403), (&own, 101)] {
            let outcome = read(&mut Handshake::new(), request.as_bytes(), &same_host);
            assert_eq!(outcome.status(), status);
        }
    }

    #[test]
    fn a_plain_request_needs_no_origin() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\n\r\n";
        let origins = Origins::same_host().required();
        let outcome = read(&mut Handshake::new(), request, &origins);
        assert_eq!(outcome.status(), 200);
    }

    #[test]
    fn a_rejection_is_sent_as_the_application_has_it() {
        let request = with_line("GET", "GET /closed HTTP/1.1");
        let Outcome::Refused { response, error } = at_once(request.as_bytes()) else {
            panic!("it is closed");
        };
        assert_eq!(error, HandshakeError::Rejected { status: 403 });
        assert!(response.ends_with("\r\n\r\nclosed\n"), "{response}");
    }

    #[test]
    fn headers_of_the_application_go_with_the_upgrade() {
        let request = with_line("GET", "GET /chat?header HTTP/1.1");
        let Outcome::Upgraded { response, .. } = at_once(request.as_bytes()) else {
            panic!("it is open");
        };
        assert!(
            response.ends_with("=\r\nSet-Cookie: a=1\r\nX-Room: hall\r\n\r\n"),
            "{response}"
        );
    }

    #[test]
    fn an_answer_that_is_wrong_fails_with_500_and_nothing_of_it_is_sent() {
        for (line, error) in [
            (
                "GET /?unoffered HTTP/1.1",
                HandshakeError::SubprotocolNotOffered,
            ),
            (
                "GET /?other-case HTTP/1.1",
                HandshakeError::SubprotocolNotOffered,
            ),
            ("GET /?split HTTP/1.1", HandshakeError::Unsendable),
            ("GET /?reserved HTTP/1.1", HandshakeError::Unsendable),
            ("GET /split HTTP/1.1", HandshakeError::Unsendable),
        ] {
            let request = with_line("GET", line);
            let Outcome::Refused {
                response,
                error: found,
            } = at_once(request.as_bytes())
            else {
                panic!("{line}");
            };
            assert_eq!(found, error, "{line}");
            assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
            assert!(!response.contains("b: c"), "{response}");
        }
        let plain = b"GET /split HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(error_of(plain), Some(HandshakeError::Unsendable));
    }

    #[test]
    fn extensions_are_negotiated_last_and_answered() {
        let request = with_also(
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             sec-websocket-extensions: x-other",
        );
        let rules = Rules {
            limits: HandshakeLimits::default(),
            origins: &Origins::any(),
            accept: &Doors,
        };
        let negotiate = |request: &Request<'_>| {
            let offers: Vec<_> = request.extensions().collect();
            assert_eq!(
                offers,
                ["permessage-deflate; client_max_window_bits", "x-other"]
            );
            Some("permessage-deflate".to_owned())
        };
        let progress = Handshake::new().read_request(request.as_bytes(), PEER, &rules, negotiate);
        let Progress::Upgraded { response, .. } = progress else {
            panic!("{progress:?}");
        };
        let response = String::from_utf8(response).unwrap();
        assert!(response.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"));

        let is_asked = Cell::new(false);
        for line in ["GET /closed HTTP/1.1", "GET /?unoffered HTTP/1.1"] {
            let request = with_line("GET", line);
            let negotiate = |_: &Request<'_>| {
                is_asked.set(true);
                None
            };
            let progress =
                Handshake::new().read_request(request.as_bytes(), PEER, &rules, negotiate);
            assert!(matches!(progress, Progress::Refused { .. }));
        }
        assert!(!is_asked.get(), "there is nothing to negotiate for");
    }

    #[test]
    fn the_application_sees_who_asks_for_what() {
        let look = |request: &Request<'_>| {
            assert_eq!(request.method(), "GET");
            assert_eq!(request.target(), "/chat?room=hall");
            assert_eq!(
                (request.path(), request.query()),
                ("/chat", Some("room=hall"))
            );
            assert_eq!(request.host(), "server.example.com");
            assert_eq!(request.origin(), Some("http://example.com"));
            assert_eq!(request.header("upgrade"), Some("websocket"));
            assert_eq!(request.peer(), PEER);
            Answer::accept(request.headers().count())
        };
        let rules = Rules {
            limits: HandshakeLimits::default(),
            origins: &Origins::any(),
            accept: &look,
        };
        let request = with_line("GET", "GET /chat?room=hall HTTP/1.1");
        match Handshake::new().read_request(request.as_bytes(), PEER, &rules, |_| None) {
            Progress::Upgraded { state, .. } => assert_eq!(state, 7),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_connection_keeps_of_it_is_small() {
        assert_eq!(size_of::<Handshake>(), 8);
        assert!(size_of::<HandshakeError>() <= 16);
        assert!(size_of::<ClientHandshakeError>() <= 16);
    }

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

    const RFC_RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

    fn read_response(input: &[u8]) -> Result<Option<Established>, ClientHandshakeError> {
        let limits = HandshakeLimits::default();
        ClientHandshake::new().read_response(input, &limits, &client_request(&offers()))
    }

    fn read_response_by_bytes(input: &[u8]) -> Result<Option<Established>, ClientHandshakeError> {
        let mut handshake = ClientHandshake::new();
        let limits = HandshakeLimits::default();
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
            let limits = HandshakeLimits::default();
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
            ("101", "100", E::Status(100)),
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
    fn rfc_6455_section_4_1_nothing_is_taken_that_was_not_offered() {
        let none: &[String] = &[];
        let plain = ClientRequest {
            extensions: None,
            ..client_request(none)
        };
        let with_extension = RFC_RESPONSE.replace("Protocol: chat", "Extensions: x");
        let with_empty_list = RFC_RESPONSE.replace("Protocol: chat", "Extensions:");
        let limits = HandshakeLimits::default();
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
            let limits = HandshakeLimits::default();
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

    /// The RFC's message with some bytes changed, taken out or put in, cut at will.
    fn damaged(message: &'static str) -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"\r\n\t :,/\0\x7f\xff"[..]),
        ];
        let length = message.len();
        let edits = prop::collection::vec((0..length, 0..3u8, byte), 0..6);
        let cuts = prop::collection::vec(0..length, 0..6);
        (edits, cuts).prop_map(move |(edits, mut cuts)| {
            let mut bytes = message.as_bytes().to_vec();
            for (at, kind, byte) in edits {
                let at = at.min(bytes.len() - 1);
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            cuts.retain(|cut| *cut < bytes.len());
            cuts.sort_unstable();
            (bytes, cuts)
        })
    }

    proptest! {
        #[test]
        fn a_damaged_request_comes_to_the_same_however_it_arrives((bytes, cuts) in damaged(RFC_REQUEST)) {
            let mut handshake = Handshake::new();
            let mut outcome = Outcome::NeedMore;
            for length in cuts.into_iter().chain([bytes.len()]) {
                if outcome == Outcome::NeedMore {
                    outcome = read(&mut handshake, &bytes[..length], &Origins::same_host());
                }
            }
            let whole = read(&mut Handshake::new(), &bytes, &Origins::same_host());
            prop_assert_eq!(outcome, whole);
        }

        #[test]
        fn a_damaged_response_comes_to_the_same_however_it_arrives((bytes, cuts) in damaged(RFC_RESPONSE)) {
            let mut handshake = ClientHandshake::new();
            let limits = HandshakeLimits::default();
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
            for start in ["", "GET /", "GET / HTTP/1.1\r\n", "HTTP/1.1 101\r\n", "GET / HTTP/1.1\r\nHost: "] {
                let mut input = start.as_bytes().to_vec();
                input.extend_from_slice(&bytes);
                let _ = at_once(&input);
                let _ = read_response(&input);
            }
        }
    }
}
