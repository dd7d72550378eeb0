//! Length fields with values at the edges of integers and limits.

use std::thread;

use ringwheel::protocol::{LengthPrefixed, TypedFrames};
use ringwheel::websocket::WebSocket;
use ringwheel::{Server, ServerBuilder};
use support::scale::{KIB, MIB, report, sized};
use support::websocket::{Frame, KEY, Peer};
use support::{Child, Client, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "lengths::no_memory_is_reserved_for_an_announced_length";
/// The default limit of each protocol.
const LIMIT: u64 = MIB as u64;

const LENGTHS: [u64; 18] = [
    125,
    126,
    127,
    65_535,
    65_536,
    LIMIT,
    LIMIT + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// The layouts of [`LengthPrefixed`], by width and byte order.
const LAYOUTS: [(usize, bool); 7] = [
    (1, true),
    (2, true),
    (2, false),
    (4, true),
    (4, false),
    (8, true),
    (8, false),
];
const TYPED: usize = LAYOUTS.len();
const WEBSOCKET: usize = TYPED + 1;

fn builder(counts: &Counts) -> ServerBuilder {
    let mut builder = Server::builder().workers(1);
    for (width, is_big_endian) in LAYOUTS {
        let layout = match is_big_endian {
            true => LengthPrefixed::big_endian(width),
            false => LengthPrefixed::little_endian(width),
        };
        builder = builder.listen_with(listen(layout), counts.echo()).unwrap();
    }
    let builder = builder.listen_with(listen(TypedFrames::new()), counts.echo());
    let builder = builder.unwrap();
    let builder = builder.listen_with(listen(WebSocket::new()), counts.echo());
    builder.unwrap()
}

/// A length field, or `None` if the length does not fit.
fn field(length: u64, width: usize, is_big_endian: bool) -> Option<Vec<u8>> {
    if width < 8 && length >> (8 * width) != 0 {
        return None;
    }
    let mut bytes = length.to_be_bytes()[8 - width..].to_vec();
    if !is_big_endian {
        bytes.reverse();
    }
    Some(bytes)
}

/// Highest memory of a connection that has received the beginning of a message.
const CONNECTION_MEMORY: usize = 16 * KIB;

/// The beginning of a body that may never be completed.
const BODY_START: &[u8] = &[0; 100];

/// The server's required reaction to a claim.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    /// The server waits for the body.
    Wait,
    /// The server ends the stream.
    End,
    /// The server sends a close frame with this code.
    Close(u16),
}

/// A length that clients announce.
#[derive(Debug)]
struct Claim {
    listener: usize,
    /// The header that announces it.
    header: Vec<u8>,
    /// Bytes that follow the header according to it.
    following: u64,
    reaction: Reaction,
}

/// All lengths in all fields that can hold them.
fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    let reaction = |length| {
        if length > LIMIT {
            Reaction::End
        } else {
            Reaction::Wait
        }
    };
    for length in LENGTHS {
        for (listener, (width, is_big_endian)) in LAYOUTS.into_iter().enumerate() {
            claims.extend(field(length, width, is_big_endian).map(|header| Claim {
                listener,
                header,
                following: length,
                reaction: reaction(length),
            }));
        }
        claims.extend(field(length, 4, true).map(|header| Claim {
            listener: TYPED,
            // Also the length of the type's name, which is empty.
            header: [&header[..], &[0, 0]].concat(),
            following: length - 2,
            reaction: reaction(length),
        }));
        let forms = [(0, 125), (2, 65_535), (8, u64::MAX)];
        let fitting = forms.into_iter().filter(|(_, most)| length <= *most);
        claims.extend(fitting.map(|(form, _)| {
            Claim {
                listener: WEBSOCKET,
                header: Frame::binary("")
                    .masked(KEY)
                    .bytes_with_length(length, form),
                following: length,
                reaction: reaction_in_form(length, form),
            }
        }));
    }
    claims
}

/// The reaction to a frame whose length stands in a field of `form` further bytes (RFC 6455, section 5.2: the shortest
/// form is required, and the most significant bit must be 0).
fn reaction_in_form(length: u64, form: usize) -> Reaction {
    let is_shortest = match form {
        0 => true,
        2 => length >= 126,
        _ => length >= 65_536,
    };
    match length {
        _ if !is_shortest || length >= 1 << 63 => Reaction::Close(1002),
        _ if length > LIMIT => Reaction::Close(1009),
        _ => Reaction::Wait,
    }
}

impl Claim {
    /// Sends the header and the start of the body.
    #[track_caller]
    fn make(&self, victim: &Victim) -> Peer {
        let client = Client::connect(victim.addr_of(self.listener));
        let mut peer = match self.listener {
            WEBSOCKET => Peer::open_over(client),
            _ => Peer::around(client),
        };
        peer.client.send(&self.header);
        // The server may close on the header alone.
        let _ = peer.client.try_send(BODY_START);
        peer
    }

    /// Checks that the claim is refused as required. Claims that the server waits for are checked by their memory.
    #[track_caller]
    fn expect_refusal(&self, peer: &mut Peer) {
        match self.reaction {
            Reaction::Wait => {}
            Reaction::End => peer.expect_end(),
            Reaction::Close(code) => {
                let close = peer.next_frame();
                let said = close.close_words().map(|(code, _)| code);
                assert_eq!(said, Some(code), "{self:?}");
                peer.expect_end();
            }
        }
    }

    /// Sends the whole body after all, and expects the echo.
    #[track_caller]
    fn expect_echo(&self, mut peer: Peer) {
        let length = self.following as usize;
        let mut writer = peer.client.second_half();
        let writing = thread::spawn(move || writer.send(&vec![0; length - BODY_START.len()]));
        if self.listener == WEBSOCKET {
            // Unmasking zeros yields the key, repeated.
            let mask = KEY.iter().cycle();
            assert!(peer.next_frame().payload.iter().eq(mask.take(length)));
        } else {
            peer.expect_bytes(&self.header);
            peer.expect_bytes(&vec![0; length]);
        }
        writing.join().unwrap();
    }
}

#[test]
fn no_memory_is_reserved_for_an_announced_length() {
    if Child::is_here() {
        let counts = Counts::default();
        return serve(builder(&counts), &counts);
    }
    let victim = Victim::start(NAME, sized(512, 4096));
    for listener in 0..=WEBSOCKET {
        let client = Client::connect(victim.addr_of(listener));
        if listener == WEBSOCKET {
            Peer::open_over(client).check_echo();
        }
    }
    let clients = sized(3, 100);
    let (claims, mut refused) = (claims(), 0);
    let memory = victim.watch_memory();
    for claim in &claims {
        let mut peers: Vec<Peer> = (0..clients).map(|_| claim.make(&victim)).collect();
        peers.iter_mut().for_each(|peer| claim.expect_refusal(peer));
        if claim.reaction != Reaction::Wait {
            refused += clients;
        }
    }
    let growth = memory.growth();
    // Each connection may take one receive ring; a reserved body would take a mebibyte or more.
    let allowed = MIB + clients as usize * CONNECTION_MEMORY;
    assert!(growth < allowed, "{growth} bytes");
    // Clients that send the announced body are served.
    for claim in claims
        .iter()
        .filter(|claim| claim.reaction == Reaction::Wait)
    {
        claim.expect_echo(claim.make(&victim));
    }
    let (counts, ..) = victim.end();
    assert_eq!(counts.ended("Protocol("), refused, "{counts:?}");
    report(
        NAME,
        format_args!(
            "{} lengths in {} fields, {clients} times each, {refused} refused; growth {growth} bytes",
            LENGTHS.len(),
            claims.len()
        ),
    );
}
