//! Connects a server and a client through a simulated wire that is checked: one receives what the other sends, in
//! order, whatever operations come in between.

use std::collections::VecDeque;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use ringwheel::protocol::{Decode, Encode, EncodeParts, Farewell, Parting};
use ringwheel::websocket::{
    AcceptAll, Message, MessageBuf, WebSocket, WebSocketClient, WebSocketError,
};
use support::websocket::{BINARY, CLOSE, Frame, PING, PONG, RSV1};

use crate::endpoint::{Calling, Endpoint, Event, Subject};
use crate::input::plan;
use crate::websocket::{Kept, deflate};

/// The ratio that deflate cannot exceed: messages of one letter are honest here, however long.
const ANY_RATIO: u32 = 1_032;

/// More operations than this find nothing new.
const MAX_OPERATIONS: usize = 100;

const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_TIMEOUT: Duration = Duration::from_secs(25);

#[derive(Arbitrary, Debug)]
struct Plan {
    /// The compression that both sides offer; see [`deflate`].
    deflate: Option<(u8, u8, u8)>,
    pings: bool,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Side {
    Server,
    Client,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Send(Side, Content),
    /// Sends an item that owns its content to this side; twice if the flag is set.
    SendOwned(Side, Content, bool),
    SendParts(Side, Content, u8),
    /// Sends a message in fragments of at most this many bytes; with a ping in between if the flag is set.
    Fragments(Side, Content, u8, bool),
    Ping(Side, u8),
    /// Sends an unsolicited pong.
    Pong(Side, u8),
    /// Delivers this many bytes to this side, or all that there are.
    Deliver(Side, u8),
    Advance(u16),
    Farewell(Side, Why),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Why {
    Closed,
    Shutdown,
    PeerEnded,
    Refused,
    InputLimit,
    Panic,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Content {
    is_text: bool,
    size: u8,
    pattern: u8,
}

impl Content {
    fn bytes(self) -> Vec<u8> {
        let size = match usize::from(self.size) {
            small @ 0..192 => small,
            // Lengths around critical ones: of a length field, a buffer, a large write, and a batch of small writes.
            large @ 192..255 => {
                [125, 126, 127, 128, 1000, 4096, 8192, 16_384][large % 8] + large / 8 % 4
            }
            _ => 65_537,
        };
        let text = ["a", "\u{e9}b", "{\"k\":1}", "\u{1F980}", "x\u{7ff}\u{ffff}"];
        let word = text[usize::from(self.pattern) % text.len()];
        let word = match self.is_text {
            true => word.as_bytes(),
            false => &[self.pattern, 0, 0xFF, self.pattern ^ 0x5A],
        };
        let count = size / word.len();
        word.repeat(count)
    }

    fn with<T>(self, use_it: impl FnOnce(Message<'_>) -> T) -> T {
        let bytes = self.bytes();
        match self.is_text {
            true => use_it(Message::Text(
                std::str::from_utf8(&bytes).expect("the text consists of whole words"),
            )),
            false => use_it(Message::Binary(&bytes)),
        }
    }

    fn kept(self) -> Kept {
        self.with(|message| message.into())
    }

    fn owned(self) -> MessageBuf {
        self.with(|message| match message {
            Message::Text(text) => MessageBuf::text(text),
            Message::Binary(bytes) => MessageBuf::binary(Bytes::copy_from_slice(bytes)),
        })
    }
}

/// One direction: the bytes on their way, and the messages and pings that must arrive.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    /// Messages sent and not received yet.
    sent: VecDeque<Kept>,
    /// Payloads of the pings without a pong yet.
    pings: VecDeque<Vec<u8>>,
    /// True once a close frame was sent.
    is_closed: bool,
    /// True once the close frame was received.
    is_ended: bool,
}

impl Wire {
    /// Checks that received messages are the oldest sent ones, and that nothing follows the end.
    fn take(&mut self, events: Vec<Event<Kept>>) {
        for event in events {
            assert!(!self.is_ended, "{event:?} behind the end");
            match event {
                Event::Message(message) => assert_eq!(Some(message), self.sent.pop_front()),
                Event::End => self.is_ended = true,
                Event::Opened => panic!("the connection was already open"),
            }
        }
    }
}

struct Pair {
    server: Endpoint<WebSocket<AcceptAll>>,
    client: Endpoint<WebSocketClient>,
    from_server: Wire,
    from_client: Wire,
    is_deflated: bool,
    pings: bool,
    now: Duration,
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let Some(plan) = plan::<Plan>(data) else {
        return;
    };
    let mut pair = Pair::open(&plan);
    for operation in plan.operations.iter().take(MAX_OPERATIONS) {
        pair.apply(operation);
    }
    pair.finish();
}

impl Pair {
    fn open(plan: &Plan) -> Self {
        let mut server = WebSocket::new()
            .pong_timeout(PONG_TIMEOUT)
            .ping_every(plan.pings.then_some(PING_EVERY));
        let mut client = WebSocketClient::new("h", "/").expect("host and target are valid");
        if let Some((servers, clients, window)) = plan.deflate {
            server = server.deflate(deflate(servers, window).max_ratio(ANY_RATIO));
            client = client.deflate(deflate(clients, window >> 4).max_ratio(ANY_RATIO));
        }
        let mut pair = Pair {
            server: Endpoint::new(&server, Calling::WhenComplete),
            client: Endpoint::new(&client, Calling::WhenComplete),
            from_server: Wire::default(),
            from_client: Wire::default(),
            is_deflated: plan.deflate.is_some(),
            pings: plan.pings,
            now: Duration::ZERO,
        };
        pair.server.receive(&pair.client.greet());
        pair.client.receive(&pair.server.take_said());
        assert_eq!(std::mem::take(&mut pair.server.events), [Event::Opened]);
        assert_eq!(std::mem::take(&mut pair.client.events), [Event::Opened]);
        pair
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Send(side, content) => self.send(side, content, 1, |end, content| {
                content.with(|message| end.pack(message))
            }),
            Operation::SendOwned(side, content, twice) => {
                let (owned, times) = (content.owned(), if twice { 2 } else { 1 });
                self.send(side, content, times, |end, _| end.pack_owned(&owned))
            }
            Operation::SendParts(side, mut content, at) => {
                content.is_text = false;
                self.send(side, content, 1, |end, content| {
                    let bytes = content.bytes();
                    let parts = bytes.split_at(usize::from(at).min(bytes.len()));
                    end.pack_parts(&[parts.0, b"", parts.1])
                });
            }
            Operation::Fragments(side, content, size, with_ping) => {
                self.inject(side, &fragments(content, size, with_ping), Some(content));
            }
            Operation::Ping(side, byte) => {
                let payload = vec![byte; usize::from(byte % 126)];
                self.inject(side, &[Frame::ping(payload)], None);
            }
            Operation::Pong(side, byte) => {
                let payload = vec![byte; usize::from(byte % 126)];
                self.inject(side, &[Frame::pong(payload)], None);
            }
            Operation::Deliver(side, count) => self.deliver(side, count),
            Operation::Advance(millis) => self.advance(Duration::from_millis(millis.into())),
            Operation::Farewell(side, why) => self.farewell(side, why),
        }
        self.check();
    }

    fn wire_from(&mut self, side: Side) -> &mut Wire {
        match side {
            Side::Server => &mut self.from_server,
            Side::Client => &mut self.from_client,
        }
    }

    /// True if this side cannot send any more.
    fn is_over(&self, side: Side) -> bool {
        match side {
            Side::Server => self.server.is_over,
            Side::Client => self.client.is_over,
        }
    }

    /// Sends through the encoder, which must refuse exactly when a close frame was sent.
    fn send(
        &mut self,
        side: Side,
        content: Content,
        times: usize,
        mut pack: impl FnMut(&mut dyn Packs, Content) -> bool,
    ) {
        if self.is_over(side) {
            return;
        }
        for _ in 0..times {
            let is_sent = match side {
                Side::Server => pack(&mut self.server, content),
                Side::Client => pack(&mut self.client, content),
            };
            let wire = self.wire_from(side);
            assert_eq!(is_sent, !wire.is_closed);
            if is_sent {
                wire.sent.push_back(content.kept());
            }
            self.collect(side);
        }
    }

    /// Sends frames that the encoder does not send by itself.
    fn inject(&mut self, side: Side, frames: &[Frame], content: Option<Content>) {
        if self.is_over(side) || self.wire_from(side).is_closed {
            return;
        }
        let wire = self.wire_from(side);
        for frame in frames {
            let frame = match side {
                Side::Server => frame.clone(),
                Side::Client => frame.clone().masked([1, 2, 0xFE, 0]),
            };
            wire.bytes.extend(frame.bytes());
            if frame.opcode() == PING {
                wire.pings.push_back(frame.payload);
            }
        }
        wire.sent.extend(content.map(Content::kept));
    }

    /// Takes an end's output, checks it, and puts it on the wire.
    fn collect(&mut self, side: Side) {
        let said = match side {
            Side::Server => self.server.take_said(),
            Side::Client => self.client.take_said(),
        };
        let (wire, heard) = match side {
            Side::Server => (&mut self.from_server, &mut self.from_client),
            Side::Client => (&mut self.from_client, &mut self.from_server),
        };
        wire.bytes.extend(&said);
        for frame in Frame::parse_all(&said) {
            assert!(!wire.is_closed, "{frame:?} behind a close frame");
            assert_eq!(frame.key.is_some(), side == Side::Client);
            assert!(frame.is_final(), "the encoder never fragments");
            let is_compressed = frame.first & RSV1 != 0;
            assert!(!is_compressed || (self.is_deflated && frame.opcode() <= BINARY));
            match frame.opcode() {
                PING => wire.pings.push_back(frame.payload),
                PONG => assert_eq!(heard.pings.pop_front(), Some(frame.payload)),
                CLOSE => wire.is_closed = true,
                _ => {}
            }
        }
    }

    /// Delivers bytes to a side; 0 means all.
    fn deliver(&mut self, to: Side, count: u8) {
        let (from, is_over) = match to {
            Side::Server => (Side::Client, self.server.is_over),
            Side::Client => (Side::Server, self.client.is_over),
        };
        let wire = self.wire_from(from);
        let count = match usize::from(count) {
            0 => wire.bytes.len(),
            count => count.min(wire.bytes.len()),
        };
        let bytes: Vec<u8> = wire.bytes.drain(..count).collect();
        if is_over || bytes.is_empty() {
            return;
        }
        match to {
            Side::Server => self.server.receive(&bytes),
            Side::Client => self.client.receive(&bytes),
        }
        self.collect(to);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.server.now = self.now;
        self.client.now = self.now;
        self.server.meet_deadline();
        self.client.meet_deadline();
        self.collect(Side::Server);
        self.collect(Side::Client);
    }

    fn farewell(&mut self, side: Side, why: Why) {
        if self.is_over(side) {
            return;
        }
        let was_closed = self.wire_from(side).is_closed;
        let (why, ends) = match why {
            Why::Closed => (Farewell::Closed, false),
            Why::Shutdown => (Farewell::Shutdown, false),
            Why::PeerEnded => (Farewell::PeerEnded, true),
            Why::Refused => (Farewell::Refused, true),
            Why::InputLimit => (Farewell::InputLimit, true),
            Why::Panic => (Farewell::Panic, true),
        };
        let parting = match side {
            Side::Server => self.server.farewell(why),
            Side::Client => self.client.farewell(why),
        };
        self.collect(side);
        let awaits = !ends && !was_closed;
        assert_eq!(parting == Parting::AwaitAnswer, awaits);
        if awaits {
            assert!(self.wire_from(side).is_closed);
        } else if ends {
            // The loop stops reading.
            match side {
                Side::Server => self.server.is_over = true,
                Side::Client => self.client.is_over = true,
            }
        }
    }

    /// Checks that everything received was sent, and that neither side has failed.
    fn check(&mut self) {
        self.from_client
            .take(std::mem::take(&mut self.server.events));
        self.from_server
            .take(std::mem::take(&mut self.client.events));
        assert_eq!(self.client.failure, None);
        match self.server.failure {
            None => {}
            Some(WebSocketError::PongTimeout) => {
                assert!(self.pings && self.now >= PING_EVERY + PONG_TIMEOUT);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Delivers everything. If a side has received a close frame, both must have sent one.
    fn finish(&mut self) {
        // Enough rounds for a farewell, its answer, and the bytes on their way before.
        for _ in 0..3 {
            self.deliver(Side::Server, 0);
            self.deliver(Side::Client, 0);
        }
        self.check();
        let (server, client) = (&self.server, &self.client);
        for (wire, back, is_over, input) in [
            (
                &self.from_client,
                &self.from_server,
                server.is_over,
                &server.input,
            ),
            (
                &self.from_server,
                &self.from_client,
                client.is_over,
                &client.input,
            ),
        ] {
            if !is_over {
                assert!(wire.sent.is_empty() && input.is_empty());
                assert!(!wire.is_closed, "a close frame was sent but not received");
                assert!(
                    wire.pings.is_empty() || back.is_closed,
                    "a ping without a pong"
                );
            }
            if wire.is_ended {
                assert!(wire.sent.is_empty() && wire.is_closed && back.is_closed);
            }
        }
    }
}

/// An end that sends, of either type.
trait Packs {
    fn pack(&mut self, message: Message<'_>) -> bool;
    fn pack_owned(&mut self, owned: &MessageBuf) -> bool;
    fn pack_parts(&mut self, parts: &[&[u8]]) -> bool;
}

impl<P> Packs for Endpoint<P>
where
    P: Subject,
    P::Encoder: for<'a> Encode<Item<'a> = Message<'a>, Owned = MessageBuf> + EncodeParts,
    P::Decoder: Decode<Encoder = P::Encoder>,
{
    fn pack(&mut self, message: Message<'_>) -> bool {
        self.encoder.pack(message, &mut self.output).is_ok()
    }

    fn pack_owned(&mut self, owned: &MessageBuf) -> bool {
        self.encoder.pack_owned(owned, &mut self.output).is_ok()
    }

    fn pack_parts(&mut self, parts: &[&[u8]]) -> bool {
        self.encoder.pack_parts(parts, &mut self.output).is_ok()
    }
}

/// A message in fragments of at most `size` bytes, with a ping after the first.
fn fragments(content: Content, size: u8, with_ping: bool) -> Vec<Frame> {
    let bytes = content.bytes();
    // At most about a hundred fragments.
    let size = usize::from(size).max(bytes.len() / 100).max(1);
    let (first, rest) = bytes.split_at(size.min(bytes.len()));
    let first = match content.is_text {
        true => Frame::text(first),
        false => Frame::binary(first),
    };
    let mut frames = vec![first.fragment()];
    if with_ping {
        frames.push(Frame::ping("between"));
    }
    let parts = rest.chunks(size).map(Frame::continuation);
    frames.extend(parts.map(Frame::fragment));
    frames.push(Frame::continuation(""));
    frames
}
