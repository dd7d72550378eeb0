//! The client's side of WebSocket, as a sans-io protocol: for tests, and for programs that have a stream of their own.

use std::sync::Arc;
use std::time::Duration;

use super::decoder::WebSocketClientDecoder;
use super::encoder::WebSocketEncoder;
use super::error::WebSocketError;
use super::handshake::{ClientHandshake, ClientHandshakeError, ClientRequest};
use super::opening::{Opened, Opening, Step};
use super::reader::FrameReader;
use super::session::Session;
use super::settings::{MESSAGE_TIMEOUT, Settings};
use crate::Address;
use crate::protocol::Protocol;

/// The client's side of WebSocket: it asks for the upgrade, checks the answer, and masks its frames. It is sans-io and has the
/// limits of the [server's side](super::WebSocket).
///
/// [`Encode::greet`](crate::protocol::Encode::greet) writes the request, and the decoder returns
/// [`Opened`](crate::protocol::Unpacked::Opened) when the server has agreed.
///
/// ```
/// use ringwheel::protocol::{Encode, Output, Protocol};
/// use ringwheel::websocket::WebSocketClient;
///
/// let client = WebSocketClient::new("example.com", "/chat?room=1")?.subprotocol("chat.v2")?;
/// let (_decoder, mut encoder) = client.open();
/// let mut output = Output::detached();
/// encoder.greet(&mut output);
/// assert!(output.take().starts_with(b"GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\n"));
/// # Ok::<(), ringwheel::websocket::ClientHandshakeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WebSocketClient {
    wanted: Arc<Wanted>,
    settings: Arc<Settings>,
}

/// The checked content of a client's request.
#[derive(Clone, Debug)]
struct Wanted {
    host: String,
    target: String,
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    extensions: Option<String>,
}

impl Wanted {
    fn request(&self, key: [u8; 16]) -> ClientRequest<'_> {
        ClientRequest {
            host: &self.host,
            target: &self.target,
            subprotocols: &self.subprotocols,
            extensions: self.extensions.as_deref(),
            headers: &self.headers,
            key,
        }
    }
}

impl WebSocketClient {
    /// Asks `host` (with the port if it is not 80) for `target`, a path and perhaps a query.
    ///
    /// # Errors
    /// [`InvalidHost`](ClientHandshakeError::InvalidHost) or [`InvalidTarget`](ClientHandshakeError::InvalidTarget).
    pub fn new(
        host: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<Self, ClientHandshakeError> {
        let wanted = Wanted {
            host: host.into(),
            target: target.into(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            extensions: None,
        };
        let client = WebSocketClient {
            wanted: Arc::new(wanted),
            settings: Arc::new(Settings {
                // The server pings.
                ping_every: None,
                ..Settings::default()
            }),
        };
        client.checked()
    }

    fn checked(self) -> Result<Self, ClientHandshakeError> {
        self.wanted.request([0; 16]).write()?;
        Ok(self)
    }

    fn want(mut self, change: impl FnOnce(&mut Wanted)) -> Self {
        change(Arc::make_mut(&mut self.wanted));
        self
    }

    /// Offers a subprotocol, after those offered before.
    ///
    /// # Errors
    /// [`InvalidSubprotocol`](ClientHandshakeError::InvalidSubprotocol) if it is not a token, or is offered already.
    pub fn subprotocol(self, name: impl Into<String>) -> Result<Self, ClientHandshakeError> {
        self.want(|wanted| wanted.subprotocols.push(name.into()))
            .checked()
    }

    /// Sends a further header: an origin, a cookie, an authorization.
    ///
    /// # Errors
    /// [`InvalidHeader`](ClientHandshakeError::InvalidHeader) if it is malformed, or written automatically.
    pub fn header(
        self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, ClientHandshakeError> {
        self.want(|wanted| wanted.headers.push((name.into(), value.into())))
            .checked()
    }

    /// The longest message that is accepted, in bytes, as [`WebSocket::max_message`](super::WebSocket::max_message).
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.settings).max_message = bytes;
        self
    }

    /// Offers compression to the server. Default: none is offered.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, deflate: super::Deflate) -> Self {
        Arc::make_mut(&mut self.settings).deflate = Some(deflate);
        self.want(|wanted| wanted.extensions = Some(super::deflate::offer(&deflate)))
    }
}

impl Protocol for WebSocketClient {
    const OPENS_AT_ONCE: bool = false;
    type Decoder = WebSocketClientDecoder;
    type Encoder = WebSocketEncoder<()>;

    /// As of the [server's side](super::WebSocket).
    fn message_timeout(&self) -> Option<Duration> {
        Some(MESSAGE_TIMEOUT)
    }

    /// # Panics
    /// If the system has no random source.
    fn open(&self) -> (Self::Decoder, Self::Encoder) {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the system has a random source");
        let request = self.wanted.request(key);
        let request = request
            .write()
            .expect("the request was checked when it was configured");
        let opening = ClientOpening {
            wanted: self.wanted.clone(),
            key,
            handshake: ClientHandshake::new(),
        };
        (
            WebSocketClientDecoder(FrameReader::new(self.settings.clone(), opening)),
            WebSocketEncoder::new(Session::client(request)),
        )
    }
}

/// The client's side of an opening handshake.
#[derive(Debug)]
pub(crate) struct ClientOpening {
    wanted: Arc<Wanted>,
    key: [u8; 16],
    handshake: ClientHandshake,
}

impl ClientOpening {
    fn read(
        &mut self,
        input: &[u8],
        settings: &Settings,
    ) -> Result<Option<Opened<()>>, ClientHandshakeError> {
        let request = self.wanted.request(self.key);
        let answer = self
            .handshake
            .read_response(input, &settings.head, &request)?;
        let Some(established) = answer else {
            return Ok(None);
        };
        #[cfg(feature = "deflate")]
        let agreed = match (&established.extensions, &settings.deflate) {
            (None, _) => None,
            (Some(answer), Some(deflate)) => Some(
                super::deflate::agree(answer, deflate)
                    .map_err(|_| ClientHandshakeError::Extensions)?,
            ),
            (Some(_), None) => return Err(ClientHandshakeError::Extensions),
        };
        Ok(Some(Opened {
            consumed: established.consumed,
            answer: Vec::new(),
            state: (),
            subprotocol: established.subprotocol,
            #[cfg(feature = "deflate")]
            agreed,
        }))
    }
}

impl Opening for ClientOpening {
    type State = ();
    const FROM_CLIENT: bool = false;

    fn advance(&mut self, input: &[u8], _: &Address, settings: &Settings) -> Step<()> {
        match self.read(input, settings) {
            Ok(None) => Step::NeedMore,
            Ok(Some(opened)) => Step::Open(opened),
            Err(error) => Step::Refused {
                answer: Vec::new(),
                error: WebSocketError::ClientHandshake(error),
            },
        }
    }

    fn timeout_answer(&self, _: &Settings) -> Vec<u8> {
        Vec::new()
    }

    fn refused(&self, _: &Address, _: &WebSocketError) {}
}
