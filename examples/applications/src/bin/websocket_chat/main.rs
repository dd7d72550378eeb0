//! A chat for the browser: the page comes from the same port as the WebSocket, and each room is a topic, so that a message
//! reaches the others in the room on whichever worker they are. A client that does not read is dropped.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin websocket_chat`, then open
//! <http://127.0.0.1:1833/> in two windows. `http://127.0.0.1:1833/?name=ada&room=attic` joins at once. With `-- --self-signed`
//! it is <https://127.0.0.1:1833/>, and the page connects with `wss`; with `--tls-cert FILE --tls-key FILE` the certificate is
//! yours, and `SIGHUP` reads it again.
//!
//! Only its own page may connect, which is the default. A chat in a private network also lists its names (`--host`), so that no
//! page of a stranger's name that resolves to it is taken for its own.
//!
//! Names of people are not verified here: a server that needs that checks a cookie or a token where this one checks the name.

#[path = "../../../../support/certificate.rs"]
mod certificate;
mod door;
mod roster;

use std::borrow::Cow;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use ringwheel::websocket::{CloseCode, Deflate, Hosts, Message, WebSocket, WebSocketError};
use ringwheel::{CloseReason, Conn, Connections, Handler, Limits, Listen, Overflow};
use ringwheel_applications::arguments::ServerArgs;
use serde::{Deserialize, Serialize};

use certificate::Certificate;
use door::{Door, Visitor};
use roster::Roster;

/// A chat server, and the page to chat on.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// How many people a room has place for.
    #[arg(long, value_name = "PEOPLE", default_value = "250")]
    room_size: NonZeroUsize,
    /// Compress messages for browsers that offer it (permessage-deflate).
    #[arg(long)]
    deflate: bool,
    /// A name that the server is known by, such as `chat.example.com`; any number of them [default: every name].
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Serve https and wss with the certificate chain in this PEM file; SIGHUP reads it again.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve https and wss, for trying, with a certificate for this machine that is made at start.
    #[arg(long, conflicts_with = "tls_cert")]
    self_signed: bool,
}

impl Args {
    /// The certificate with which the chat is served over TLS, if it is.
    fn certificate(&mut self) -> Option<Certificate> {
        match (self.tls_cert.take(), self.tls_key.take()) {
            (Some(chain), Some(key)) => Some(Certificate::Files { chain, key }),
            _ => self.self_signed.then_some(Certificate::SelfSigned),
        }
    }
}

const LONGEST_MESSAGE: usize = 4 * 1024;

/// A message of the page.
#[derive(Deserialize)]
struct Words<'a> {
    /// Borrowed unless something in it is escaped.
    #[serde(borrow)]
    say: Cow<'a, str>,
}

/// A message to the page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event<'a> {
    Welcome { people: Vec<&'a str> },
    Joined { name: &'a str },
    Left { name: &'a str },
    Said { name: &'a str, text: &'a str },
    Notice { text: &'a str },
}

impl Event<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts are valid JSON")
    }
}

/// The state that the handlers of all workers share.
struct House {
    room_size: NonZeroUsize,
    /// Locked when somebody comes or goes, and not to pass on a message. A change is published before the lock is released,
    /// so that pages hear of the changes of one worker in their order. Those of two workers may cross.
    roster: Mutex<Roster>,
    /// Everybody who is connected; known once the server is built.
    clients: OnceLock<Connections<Chat>>,
}

impl House {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a room who has come or left.
    fn announce(&self, room: &str, event: &Event<'_>) {
        let Some(clients) = self.clients.get() else {
            return;
        };
        if let Err(error) = clients.publish(room, event.to_json()) {
            eprintln!("not everybody in {room:?} was told: {error}");
        }
    }
}

#[derive(Clone)]
struct Chat {
    house: Arc<House>,
}

impl Handler for Chat {
    type Protocol = WebSocket<Door>;
    /// `None` for one who found the room full.
    type Session = Option<Visitor>;

    fn on_open(&mut self, conn: &mut Conn<'_, WebSocket<Door>>) -> Option<Visitor> {
        let visitor = conn.take_state()?;
        let Visitor { name, room } = &visitor;
        let mut roster = self.house.roster();
        let Some(is_new) = roster.enter(&visitor, self.house.room_size) else {
            conn.close_with(CloseCode::TRY_AGAIN, "the room is full");
            return None;
        };
        conn.subscribe(room)
            .expect("one subscription, to a name of 32 characters, is within the limits");
        let people = roster.people(room);
        conn.send_text(&Event::Welcome { people }.to_json());
        if is_new {
            self.house.announce(room, &Event::Joined { name });
        }
        drop(roster);
        Some(visitor)
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket<Door>>,
        visitor: &mut Option<Visitor>,
        message: Message<'_>,
    ) {
        let Some(Visitor { name, room }) = visitor else {
            return;
        };
        let Some(text) = message.as_text() else {
            return conn.close_with(CloseCode::UNSUPPORTED, "text, please");
        };
        let Ok(Words { say }) = serde_json::from_str(text) else {
            return conn.close_with(CloseCode::POLICY, "that is nothing to say");
        };
        let text = say.trim();
        if text.is_empty() {
            return;
        }
        if let Err(error) = conn.publish(room, Event::Said { name, text }.to_json()) {
            let text = &format!("not everybody got that: {error}");
            conn.send_text(&Event::Notice { text }.to_json());
        }
    }

    fn on_close(
        &mut self,
        _conn: &Conn<'_, WebSocket<Door>>,
        visitor: Option<Visitor>,
        _reason: CloseReason<WebSocketError>,
    ) {
        let Some(visitor) = visitor else { return };
        let mut roster = self.house.roster();
        if roster.leave(&visitor) {
            let Visitor { name, room } = &visitor;
            self.house.announce(room, &Event::Left { name });
        }
    }
}

fn main() -> io::Result<()> {
    let mut args = Args::parse();
    let hosts = match &args.hosts[..] {
        [] => Hosts::any(),
        listed => Hosts::try_list(listed).map_err(io::Error::other)?,
    };
    let protocol = WebSocket::accepting(Door)
        .hosts(hosts)
        .max_message(LONGEST_MESSAGE)
        .ping_every(Duration::from_secs(30));
    let protocol = match args.deflate {
        true => protocol.deflate(Deflate::new()),
        false => protocol,
    };
    // At most this much waits for a slow reader, besides what the kernel buffers; then the reader is dropped, and its page
    // connects anew.
    let limits = Limits::default()
        .low_water(64 * 1024)
        .high_water(128 * 1024)
        .output(512 * 1024)
        .overflow(Overflow::Close);
    let mut listen = Listen::with(protocol, args.server.addr).limits(limits);
    if let Some(certificate) = args.certificate() {
        listen = match certificate.into_tls(&["http/1.1"]) {
            Ok(tls) => listen.tls(tls),
            Err(error) => Args::command().error(ErrorKind::Io, error).exit(),
        };
    }
    let house = Arc::new(House {
        room_size: args.room_size,
        roster: Mutex::default(),
        clients: OnceLock::new(),
    });
    let chat = Chat {
        house: house.clone(),
    };
    let server = args.server.builder().listen_with(listen, chat)?.build()?;
    let clients = server.handle().connections_of()?;
    house.clients.get_or_init(|| clients);
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
