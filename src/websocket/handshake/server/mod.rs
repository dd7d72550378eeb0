//! The server's side of the handshake: it checks the request, asks the application, and writes the answer.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::error::HandshakeError;
use super::{RESERVED, SUPPORTED_VERSION, accept_value};
use crate::Address;
use crate::http::fields::{Unsendable, is_token, write_field};
use crate::http::head::{HeadLimits, HeadSearch, Place};
use crate::http::response::Form;
use crate::http::{Request, Response};
use crate::websocket::accept::{Accept, Acceptance, Verdict};
use crate::websocket::origin::Origins;

/// The rules of a server's handshakes.
#[derive(Debug)]
pub(crate) struct Rules<'a, A> {
    pub(crate) limits: HeadLimits,
    pub(crate) origins: &'a Origins,
    pub(crate) accept: &'a A,
}

/// The progress of the server's side of a handshake.
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
    /// A plain request was answered, and the connection ends in order.
    Answered { consumed: usize, response: Vec<u8> },
    /// The connection ends with this response.
    Refused {
        response: Vec<u8>,
        error: HandshakeError,
    },
}

/// The server's side of a handshake that is under way.
///
/// Every byte is looked at once as it comes, and the head once more when it is whole. So a peer that speaks another protocol is
/// refused at its first wrong byte, and input that comes byte by byte costs no more than input in one piece.
#[derive(Debug)]
pub(crate) struct Handshake(HeadSearch);

impl Handshake {
    pub(crate) fn new() -> Self {
        Handshake(HeadSearch::new(Place::Method))
    }

    /// Looks for the request at the front of `input`, which begins with the connection's first byte each time, and answers
    /// it. Do not call it again once it has returned anything but [`Progress::NeedMore`].
    ///
    /// `negotiate` is called when everything else is in order, and returns the value of the response's
    /// `Sec-WebSocket-Extensions`, if extensions are agreed on.
    pub(crate) fn read_request<A: Accept>(
        &mut self,
        input: &[u8],
        peer: &Address,
        rules: &Rules<'_, A>,
        negotiate: impl FnOnce(&Request<'_>) -> Option<String>,
    ) -> Progress<A::State> {
        let answered = match self.0.find_end(input, rules.limits.bytes) {
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
        match self.response.write(&form(to_head)) {
            Ok(response) => Progress::Refused {
                response,
                error: self.error,
            },
            // The response to this error can be sent, so the recursion ends here.
            Err(unsendable) => Refusal::from(unsendable).write(to_head),
        }
    }
}

/// The form of a response on a connection that could have become a WebSocket.
fn form(is_to_head: bool) -> Form<'static> {
    Form {
        is_to_head,
        upgrade: Some("websocket"),
        reserved: &RESERVED,
    }
}

/// Answers the request that `head` is.
fn answer<A: Accept>(
    head: &[u8],
    peer: &Address,
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
            response: response.write(&form(request.method() == "HEAD"))?,
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
    let extensions = match acceptance.may_compress {
        true => negotiate(&request),
        false => None,
    };
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
    storage: &'a mut [httparse::Header<'a>],
    peer: &'a Address,
) -> Result<Request<'a>, HandshakeError> {
    let request = Request::parse(head, storage, &["GET", "HEAD"], peer)?;
    match request.announces_body() {
        true => Err(HandshakeError::Body),
        false => Ok(request),
    }
}

/// True if the request asks for WebSocket, correctly or not.
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

/// Base64 that accepts surplus bits in the last character: the example key of RFC 6455 section 4.1 has some.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// True if `text` is 16 bytes in base64.
fn is_key(text: &[u8]) -> bool {
    // 24 characters hold up to 18 bytes; a longer text does not fit, which is an error too.
    let mut bytes = [0; 18];
    KEY_BASE64.decode_slice(text, &mut bytes) == Ok(16)
}

fn check_acceptance<S>(acceptance: &Acceptance<S>, request: &Request<'_>) -> Result<(), Refusal> {
    acceptance.fields.check_without(&RESERVED)?;
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

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;
