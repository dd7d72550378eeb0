//! The server's side of the handshake: it checks the request, asks the application, and writes the answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::error::HandshakeError;
use super::{ALLOWED_METHODS, RESERVED, SUPPORTED_VERSION, accept_value};
use crate::Address;
use crate::http::date::HttpDate;
use crate::http::fields::{FieldSection, Unsendable, is_token, write_field};
use crate::http::head::{HeadLimits, HeadSearch, Place};
use crate::http::response::Form;
use crate::http::{Request, Response};
use crate::websocket::accept::{Accept, Acceptance, Verdict};
use crate::websocket::hosts::Hosts;
use crate::websocket::origin::Origins;

/// The rules of a server's handshakes.
#[derive(Debug)]
pub(crate) struct Rules<'a, A> {
    pub(crate) limits: HeadLimits,
    pub(crate) hosts: &'a Hosts,
    pub(crate) origins: &'a Origins,
    pub(crate) accept: &'a A,
    /// The clock of `Date` headers; nothing is decided by it.
    pub(crate) clock: fn() -> SystemTime,
}

impl<A> Rules<'_, A> {
    /// The form of a response on a connection that could have become a WebSocket.
    fn form(&self, is_to_head: bool) -> Form<'static> {
        Form {
            is_to_head,
            date: HttpDate::of((self.clock)()),
            upgrade: Some("websocket"),
            reserved: &RESERVED,
        }
    }
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
    /// The application panicked. The connection ends with this response.
    Panicked {
        response: Vec<u8>,
        panic: Box<dyn Any + Send>,
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
        Handshake(HeadSearch::new(Place::Start))
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
        let (answered, head) = match self.0.find_head(input, rules.limits.bytes) {
            Ok(None) => return Progress::NeedMore,
            Ok(Some(place)) => {
                let (head, end) = (&input[place.clone()], place.end);
                // The loop hears of a panic once it is answered. What it leaves of the application is the application's affair.
                let answer = || answer(head, end, peer, rules, negotiate);
                match catch_unwind(AssertUnwindSafe(answer)) {
                    Ok(answered) => (answered, head),
                    Err(panic) => return panicked(panic, head, rules),
                }
            }
            Err(fault) => {
                let refusal = HandshakeError::from(fault).into();
                (Err(refusal), &input[self.0.skipped()..])
            }
        };
        answered.unwrap_or_else(|refusal| refusal.write(&rules.form(is_of_head(head))))
    }
}

/// True if the method is HEAD, whose responses have no body.
fn is_of_head(head: &[u8]) -> bool {
    head.starts_with(b"HEAD ")
}

/// The answer to a request on which the application has panicked.
#[cold]
fn panicked<A: Accept>(
    panic: Box<dyn Any + Send>,
    head: &[u8],
    rules: &Rules<'_, A>,
) -> Progress<A::State> {
    let response = Response::text(500, "the server failed\n");
    Progress::Panicked {
        response: response.to_bytes(&rules.form(is_of_head(head))),
        panic,
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
    fn write<S>(self, form: &Form<'_>) -> Progress<S> {
        match self.response.write(form) {
            Ok(response) => Progress::Refused {
                response,
                error: self.error,
            },
            // The response to this error can be sent, so the recursion ends here.
            Err(unsendable) => Refusal::from(unsendable).write(form),
        }
    }
}

/// Answers the request that `head` is, which ends at `end` in the input.
fn answer<A: Accept>(
    head: &[u8],
    end: usize,
    peer: &Address,
    rules: &Rules<'_, A>,
    negotiate: impl FnOnce(&Request<'_>) -> Option<String>,
) -> Result<Progress<A::State>, Refusal> {
    let mut storage = rules.limits.storage(head.len());
    let request = parse_request(head, &mut storage, peer)?;
    if !rules.hosts.know(request.host()) {
        return Err(HandshakeError::UnknownHost.into());
    }
    if !asks_for_upgrade(&request) {
        let response = match request.method() {
            "OPTIONS" => Some(Response::new(204).header("Allow", ALLOWED_METHODS)),
            _ => rules.accept.http(&request),
        };
        let response = response.ok_or(HandshakeError::NoUpgrade)?;
        return Ok(Progress::Answered {
            consumed: end,
            response: response.write(&rules.form(is_of_head(head)))?,
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
        consumed: end,
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
    let request = Request::parse(head, storage, &["GET", "HEAD", "OPTIONS"], peer)?;
    match request.announces_body() {
        true => Err(HandshakeError::Body),
        false => Ok(request),
    }
}

/// True if the request asks for WebSocket, correctly or not.
fn asks_for_upgrade(request: &Request<'_>) -> bool {
    request.may_upgrade()
        && request.method() == "GET"
        && request.fields().lists("Upgrade", "websocket")
}

/// RFC 6455 section 4.2.1, items 3 to 6, 8 and 9. Returns the key as it was sent.
fn check_upgrade<'a>(request: &Request<'a>) -> Result<&'a [u8], HandshakeError> {
    let fields = request.fields();
    if !fields.elements("Upgrade").all(is_protocol) {
        return Err(HandshakeError::Upgrade);
    }
    let mut options = fields.elements("Connection");
    if !fields.lists("Connection", "upgrade") || !options.all(is_token) {
        return Err(HandshakeError::Connection);
    }
    if fields.sole("Sec-WebSocket-Version") != Some(SUPPORTED_VERSION.as_bytes()) {
        return Err(HandshakeError::WebSocketVersion);
    }
    let key = fields.sole("Sec-WebSocket-Key");
    let key = key.filter(|key| is_key(key)).ok_or(HandshakeError::Key)?;
    if !are_subprotocols(&fields) {
        return Err(HandshakeError::Subprotocols);
    }
    if request.extensions().any(|offer| offer.is_err()) {
        return Err(HandshakeError::Extensions);
    }
    Ok(key)
}

/// True if `element` of an `Upgrade` field is a name and perhaps a version (RFC 9110 section 7.8).
fn is_protocol(element: &[u8]) -> bool {
    let mut parts = element.splitn(2, |&byte| byte == b'/');
    parts.all(is_token)
}

/// True if the subprotocols that are offered are tokens, and none is there twice (RFC 6455 sections 4.1 and 4.3). A list without
/// elements, which the grammar does not have, offers nothing.
fn are_subprotocols(fields: &FieldSection<'_>) -> bool {
    let mut offered: Vec<_> = fields.elements("Sec-WebSocket-Protocol").collect();
    // A peer may offer as many as the head has room for, and comparing each with each would take too long.
    offered.sort_unstable();
    let are_unique = offered.windows(2).all(|pair| pair[0] != pair[1]);
    are_unique && offered.into_iter().all(is_token)
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
mod plain_tests;
#[cfg(test)]
mod tests;
