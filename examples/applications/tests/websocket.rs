//! The WebSocket applications, talked to by the crate's own client codec.

use std::collections::HashMap;
use std::net::SocketAddr;

use ringwheel::protocol::{Decode, Encode, Farewell, Output, Protocol, UnpackContext, Unpacked};
use ringwheel::websocket::{Deflate, Message, WebSocketClient};
use serde_json::{Value, json};
use support::{Client, Example};

const CHAT: &str = env!("CARGO_BIN_EXE_websocket_chat");
const PUSH: &str = env!("CARGO_BIN_EXE_websocket_push");
const SUBPROTOCOL: &str = env!("CARGO_BIN_EXE_websocket_subprotocol");

/// Among so many events any that is waited for has come.
const MOST_EVENTS: usize = 100_000;

#[test]
fn chat_has_its_page_on_the_same_port() {
    let chat = Site::serve(CHAT, &[]);
    let page = chat.get("/");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(page.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'none';"));
    // What it loads is there too.
    let script = chat.get("/chat.js");
    assert!(page.contains(r#" src="chat.js""#) && script.starts_with("HTTP/1.1 200 "));
    assert!(script.contains("\r\nContent-Type: text/javascript; charset=utf-8\r\n"));
    let style = chat.get("/chat.css");
    assert!(page.contains(r#" href="chat.css""#) && style.starts_with("HTTP/1.1 200 "));
    assert!(style.contains("\r\nContent-Type: text/css; charset=utf-8\r\n"));

    // What the script looks for is in the page, and what people say does not become part of the page's markup.
    let sought: Vec<&str> = script.split("element('").skip(1).collect();
    assert!(sought.len() > 10, "{script}");
    for id in sought {
        let id = id.split('\'').next().expect("split gives something");
        assert!(page.contains(&format!(r#" id="{id}""#)), "{id}");
    }
    assert!(!script.contains("innerHTML") && !script.contains("insertAdjacentHTML"));

    let health = chat.get("/health");
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("\r\n\r\nok\n"));
    assert!(chat.get("/elsewhere").starts_with("HTTP/1.1 404 "));
    assert!(chat.get("/chat?name=ada").starts_with("HTTP/1.1 426 "));
}

#[test]
fn chat_lets_in_who_has_a_name_and_comes_from_its_page() {
    let chat = Site::serve(CHAT, &["--workers=1"]);
    let long = "%C3%A9".repeat(33);
    for name in [
        "", "%0a", "a%7Fb", "+ada", "ada%20", "%zz", "%4", "%ff", &long,
    ] {
        let status = chat.refusal(&chat.client(&format!("/chat?name={name}")));
        assert!(status.starts_with("HTTP/1.1 400 "), "{name:?}: {status}");
        let status = chat.refusal(&chat.client(&format!("/chat?name=ada&room={name}")));
        assert!(status.starts_with("HTTP/1.1 400 "), "{name:?}: {status}");
    }
    let no_name = chat.refusal(&chat.client("/chat?names=ada&name"));
    assert!(no_name.starts_with("HTTP/1.1 400 "), "{no_name}");
    let elsewhere = chat.refusal(&chat.client("/?name=ada"));
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
    let other_page = chat
        .client("/chat?name=ada")
        .header("Origin", "http://evil.example");
    let other_page = chat.refusal(&other_page.expect("a header"));
    assert!(other_page.starts_with("HTTP/1.1 403 "), "{other_page}");

    let own_page = chat.client("/chat?room=a%26b+c&name=%C3%A9%20%f0%9f%9A%80");
    let own_page = own_page.header("Origin", format!("http://{}", chat.addr));
    let mut peer = chat.open(&own_page.expect("a header"));
    assert_eq!(peer.json(), json!({"type": "welcome", "people": ["é 🚀"]}));
    let mut longest = chat.connect(&format!("/chat?room=a%26b%20c&name={}", &long[6..]));
    let people = json!(["é 🚀", "é".repeat(32)]);
    assert_eq!(longest.json()["people"], people);
}

#[test]
fn chat_answers_to_the_names_that_are_listed() {
    let chat = Site::serve(CHAT, &["--workers=1", "--host=chat.example"]);
    let as_page_of = |host: &str| {
        let client = WebSocketClient::new(host, "/chat?name=ada").expect("host and target");
        let origin = format!("http://{host}");
        client.header("Origin", origin).expect("a header")
    };
    let rebound = chat.refusal(&as_page_of("evil.example"));
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
    let mut peer = chat.open(&as_page_of("chat.example"));
    assert_eq!(peer.json()["people"], json!(["ada"]));
    // Its address is no name.
    let health = chat.get("/health");
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
}

#[test]
fn chat_relays_within_a_room_and_says_who_is_there() {
    let chat = Site::serve(CHAT, &["--workers=2"]);
    let mut ada = chat.connect("/chat?name=ada");
    assert_eq!(ada.json(), json!({"type": "welcome", "people": ["ada"]}));
    let mut eve = chat.connect("/chat?name=eve&room=attic");
    assert_eq!(eve.json(), json!({"type": "welcome", "people": ["eve"]}));
    let mut bob = chat.connect("/chat?name=bob");
    assert_eq!(
        bob.json(),
        json!({"type": "welcome", "people": ["ada", "bob"]})
    );
    ada.skip_until(&json!({"type": "joined", "name": "bob"}));

    let markup = "  <b>Grüße</b> & \"世界\" \\ \u{2028} 🚀 ";
    ada.say(" ");
    ada.say(markup);
    eve.say("nobody hears me");
    for peer in [&mut ada, &mut bob] {
        assert_eq!(peer.heard(), ("ada".into(), markup.trim().into()));
    }
    assert_eq!(eve.heard(), ("eve".into(), "nobody hears me".into()));
    bob.say("hi");
    for peer in [&mut ada, &mut bob] {
        assert_eq!(peer.heard(), ("bob".into(), "hi".into()));
    }

    // Who opens a second window has not come again, and who closes it has not left.
    let mut second = chat.connect("/chat?name=ada");
    assert_eq!(
        second.json(),
        json!({"type": "welcome", "people": ["ada", "bob"]})
    );
    second.leave();
    drop(eve);
    let eve = chat.connect("/chat?name=eve");
    let mut events = bob.skip_until(&json!({"type": "joined", "name": "eve"}));
    // In order, or not.
    ada.leave();
    let ada_left = json!({"type": "left", "name": "ada"});
    events.extend(bob.skip_until(&ada_left));
    drop(eve);
    events.extend(bob.skip_until(&json!({"type": "left", "name": "eve"})));
    assert!(!events.contains(&ada_left), "{events:?}");
}

#[test]
fn chat_compresses_on_demand() {
    let chat = Site::serve(CHAT, &["--workers=1", "--deflate"]);
    let mut ada = chat.open(&chat.client("/chat?name=ada").deflate(Deflate::new()));
    let extension = "\r\nSec-WebSocket-Extensions: permessage-deflate";
    assert!(ada.head.contains(extension), "{}", ada.head);
    let mut bob = chat.connect("/chat?name=bob");
    assert!(!bob.head.contains(extension), "{}", bob.head);
    let words = "so it is said, again and again, ".repeat(100);
    for peer in [&mut ada, &mut bob] {
        assert_eq!(peer.json()["type"], "welcome");
        peer.say(&words);
    }
    for peer in [&mut ada, &mut bob] {
        let [(one, first), (other, second)] = [(); 2].map(|()| peer.heard());
        assert_ne!(one, other);
        assert!(first == words.trim() && second == words.trim());
    }
}

#[test]
fn chat_closes_on_what_its_page_would_not_send() {
    let chat = Site::serve(CHAT, &["--workers=1"]);
    let too_long = json!({"say": "x".repeat(4096)}).to_string();
    for (message, code) in [
        (Message::Binary(b"{}"), 1003),
        (Message::Text("hello"), 1008),
        (Message::Text(r#"{"said": "hello"}"#), 1008),
        (Message::Text(&too_long), 1009),
    ] {
        let mut peer = chat.connect("/chat?name=ada");
        peer.send(message);
        assert_eq!(peer.end().0, code, "{message:?}");
    }
}

#[test]
fn chat_turns_away_who_finds_the_room_full() {
    let chat = Site::serve(CHAT, &["--workers=2", "--room-size=1"]);
    let mut ada = chat.connect("/chat?name=ada");
    assert_eq!(ada.json()["type"], "welcome");
    let (code, reason) = chat.connect("/chat?name=bob").end();
    assert_eq!((code, &*reason), (1013, "the room is full"));
    for other in ["/chat?name=ada", "/chat?name=bob&room=attic"] {
        assert_eq!(chat.connect(other).json()["type"], "welcome", "{other}");
    }
    ada.leave();
    // The server hears of it some time.
    support::eventually("there is a place", || {
        matches!(chat.connect("/chat?name=bob").next(), Heard::Text(_))
    });
}

#[test]
fn chat_drops_a_slow_reader() {
    let chat = Site::serve(CHAT, &["--workers=2"]);
    let mut ada = chat.connect("/chat?name=ada");
    let _slow = Peer::open(
        Client::connect_narrow(chat.addr),
        &chat.client("/chat?name=slow"),
    );
    ada.skip_until(&json!({"type": "joined", "name": "slow"}));
    let words = "x".repeat(4000);
    let gone = json!({"type": "left", "name": "slow"});
    // The kernel's buffers may take megabytes before the server's own fill up.
    for _ in 0..10_000 {
        ada.say(&words);
        let event = ada.json();
        if event == gone {
            assert_eq!(ada.heard(), ("ada".into(), words));
            return;
        }
        assert_eq!(event["text"], *words);
    }
    panic!("it is still there");
}

#[test]
fn push_sends_the_quotes_that_were_asked_for() {
    let push = Site::serve(PUSH, &["--workers=2", "--rate=50"]);
    let mut peer = push.connect("/");
    for symbol in ["ACME", "HOOLI"] {
        peer.send_json(&json!({"subscribe": symbol}));
        peer.skip_until(&json!({"subscribed": symbol}));
    }
    let mut numbers = [None; 2];
    for _ in 0..40 {
        let quote = Quote::from(peer.json());
        let index = ["ACME", "HOOLI"]
            .iter()
            .position(|symbol| *symbol == quote.symbol);
        let last = &mut numbers[index.expect("nothing else was asked for")];
        assert!(
            last.is_none_or(|last| quote.number == last + 1),
            "{quote:?}"
        );
        *last = Some(quote.number);
    }
    assert!(numbers.iter().all(Option::is_some), "{numbers:?}");

    peer.send_json(&json!({"unsubscribe": "ACME"}));
    peer.skip_until(&json!({"unsubscribed": "ACME"}));
    for _ in 0..5 {
        assert_eq!(Quote::from(peer.json()).symbol, "HOOLI");
    }
    peer.send_json(&json!({"unsubscribe": "HOOLI"}));
    peer.skip_until(&json!({"unsubscribed": "HOOLI"}));
    peer.send_json(&json!({"subscribe": "NOPE"}));
    assert_eq!(peer.json(), json!({"error": "there is no such symbol"}));
    peer.send(Message::Text("ACME"));
    assert_eq!(peer.end().0, 1008);
}

#[test]
fn push_repeats_itself_with_the_same_seed() {
    let options = ["--workers=1", "--rate=200", "--seed=7"];
    let servers = [(); 2].map(|()| Site::serve(PUSH, &options));
    let mut peers = servers.each_ref().map(|server| server.connect("/"));
    for peer in &mut peers {
        peer.send_json(&json!({"subscribe": "UMBRELLA"}));
        peer.skip_until(&json!({"subscribed": "UMBRELLA"}));
    }
    let [one, other] = &mut peers;
    let (mut quote, mut same) = (Quote::from(one.json()), Quote::from(other.json()));
    for _ in 0..10 {
        while quote.number != same.number {
            let (late, peer) = match quote.number < same.number {
                true => (&mut quote, &mut *one),
                false => (&mut same, &mut *other),
            };
            *late = Quote::from(peer.json());
        }
        assert_eq!(quote, same);
        quote = Quote::from(one.json());
    }
}

#[test]
fn push_drops_quotes_for_who_is_slow_and_counts_them() {
    let options = ["--workers=2", "--rate=1000", "--stats=0.05"];
    let push = Site::serve(PUSH, &options);
    let mut slow = Peer::open(Client::connect_narrow(push.addr), &push.client("/"));
    for symbol in ["ACME", "GLOBEX", "HOOLI", "INITECH", "UMBRELLA"] {
        slow.send_json(&json!({"subscribe": symbol}));
    }
    let (mut delivered, mut dropped) = (0, 0);
    for _ in 0..MOST_EVENTS {
        let line = push.example.next_line();
        let counts = line.strip_prefix("delivered ").and_then(|rest| {
            let (delivered, dropped) = rest.split_once(", dropped ")?;
            Some((delivered.parse::<u64>().ok()?, dropped.parse::<u64>().ok()?))
        });
        let (more, lost) = counts.unwrap_or_else(|| panic!("no counts: {line}"));
        (delivered, dropped) = (delivered + more, lost);
        if dropped > 0 {
            break;
        }
    }
    assert!(delivered > 0 && dropped > 0, "{delivered}, {dropped}");

    // Now it reads: of what was dropped there is nothing, and the quotes go on behind it.
    let mut last = HashMap::new();
    let has_gap = (0..MOST_EVENTS).any(|_| {
        let event = slow.json();
        if event.get("subscribed").is_some() {
            return false;
        }
        let quote = Quote::from(event);
        let before = last.insert(quote.symbol, quote.number);
        before.is_some_and(|before| quote.number > before + 1)
    });
    assert!(has_gap, "{last:?}");
}

#[test]
fn subprotocol_agrees_on_the_best_version() {
    let options = ["--workers=2", "--user=ada:lovelace", "--user=bob:t-1"];
    let server = Site::serve(SUBPROTOCOL, &options);
    let both = offer(server.client("/"), &["v0.echo", "v1.echo", "v2.echo"]);
    let ada = both.header("Authorization", "bearer lovelace");
    let mut ada = server.open(&ada.expect("a header"));
    assert!(ada.head.contains("\r\nSec-WebSocket-Protocol: v2.echo\r\n"));
    let hello = json!({"hello": {"user": "ada", "protocol": "v2.echo"}});
    assert_eq!(ada.json(), hello);
    ada.send(Message::Text("what is \"this\"?"));
    assert_eq!(ada.json(), json!({"echo": "what is \"this\"?"}));
    ada.send(Message::Text("bye"));
    assert_eq!(ada.end(), (1000, "goodbye ada".into()));
    // The handler is told of its own close at once, before the peer answers.
    assert_eq!(server.example.next_line(), "ada: Local; they said nothing");

    let bob = || server.open(&offer(server.client("/?x=1&token=t-1"), &["v1.echo"]));
    let mut leaves = bob();
    assert!(
        leaves
            .head
            .contains("\r\nSec-WebSocket-Protocol: v1.echo\r\n")
    );
    assert_eq!(leaves.text(), "hello bob, we speak v1.echo");
    leaves.send(Message::Text("what is \"this\"?"));
    assert_eq!(leaves.text(), "what is \"this\"?");
    leaves.leave();
    assert_eq!(server.example.next_line(), "bob: Peer; they said 1000 \"\"");
    let mut sends_binary = bob();
    sends_binary.send(Message::Binary(b"what is this?"));
    assert_eq!(sends_binary.text(), "hello bob, we speak v1.echo");
    assert_eq!(sends_binary.end(), (1003, "text, please".into()));
}

#[test]
fn subprotocol_refuses_by_status() {
    let origins = [
        "--origin=https://one.example",
        "--origin=https://two.example",
    ];
    let options = [&["--workers=1", "--user=ada:lovelace"], &origins[..]].concat();
    let server = Site::serve(SUBPROTOCOL, &options);
    let client = |target, header: Option<(&str, &str)>| {
        let client = offer(server.client(target), &["v2.echo"]);
        match header {
            Some((name, value)) => client.header(name, value).expect("a header"),
            None => client,
        }
    };
    for client in [
        client("/", None),
        client("/?token=", None),
        client("/?token=LOVELACE", None),
        client("/?tokens=lovelace", None),
        client("/", Some(("Authorization", "Basic lovelace"))),
        client("/", Some(("Authorization", "lovelace"))),
        // The header counts.
        client("/?token=lovelace", Some(("Authorization", "Bearer x"))),
    ] {
        let answer = server.refusal(&client);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{client:?}: {answer}");
        assert!(
            answer.contains("\r\nWWW-Authenticate: Bearer\r\n"),
            "{answer}"
        );
    }
    for offered in [&[][..], &["V2.echo", "v3.echo"]] {
        let answer = server.refusal(&offer(server.client("/?token=lovelace"), offered));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{offered:?}: {answer}");
    }
    let own = format!("http://{}", server.addr);
    for origin in ["https://three.example", "http://one.example", &own] {
        let answer = server.refusal(&client("/?token=lovelace", Some(("Origin", origin))));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
    }
    for origin in ["https://one.example", "https://two.example:443"] {
        let mut peer = server.open(&client("/?token=lovelace", Some(("Origin", origin))));
        assert_eq!(peer.json()["hello"]["user"], "ada");
    }
}

#[test]
fn bad_options_are_errors_and_no_panics() {
    for (program, option) in [
        (CHAT, "--room-size=0"),
        (PUSH, "--rate=0"),
        (PUSH, "--stats=x"),
        (SUBPROTOCOL, "--user=ada"),
        (SUBPROTOCOL, "--user=ada:love&lace"),
    ] {
        let output = Example::run_to_end(program, &[option]);
        assert_eq!(output.status.code(), Some(2), "{program} {option}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(&option[..6]), "{message}");
    }
}

fn offer(client: WebSocketClient, names: &[&str]) -> WebSocketClient {
    let add = |client: WebSocketClient, name: &&str| client.subprotocol(*name);
    names.iter().try_fold(client, add).expect("tokens")
}

#[derive(Debug, PartialEq)]
struct Quote {
    symbol: String,
    price: f64,
    number: u64,
}

impl From<Value> for Quote {
    #[track_caller]
    fn from(event: Value) -> Self {
        let quote = &event["quote"];
        let fields = (|| {
            Some(Quote {
                symbol: quote["symbol"].as_str()?.to_owned(),
                price: quote["price"].as_f64()?,
                number: quote["number"].as_u64()?,
            })
        })();
        let quote = fields.unwrap_or_else(|| panic!("no quote: {event}"));
        assert!(quote.price >= 1.0 && quote.number > 0, "{quote:?}");
        quote
    }
}

/// An application that serves, and its address.
struct Site {
    example: Example,
    addr: SocketAddr,
}

impl Site {
    #[track_caller]
    fn serve(program: &str, options: &[&str]) -> Self {
        let (example, addr) = Example::serve(program, options);
        Site { example, addr }
    }

    /// What a GET is answered.
    #[track_caller]
    fn get(&self, target: &str) -> String {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr);
        self.answer(request.as_bytes())
    }

    /// What an opening request is answered that is refused.
    #[track_caller]
    fn refusal(&self, client: &WebSocketClient) -> String {
        let (_, mut encoder) = client.open();
        let mut output = Output::detached();
        encoder.greet(&mut output);
        self.answer(&output.take())
    }

    #[track_caller]
    fn answer(&self, request: &[u8]) -> String {
        let mut client = Client::connect(self.addr);
        client.send(request);
        String::from_utf8(client.receive_rest()).expect("text")
    }

    #[track_caller]
    fn client(&self, target: &str) -> WebSocketClient {
        WebSocketClient::new(self.addr.to_string(), target).expect("a target")
    }

    #[track_caller]
    fn open(&self, client: &WebSocketClient) -> Peer {
        Peer::open(Client::connect(self.addr), client)
    }

    #[track_caller]
    fn connect(&self, target: &str) -> Peer {
        self.open(&self.client(target))
    }
}

/// The client's end of a WebSocket.
struct Peer {
    client: Client,
    decoder: <WebSocketClient as Protocol>::Decoder,
    encoder: <WebSocketClient as Protocol>::Encoder,
    input: Vec<u8>,
    /// The head of the server's answer.
    head: String,
}

/// What a peer hears.
#[derive(Debug)]
enum Heard {
    Open(String),
    Text(String),
    Close(u16, String),
}

impl Peer {
    #[track_caller]
    fn open(client: Client, wanted: &WebSocketClient) -> Self {
        let (decoder, encoder) = wanted.open();
        let mut peer = Peer {
            client,
            decoder,
            encoder,
            input: Vec::new(),
            head: String::new(),
        };
        peer.put(|encoder, output| encoder.greet(output));
        match peer.next() {
            Heard::Open(head) => peer.head = head,
            heard => panic!("{heard:?} instead of an answer"),
        }
        peer
    }

    /// Sends what the encoder writes.
    #[track_caller]
    fn put<R>(
        &mut self,
        write: impl FnOnce(&mut <WebSocketClient as Protocol>::Encoder, &mut Output) -> R,
    ) -> R {
        let mut output = Output::detached();
        let result = write(&mut self.encoder, &mut output);
        self.client.send(&output.take());
        result
    }

    #[track_caller]
    fn send(&mut self, message: Message<'_>) {
        let sent = self.put(|encoder, output| encoder.pack(message, output));
        sent.expect("the connection is open");
    }

    #[track_caller]
    fn send_json(&mut self, value: &Value) {
        self.send(Message::Text(&value.to_string()));
    }

    #[track_caller]
    fn say(&mut self, words: &str) {
        self.send_json(&json!({ "say": words }));
    }

    /// What comes next; what the codec answers by itself is sent.
    #[track_caller]
    fn next(&mut self) -> Heard {
        loop {
            if self.input.is_empty() {
                self.read(1);
            }
            let mut output = Output::detached();
            let mut context = UnpackContext::detached(&mut output, &mut self.encoder);
            let unpacked = self.decoder.unpack(&mut self.input, &mut context);
            let (consumed, heard) = match unpacked.expect("the server keeps to the protocol") {
                Unpacked::NeedMore { at_least } => {
                    self.read(at_least);
                    continue;
                }
                Unpacked::Skip { consumed } => (consumed, None),
                Unpacked::Message { message, consumed } => {
                    let text = message.as_text().expect("the applications send text");
                    (consumed, Some(Heard::Text(text.to_owned())))
                }
                Unpacked::Opened { consumed } => (
                    consumed,
                    Some(Heard::Open(text_of(&self.input[..consumed]))),
                ),
                Unpacked::End { consumed } => {
                    (consumed, Some(Heard::close(&self.input[..consumed])))
                }
            };
            self.input.drain(..consumed);
            let answer = output.take();
            if !answer.is_empty() {
                self.client.send(&answer);
            }
            if let Some(heard) = heard {
                return heard;
            }
        }
    }

    #[track_caller]
    fn read(&mut self, at_least: usize) {
        let enough = self.input.len() + at_least.max(1);
        while self.input.len() < enough {
            let bytes = self.client.receive_some(64 * 1024);
            assert!(!bytes.is_empty(), "the stream ends without a close frame");
            self.input.extend_from_slice(&bytes);
        }
    }

    #[track_caller]
    fn text(&mut self) -> String {
        match self.next() {
            Heard::Text(text) => text,
            heard => panic!("{heard:?} instead of a text"),
        }
    }

    #[track_caller]
    fn json(&mut self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    /// Who has said what in the chat; whoever came or left meanwhile is passed over.
    #[track_caller]
    fn heard(&mut self) -> (String, String) {
        loop {
            let event = self.json();
            match &event["type"] {
                kind if kind == "said" => {
                    let field = |name| event[name].as_str().expect("a text").to_owned();
                    return (field("name"), field("text"));
                }
                kind => assert!(kind == "joined" || kind == "left", "{event}"),
            }
        }
    }

    /// Waits for an event, and returns what came before it.
    #[track_caller]
    fn skip_until(&mut self, awaited: &Value) -> Vec<Value> {
        let mut skipped = Vec::new();
        for _ in 0..MOST_EVENTS {
            let event = self.json();
            if event == *awaited {
                return skipped;
            }
            skipped.push(event);
        }
        panic!("{awaited} does not come");
    }

    /// Closes as a browser does, and waits until the server has closed too.
    #[track_caller]
    fn leave(&mut self) {
        self.put(|encoder, output| encoder.farewell(Farewell::Closed, output));
        assert_eq!(self.end().0, 1000);
    }

    /// The code and the reason with which the server closes, whatever it says before; then its end of stream, and ours.
    #[track_caller]
    fn end(&mut self) -> (u16, String) {
        loop {
            if let Heard::Close(code, reason) = self.next() {
                self.client.expect_eof();
                self.client.finish();
                return (code, reason);
            }
        }
    }
}

impl Heard {
    /// From a server's close frame: two bytes of header, two of the code, and the reason.
    fn close(frame: &[u8]) -> Self {
        let code = u16::from_be_bytes([frame[2], frame[3]]);
        Heard::Close(code, text_of(&frame[4..]))
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
