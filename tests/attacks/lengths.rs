//! Lengths at the edges of what their fields, and numbers, can hold.

use std::thread;

use ringwheel::protocol::{LengthPrefixed, TypedFrames};
use ringwheel::websocket::WebSocket;
use ringwheel::{Server, ServerBuilder};
use support::scale::{KIB, MIB, report, sized};
use support::websocket::{Frame, KEY, Peer};
use support::{Child, Client, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "lengths::no_length_is_believed_beyond_the_limit";
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

/// What keeps the beginning of a message takes at most this, with all that a connection is besides.
const RING: usize = 16 * KIB;

/// The beginning of a body that may never come.
const BEGINNING: &[u8] = &[0; 100];

/// What a claim of a length is due.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    /// To be waited for.
    Patience,
    /// The end of the stream.
    End,
    /// A close frame with this code.
    Close(u16),
}

/// A length that clients claim.
#[derive(Debug)]
struct Claim {
    listener: usize,
    /// What says so.
    header: Vec<u8>,
    /// What then follows, by that word.
    following: u64,
    due: Due,
}

/// All lengths in all fields that can hold them.
fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    let due = |length| {
        if length > LIMIT {
            Due::End
        } else {
            Due::Patience
        }
    };
    for length in LENGTHS {
        for (listener, (width, is_big_endian)) in LAYOUTS.into_iter().enumerate() {
            claims.extend(field(length, width, is_big_endian).map(|header| Claim {
                listener,
                header,
                following: length,
                due: due(length),
            }));
        }
        claims.extend(field(length, 4, true).map(|header| Claim {
            listener: TYPED,
            // And the length of the type's name, which is empty.
            header: [&header[..], &[0, 0]].concat(),
            following: length - 2,
            due: due(length),
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
                due: due_in_form(length, form),
            }
        }));
    }
    claims
}

/// For a frame whose length is in a field of `form` further bytes (RFC 6455, section 5.2: in the shortest form, and the most
/// significant bit is 0).
fn due_in_form(length: u64, form: usize) -> Due {
    let is_shortest = match form {
        0 => true,
        2 => length >= 126,
        _ => length >= 65_536,
    };
    match length {
        _ if !is_shortest || length >= 1 << 63 => Due::Close(1002),
        _ if length > LIMIT => Due::Close(1009),
        _ => Due::Patience,
    }
}

impl Claim {
    /// Makes it, and begins with the body.
    #[track_caller]
    fn make(&self, victim: &Victim) -> Peer {
        let client = Client::connect(victim.addr_of(self.listener));
        let mut peer = match self.listener {
            WEBSOCKET => Peer::open_over(client),
            _ => Peer::around(client),
        };
        peer.client.send(&self.header);
        // The header may be enough to be cut off.
        let _ = peer.client.try_send(BEGINNING);
        peer
    }

    /// Sees that it gets what it is due, but for patience, which shows only later.
    #[track_caller]
    fn expect_refusal(&self, peer: &mut Peer) {
        match self.due {
            Due::Patience => {}
            Due::End => peer.expect_end(),
            Due::Close(code) => {
                let close = peer.next_frame();
                let said = close.close_words().map(|(code, _)| code);
                assert_eq!(said, Some(code), "{self:?}");
                peer.expect_end();
            }
        }
    }

    /// The rest of the body comes after all, and is echoed.
    #[track_caller]
    fn expect_echo(&self, mut peer: Peer) {
        let length = self.following as usize;
        let mut writer = peer.client.second_half();
        let writing = thread::spawn(move || writer.send(&vec![0; length - BEGINNING.len()]));
        if self.listener == WEBSOCKET {
            // Zeros, unmasked, are the key again and again.
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
fn no_length_is_believed_beyond_the_limit() {
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
        if claim.due != Due::Patience {
            refused += clients;
        }
    }
    let growth = memory.growth();
    // What has come of each takes a ring; what was claimed would take a mebibyte and more.
    let allowed = MIB + clients as usize * RING;
    assert!(growth < allowed, "{growth} bytes");
    // Those who can keep their word are served.
    for claim in claims.iter().filter(|claim| claim.due == Due::Patience) {
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
