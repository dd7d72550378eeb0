//! The application's part in the opening handshake: it accepts or rejects upgrades, and answers plain requests.

use crate::Address;

use super::error::WebSocketError;
use crate::http::fields::FieldLines;
use crate::http::{Request, Response};

/// Decides on the request that a connection begins with.
///
/// Its methods are called on the loop's thread, so they must not block. If one panics, the peer gets status 500, the connection ends,
/// and the panic is logged. Most servers need only [`upgrade`](Self::upgrade), and a
/// function will do:
///
/// ```
/// use ringwheel::websocket::{Answer, Request, Response};
///
/// struct Visitor {
///     room: String,
/// }
///
/// fn admit(request: &Request<'_>) -> Answer<Visitor> {
///     let Some(room) = request.path().strip_prefix("/rooms/") else {
///         return Answer::reject(Response::text(404, "no such room\n"));
///     };
///     let answer = Answer::accept(Visitor { room: room.to_owned() });
///     match request.subprotocols().find(|offered| *offered == "chat.v2") {
///         Some(chosen) => answer.subprotocol(chosen),
///         None => answer,
///     }
/// }
///
/// // The function's type, for signatures that have to name it.
/// type Admit = fn(&Request<'_>) -> Answer<Visitor>;
/// # let _: Admit = admit;
/// # fn is_accept<A: ringwheel::websocket::Accept>(_: A) {}
/// # is_accept(admit as Admit);
/// # let _ = |visitor: Visitor| visitor.room;
/// ```
pub trait Accept: Send + Sync + 'static {
    /// The facts that a connection has from its handshake on: a user, a room. The handler gets it by `Conn::take_state`.
    type State: 'static;

    /// Answers a valid request for an upgrade to WebSocket, from an origin that is allowed. Called at most once for a
    /// connection.
    fn upgrade(&self, request: &Request<'_>) -> Answer<Self::State>;

    /// Answers a GET or HEAD that asks for no upgrade, or for one in HTTP/1.0, which knows none: a page, a health check. The
    /// connection ends with the answer. [`Request::host`] is empty where an HTTP/1.0 request has none.
    ///
    /// By default, and with `None`, the answer is 426 (Upgrade Required). A response to HEAD is sent without its body. An answer
    /// that does not fit into [`Limits::output`](crate::Limits::output) is not sent: the connection is reset.
    fn http(&self, request: &Request<'_>) -> Option<Response> {
        let _ = request;
        None
    }

    /// Hears of an opening handshake that was refused: by this trait, by the protocol, or because it took longer than
    /// [`WebSocket::handshake_timeout`](super::WebSocket::handshake_timeout). For a log or a count; the handler knows nothing
    /// of such a connection. By default it does nothing.
    ///
    /// It is called on the loop's thread, once for each refused handshake. It is not called for a plain request that was
    /// answered, for a panic of this trait, for a peer that leaves, or for one that is cut off by a limit or a timeout of
    /// [`Listen`](crate::Listen).
    ///
    /// ```
    /// use ringwheel::Address;
    /// use ringwheel::websocket::{Accept, Answer, Request, WebSocketError};
    ///
    /// struct Logged;
    ///
    /// impl Accept for Logged {
    ///     type State = ();
    ///     fn upgrade(&self, _request: &Request<'_>) -> Answer<()> {
    ///         Answer::accept(())
    ///     }
    ///     fn refused(&self, peer: &Address, error: &WebSocketError) {
    ///         eprintln!("{peer} was refused: {error}");
    ///     }
    /// }
    /// ```
    fn refused(&self, peer: &Address, error: &WebSocketError) {
        let _ = (peer, error);
    }
}

/// Accepts every connection, without a subprotocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptAll;

impl Accept for AcceptAll {
    type State = ();

    fn upgrade(&self, _request: &Request<'_>) -> Answer<()> {
        Answer::accept(())
    }
}

/// A function is an [`Accept`] that has it as [`upgrade`](Accept::upgrade).
impl<S, F> Accept for F
where
    S: 'static,
    F: Fn(&Request<'_>) -> Answer<S> + Send + Sync + 'static,
{
    type State = S;

    fn upgrade(&self, request: &Request<'_>) -> Answer<S> {
        self(request)
    }
}

/// The answer to a request for an upgrade.
#[derive(Debug)]
#[must_use]
pub struct Answer<S>(Verdict<S>);

/// An [`Answer`] as the handshake carries it out.
#[derive(Debug)]
pub(crate) enum Verdict<S> {
    Accept(Acceptance<S>),
    Reject(Response),
}

/// The terms on which a connection is accepted.
#[derive(Debug)]
pub(crate) struct Acceptance<S> {
    pub(crate) state: S,
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) fields: FieldLines,
    /// False if the server declines compression.
    pub(crate) may_compress: bool,
}

impl<S> Answer<S> {
    /// Accepts: the connection becomes a WebSocket with this `state`.
    pub fn accept(state: S) -> Self {
        Answer(Verdict::Accept(Acceptance {
            state,
            subprotocol: None,
            fields: FieldLines::default(),
            may_compress: true,
        }))
    }

    /// Rejects: the connection ends with this response.
    pub fn reject(response: Response) -> Self {
        Answer(Verdict::Reject(response))
    }

    /// Chooses a subprotocol. Without this there is none.
    ///
    /// The client must [offer](Request::subprotocols) it, letter for letter; otherwise the handshake is refused with status 500,
    /// and an error is logged. On a rejection it has no effect.
    pub fn subprotocol(mut self, name: &str) -> Self {
        if let Verdict::Accept(acceptance) = &mut self.0 {
            acceptance.subprotocol = Some(name.into());
        }
        self
    }

    /// Adds a header to the answer, accepting or rejecting, as [`Response::header`] does. A header that cannot be sent makes the
    /// handshake fail with status 500.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match &mut self.0 {
            Verdict::Accept(acceptance) => acceptance.fields.add(name, value),
            Verdict::Reject(response) => response.add_header(name, value),
        }
        self
    }

    /// Declines compression on this connection, whatever the client offers: neither side compresses. On a rejection it has no
    /// effect.
    ///
    /// ```
    /// use ringwheel::websocket::{Answer, Request};
    ///
    /// fn admit(request: &Request<'_>) -> Answer<()> {
    ///     match request.path() {
    ///         "/video" => Answer::accept(()).without_compression(),
    ///         _ => Answer::accept(()),
    ///     }
    /// }
    /// # let _: fn(&Request<'_>) -> Answer<()> = admit;
    /// ```
    pub fn without_compression(mut self) -> Self {
        if let Verdict::Accept(acceptance) = &mut self.0 {
            acceptance.may_compress = false;
        }
        self
    }

    pub(crate) fn into_verdict(self) -> Verdict<S> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::with_request;
    use crate::http::response::Form;

    fn state_of<A: Accept>(accept: &A, room: &str) -> Option<A::State> {
        with_request("example.com", &[("X-Room", room)], |request| {
            match accept.upgrade(request).into_verdict() {
                Verdict::Accept(acceptance) => Some(acceptance.state),
                Verdict::Reject(_) => None,
            }
        })
    }

    fn room(request: &Request<'_>) -> Answer<String> {
        match request.header("X-Room") {
            Some("") | None => Answer::reject(Response::new(404)),
            Some(room) => Answer::accept(room.to_owned()),
        }
    }

    #[test]
    fn functions_pointers_and_closures_accept() {
        assert_eq!(state_of(&room, "hall"), Some("hall".to_owned()));
        let pointer: fn(&Request<'_>) -> Answer<String> = room;
        assert_eq!(state_of(&pointer, ""), None);
        let doors = 3;
        let closure = move |_: &Request<'_>| Answer::accept(doors);
        assert_eq!(state_of(&closure, ""), Some(3));
        assert_eq!(state_of(&AcceptAll, ""), Some(()));
    }

    #[test]
    fn by_default_there_is_nothing_but_websocket() {
        with_request("example.com", &[], |request| {
            assert!(AcceptAll.http(request).is_none());
            assert!(room.http(request).is_none());
        });
    }

    #[test]
    fn a_rejection_takes_headers_too() {
        let answer = Answer::<()>::reject(Response::new(401)).header("WWW-Authenticate", "Bearer");
        let Verdict::Reject(response) = answer.subprotocol("chat").into_verdict() else {
            panic!("it is a rejection");
        };
        let text = String::from_utf8(response.write(&Form::default()).unwrap()).unwrap();
        assert!(text.contains("WWW-Authenticate: Bearer\r\n"), "{text}");
        assert!(!text.contains("chat"), "{text}");
    }
}
