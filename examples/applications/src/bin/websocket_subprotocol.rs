//! Decides on opening handshakes: by a bearer token, the page's origin, and one of two subprotocols.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin websocket_subprotocol -- --user ada:lovelace`, then
//! connect to `ws://127.0.0.1:1833/?token=lovelace` and offer the subprotocol `v2.echo`. A request is refused with status
//! - 403 from the page of another host, or of one that is not an `--origin`;
//! - 401 without the token of some user;
//! - 400 without a subprotocol that the server speaks.
//!
//! Text comes back. Anything else ends the connection with code 1003, and `bye` with 1000.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use clap::Parser;
use ringwheel::websocket::{
    Accept, Answer, CloseCode, Message, Origins, Request, Response, WebSocket, WebSocketError,
};
use ringwheel::{CloseReason, Conn, Handler, Listen};
use ringwheel_applications::arguments::ServerArgs;
use serde::Serialize;

/// An echo server that asks for a token and agrees on a version.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// A user and their token; any number of them.
    #[arg(long = "user", value_name = "NAME:TOKEN", value_parser = user, required = true)]
    users: Vec<(String, String)>,
    /// An origin whose pages may connect, such as `https://example.com`; any number of them [default: the server's own].
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

/// Understands `NAME:TOKEN`. Tokens of these characters stand in a header and in a query as they are.
fn user(text: &str) -> Result<(String, String), &'static str> {
    let (name, token) = text
        .split_once(':')
        .ok_or("no colon between name and token")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if name.is_empty() || token.is_empty() || !token.bytes().all(is_plain) {
        return Err("a name, a colon, and a token of letters, digits, '-', '.', '_' and '~'");
    }
    Ok((name.to_owned(), token.to_owned()))
}

/// The subprotocol of a connection. The server prefers the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Texts as they are.
    V1,
    /// JSON objects.
    V2,
}

impl Version {
    const BY_PREFERENCE: [Version; 2] = [Version::V2, Version::V1];

    fn name(self) -> &'static str {
        match self {
            Version::V1 => "v1.echo",
            Version::V2 => "v2.echo",
        }
    }

    /// The best that the client offers, whatever it prefers itself.
    fn choose(request: &Request<'_>) -> Option<Version> {
        let is_offered =
            |version: &Version| request.subprotocols().any(|name| name == version.name());
        Version::BY_PREFERENCE.into_iter().find(is_offered)
    }
}

/// The state of a connection from its handshake on.
struct Guest {
    name: Arc<str>,
    version: Version,
}

/// Asks for a token and agrees on a version. The protocol has checked the origin before.
struct Gate {
    /// The users by their tokens. A map with a keyed hash does not leak a token through the time that a lookup takes.
    users: HashMap<String, Arc<str>>,
}

impl Accept for Gate {
    type State = Guest;

    fn upgrade(&self, request: &Request<'_>) -> Answer<Guest> {
        let Some(name) = token(request).and_then(|token| self.users.get(token)) else {
            let response = Response::text(401, "the token of a user, please\n");
            return Answer::reject(response).header("WWW-Authenticate", "Bearer");
        };
        let Some(version) = Version::choose(request) else {
            return Answer::reject(Response::text(400, "I speak v2.echo and v1.echo\n"));
        };
        let name = name.clone();
        Answer::accept(Guest { name, version }).subprotocol(version.name())
    }
}

/// The token in the header, or else in the query: a page's script cannot set headers. Queries end up in logs, so a token
/// in one should be valid for one connection only.
fn token<'a>(request: &Request<'a>) -> Option<&'a str> {
    if let Some(credentials) = request.header("Authorization") {
        let (scheme, token) = credentials.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim_start());
    }
    let mut pairs = request.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("token="))
}

/// A message of the server in [`Version::V2`].
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Reply<'a> {
    Hello { user: &'a str, protocol: &'a str },
    Echo(&'a str),
}

fn send_json(conn: &mut Conn<'_, WebSocket<Gate>>, reply: &Reply<'_>) {
    let text = serde_json::to_string(reply).expect("texts are valid JSON");
    conn.send_text(&text);
}

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = WebSocket<Gate>;
    type Session = Guest;

    fn on_open(&mut self, conn: &mut Conn<'_, WebSocket<Gate>>) -> Guest {
        let guest = conn.take_state().expect("it is there until it is taken");
        let (user, protocol) = (&*guest.name, guest.version.name());
        match guest.version {
            Version::V1 => {
                conn.send_text(&format!("hello {user}, we speak {protocol}"));
            }
            Version::V2 => send_json(conn, &Reply::Hello { user, protocol }),
        }
        guest
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket<Gate>>,
        guest: &mut Guest,
        message: Message<'_>,
    ) {
        match (message, guest.version) {
            (Message::Binary(_), _) => {
                conn.close_with(CloseCode::UNSUPPORTED, "text, please");
            }
            (Message::Text("bye"), _) => {
                conn.close_with(CloseCode::NORMAL, &format!("goodbye {}", guest.name));
            }
            (Message::Text(text), Version::V1) => {
                conn.send_text(text);
            }
            (Message::Text(text), Version::V2) => send_json(conn, &Reply::Echo(text)),
        }
    }

    fn on_close(
        &mut self,
        conn: &Conn<'_, WebSocket<Gate>>,
        guest: Guest,
        reason: CloseReason<WebSocketError>,
    ) {
        // A close frame need not have a code, and a peer may leave without a close frame.
        let said = match conn.peer_close() {
            Some(close) => match close.code {
                Some(code) => format!("{code} {:?}", close.reason),
                None => "close".to_owned(),
            },
            None => "nothing".to_owned(),
        };
        println!("{}: {reason:?}; they said {said}", guest.name);
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let users = args.users.into_iter();
    let gate = Gate {
        users: users.map(|(name, token)| (token, name.into())).collect(),
    };
    let origins = match &args.origins[..] {
        [] => Origins::same_host(),
        listed => Origins::try_list(listed).map_err(io::Error::other)?,
    };
    let protocol = WebSocket::accepting(gate).origins(origins);
    let listen = Listen::with(protocol, args.server.addr);
    let server = args.server.builder().listen_with(listen, Echo)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
