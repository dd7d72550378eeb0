//! Deflate bombs: messages that are small on the wire and huge when inflated.

use flate2::{Compress, Compression, FlushCompress};
use ringwheel::Server;
use ringwheel::websocket::{Deflate, WebSocket};
use support::scale::{KIB, MIB, report, sized};
use support::websocket::{Frame, Peer, RSV1, from_client};
use support::{Child, Client, listen};

use crate::bytes::open_deflating;
use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "bombs::deflate_bombs_are_refused_within_the_limit";
/// The default of [`WebSocket::max_message`].
const LIMIT: usize = MIB;
/// Memory that one message at the limit may take, in bytes: a buffer grows to at most twice its content, and 256 KiB are left
/// for everything else.
const MEMORY: usize = 2 * LIMIT + 256 * KIB;

/// The end of a sync flush, which a WebSocket message leaves out (RFC 7692, section 7.2.1).
const MARK: [u8; 4] = [0, 0, 0xff, 0xff];

/// `length` zeros, compressed, with the mark at the end.
fn deflate_zeros(length: usize) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(length / 500 + KIB);
    let mut compress = Compress::new(Compression::best(), false);
    let outcome = compress.compress_vec(&vec![0; length], &mut deflated, FlushCompress::Sync);
    outcome.expect("the capacity suffices");
    assert_eq!(compress.total_in(), length as u64);
    assert!(deflated.ends_with(&MARK));
    deflated
}

/// Compressed messages of zeros, which inflate to the same bytes whatever the compressor's window holds.
struct Zeros {
    some: Vec<u8>,
    mebibyte: Vec<u8>,
}

impl Zeros {
    /// Lowest ratio of inflated to compressed bytes of the long messages.
    const RATIO: usize = 1000;

    fn new() -> Self {
        let zeros = Zeros {
            some: deflate_zeros(100),
            mebibyte: deflate_zeros(MIB),
        };
        assert!(MIB / zeros.mebibyte.len() >= Self::RATIO);
        zeros
    }

    fn some(&self) -> &[u8] {
        &self.some[..self.some.len() - MARK.len()]
    }

    /// A message of `count` mebibytes.
    fn mebibytes(&self, count: usize) -> Vec<u8> {
        let mut message = self.mebibyte.repeat(count);
        message.truncate(message.len() - MARK.len());
        message
    }
}

/// A compressed message in frames of at most `size` bytes.
fn frames(deflated: &[u8], size: usize) -> Vec<u8> {
    let mut frames: Vec<Frame> = deflated.chunks(size).map(Frame::continuation).collect();
    let last = frames.len() - 1;
    frames[0] = Frame::binary(&frames[0].payload).reserved(RSV1);
    for frame in &mut frames[..last] {
        *frame = frame.clone().fragment();
    }
    from_client(&frames)
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    OneFrame,
    /// Frames of 100 bytes each.
    Fragments,
    /// The bomb follows messages within the limit, and refers to them in the compressor's window.
    Takeover,
    TakeoverFragments,
}

impl Kind {
    fn takes_over(self) -> bool {
        matches!(self, Kind::Takeover | Kind::TakeoverFragments)
    }

    fn frame_size(self) -> usize {
        match self {
            Kind::OneFrame | Kind::Takeover => usize::MAX,
            Kind::Fragments | Kind::TakeoverFragments => 100,
        }
    }
}

const KINDS: [Kind; 4] = [
    Kind::OneFrame,
    Kind::Fragments,
    Kind::Takeover,
    Kind::TakeoverFragments,
];

/// Allows a message at the limit whatever its ratio, such as those that fill the window.
fn deflate() -> Deflate {
    Deflate::new()
        .client_context_takeover(true)
        .ratio_floor(LIMIT as u32)
}

/// The server's listeners: the first is protected by the message limit, the second by the ratio, the third by both.
fn protocols() -> [WebSocket; 3] {
    let deflate = deflate();
    let no_ratio = deflate.max_ratio(2000);
    [
        WebSocket::new().deflate(no_ratio),
        WebSocket::new().max_message(64 * LIMIT).deflate(deflate),
        WebSocket::new().deflate(deflate),
    ]
}

/// Opens a connection, sends messages that are allowed if `kind` needs them, and then one of `mebibytes` mebibytes,
/// which exceeds the limit. The peer gets the close frame, but keeps its own side open.
#[track_caller]
fn bomb(victim: &Victim, listener: usize, kind: Kind, zeros: &Zeros, mebibytes: usize) -> Peer {
    let offer = match kind.takes_over() {
        true => "permessage-deflate",
        false => "permessage-deflate; client_no_context_takeover",
    };
    let mut peer = open_deflating(Client::connect(victim.addr_of(listener)), offer);
    if kind.takes_over() {
        for message in [zeros.some(), &zeros.mebibytes(1), &zeros.mebibytes(1)] {
            peer.client.send(&frames(message, kind.frame_size()));
        }
        peer.confirm();
    }
    let message = zeros.mebibytes(mebibytes);
    peer.client.send(&frames(&message, kind.frame_size()));
    let close = peer.next_frame();
    let code = close.close_words().map(|(code, _)| code);
    assert_eq!(code, Some(1009), "{kind:?}");
    peer.expect_end();
    peer
}

#[test]
fn deflate_bombs_are_refused_within_the_limit() {
    if Child::is_here() {
        let counts = Counts::default();
        let builder =
            protocols()
                .into_iter()
                .fold(Server::builder().workers(1), |builder, protocol| {
                    builder
                        .listen_with(listen(protocol), counts.silent())
                        .unwrap()
                });
        return serve(builder, &counts);
    }
    let mebibytes = sized(16, 1024);
    let rounds = sized(1, 20);
    let zeros = Zeros::new();
    let victim = Victim::start(NAME, 512);
    // Memory of the code and of the compressors themselves does not count, so one connection uses them first.
    let mut peer = open_deflating(victim.connect(), "permessage-deflate");
    peer.client.send(&frames(zeros.some(), 10));
    peer.confirm();
    drop(peer);
    let memory = victim.watch_memory();
    let mut peers = Vec::new();
    for kind in KINDS {
        for listener in 0..protocols().len() {
            for _ in 0..rounds {
                peers.push(bomb(&victim, listener, kind, &zeros, mebibytes));
            }
        }
        let (growth, sent) = (memory.growth(), peers.len());
        assert!(growth <= MEMORY, "{kind:?}: {growth} bytes");
        report(
            NAME,
            format_args!(
                "{kind:?}: {sent} of {mebibytes} MiB so far, {}:1 at least, growth {growth} bytes",
                Zeros::RATIO
            ),
        );
    }
    let sent = peers.len() as u64;
    drop(peers);
    let (counts, ..) = victim.end();
    let refused = counts.ended("Protocol(MessageTooBig)");
    let by_ratio = counts.ended("Protocol(CompressionRatio)");
    assert_eq!(refused + by_ratio, sent, "{counts:?}");
    assert!(refused >= sent / 3 && by_ratio >= sent / 3, "{counts:?}");
}

/// Messages at the limit cost their sender almost nothing, and their memory must not add up.
#[test]
fn successive_messages_at_the_limit_take_no_more_memory_than_one() {
    const NAME: &str = "bombs::successive_messages_at_the_limit_take_no_more_memory_than_one";
    if Child::is_here() {
        let counts = Counts::default();
        let protocol = WebSocket::new().deflate(deflate());
        let builder = Server::builder().workers(1);
        let builder = builder.listen_with(listen(protocol), counts.silent());
        return serve(builder.unwrap(), &counts);
    }
    let messages = sized(20, 2000);
    let zeros = Zeros::new();
    let victim = Victim::start(NAME, 64);
    let mut peer = open_deflating(victim.connect(), "permessage-deflate");
    peer.client.send(&frames(zeros.some(), 10));
    peer.confirm();
    let memory = victim.watch_memory();
    let message = frames(&zeros.mebibytes(1), 100);
    for _ in 0..messages {
        peer.client.send(&message);
    }
    peer.confirm();
    let growth = memory.growth();
    assert!(growth <= MEMORY, "{growth} bytes");
    drop(peer);
    let (counts, ..) = victim.end();
    assert_eq!(counts.messages(), messages + 1);
    report(
        NAME,
        format_args!(
            "{messages} messages of {LIMIT} bytes in {} bytes on the wire, growth {growth} bytes",
            message.len() * messages as usize
        ),
    );
}
