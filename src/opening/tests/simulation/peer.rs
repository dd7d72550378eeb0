//! A peer: the bytes that it sends, where they make it open, and its faults.

use std::net::{IpAddr, SocketAddr};

use crate::ProxyHeader;
use crate::io::proxy_header::ParsedProxyHeader;
use crate::io::wire::double::{DATA, HIDDEN, Sender};
use crate::seeds::Random;

use super::script::{BAD, ENDLESS, LAST, MORE, PANIC, message};
use super::{RECEIVED_MAX, Stages};

/// See the [module](self).
pub(super) struct Peer {
    pub(super) input: Vec<u8>,
    /// The length of the PROXY header: 0 if there is none, and `usize::MAX` if it never is whole.
    pub(super) header: usize,
    /// The number of bytes that show that the header is malformed.
    pub(super) malformed: Option<usize>,
    /// The client that the header names.
    pub(super) client: Option<IpAddr>,
    /// The number of bytes with which the connection is open, and `None` if it never is.
    pub(super) open: Option<usize>,
    /// The bytes that the connection must receive.
    pub(super) plain: Vec<u8>,
    /// It sends nothing behind so many bytes.
    pub(super) stalls: Option<usize>,
    /// It ends or resets its stream behind so many bytes.
    pub(super) ends: Option<usize>,
    pub(super) resets: Option<usize>,
    /// It sends so many bytes at a time.
    pace: usize,
}

impl Peer {
    pub(super) fn new(number: usize, stages: Stages, random: &mut Random) -> Self {
        let mut peer = Peer {
            input: Vec::new(),
            header: 0,
            malformed: None,
            client: None,
            open: None,
            plain: Vec::new(),
            stalls: None,
            ends: None,
            resets: None,
            pace: [1, 20, 100, 400, 70_000][random.below(5)],
        };
        let mut is_sound = !stages.has_header || peer.add_header(random);
        if is_sound || peer.malformed.is_some() {
            if stages.is_sealed {
                is_sound &= peer.add_handshake(number, random);
            }
            peer.open = is_sound.then_some(peer.input.len());
            peer.add_plain(stages.is_sealed, random);
        }
        let all = peer.input.len();
        // The places at the beginning are those that matter.
        let place = |random: &mut Random| random.below((all + 1).min(peer.header.min(200) + 150));
        match random.below(8) {
            0 => peer.stalls = Some(place(random)),
            1 => peer.ends = Some(place(random)),
            2 => peer.ends = Some(all),
            3 => peer.resets = Some(place(random)),
            _ => {}
        }
        peer
    }

    /// Returns false if the header is malformed, or is never whole.
    fn add_header(&mut self, random: &mut Random) -> bool {
        let client = client(random);
        let here = SocketAddr::from(([198, 51, 100, 1], 443));
        let mut header = ProxyHeader::new(SocketAddr::new(client, 56_324), here)
            .expect("the addresses are of one family");
        match random.below(6) {
            0 => header.encode_v1(&mut self.input),
            1 => self.input.extend_from_slice(b"PROXY UNKNOWN\r\n"),
            2 => ProxyHeader::local().encode_v2(&mut self.input),
            _ => {
                let tlv = vec![7; random.below(80)];
                header.add_tlv(0xe0, &tlv).expect("it is short");
                header.add_checksum().expect("it is short");
                header.encode_v2(&mut self.input);
            }
        }
        if random.one_in(8) {
            let wrong = random.below(self.input.len());
            self.input[wrong] ^= 1 + random.below(255) as u8;
        }
        for length in 1..=self.input.len() {
            match ProxyHeader::parse(&self.input[..length]) {
                Ok(ParsedProxyHeader::NeedMore { .. }) => {}
                Ok(ParsedProxyHeader::Complete { header, consumed }) => {
                    self.input.truncate(consumed);
                    self.header = consumed;
                    self.client = header.source().and_then(|client| client.ip());
                    return true;
                }
                Err(_) => {
                    self.malformed = Some(length);
                    break;
                }
            }
        }
        self.header = usize::MAX;
        false
    }

    /// Returns false if the handshake is not done at its end.
    fn add_handshake(&mut self, number: usize, random: &mut Random) -> bool {
        self.input
            .push(u8::try_from(number).expect("a run has few newcomers"));
        let answer = |random: &mut Random| match random.one_in(3) {
            true => random.below(60) as u8,
            false => 0,
        };
        let steps = |random: &mut Random| 1 + random.below(3) as u8;
        for _ in 0..random.below(3) {
            let payload = random.below(60);
            let more = message(MORE, steps(random), answer(random), payload);
            self.input.extend_from_slice(&more);
        }
        let last = match random.below(16) {
            0 => BAD,
            1 => PANIC,
            2 => ENDLESS,
            3 => 99,
            _ => LAST,
        };
        let payload = random.below(60);
        let message = message(last, steps(random), answer(random), payload);
        self.input.extend_from_slice(&message);
        if last == ENDLESS && random.one_in(2) {
            self.input.resize(self.input.len() + RECEIVED_MAX + 100, 1);
            self.pace = 70_000;
        }
        last == LAST
    }

    fn add_plain(&mut self, is_sealed: bool, random: &mut Random) {
        let mut sender = Sender::default();
        for _ in 0..random.below(4) {
            let length = if random.one_in(60) { 30_000 } else { 100 };
            let bytes: Vec<u8> = (0..random.below(length)).map(|at| (at * 7) as u8).collect();
            self.plain.extend_from_slice(&bytes);
            if !is_sealed {
                self.input.extend_from_slice(&bytes);
                continue;
            }
            if random.one_in(4) {
                self.input.extend(sender.record(HIDDEN, &[0; 9]));
            }
            self.input.extend(sender.record(DATA, &bytes));
        }
    }

    /// The number of bytes that it sends next, of which `sent` have arrived.
    pub(super) fn piece(&self, sent: usize, random: &mut Random) -> usize {
        let most = [self.stalls, self.ends, self.resets]
            .into_iter()
            .flatten()
            .min();
        let left = most.unwrap_or(usize::MAX).min(self.input.len()) - sent;
        (1 + random.below(self.pace)).min(left)
    }

    /// True if so many bytes do for an open connection.
    pub(super) fn is_open_with(&self, bytes: usize) -> bool {
        self.open.is_some_and(|open| open <= bytes)
    }
}

/// One of few clients, so that some come more often than they may.
pub(super) fn client(random: &mut Random) -> IpAddr {
    [192, 0, 2, 1 + random.below(3) as u8].into()
}
