//! The operations of a check, as bytes stand for them. Any bytes are a plan, and those of a seed stay readable.

/// More operations than this find nothing new.
const MAX_OPERATIONS: usize = 300;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Plan {
    /// The choices of the seal, which repeat. Without any it neither delays nor hides anything.
    pub(super) choices: Vec<u8>,
    /// A record of so many bytes has come with the end of the handshake, except the last bytes of the record.
    pub(super) came_early: Size,
    pub(super) early_cut: u8,
    /// The end of the handshake has left a record to be sent.
    pub(super) has_unsent: bool,
    pub(super) operations: Vec<Operation>,
}

/// A number of bytes: mostly small, some above a record, and a few above a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(u8);

impl Size {
    pub(super) fn get(self) -> usize {
        match usize::from(self.0) {
            small @ 0..160 => small,
            medium @ 160..240 => (medium - 159) * 64,
            large => (large - 239) * 4096,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// The peer makes a record of plaintext, which is on its way until it arrives.
    PeerSends(Size),
    /// As many records of 0 to 3 bytes of plaintext.
    PeerSendsTiny(u8),
    PeerHides(Size),
    /// The peer asks for answers, 16 for each unit.
    PeerUpdates(u8),
    /// The peer says its end in the words of the seal.
    PeerCloses,
    PeerSpoils(Spoil),
    /// The peer ends its stream, behind all that is on its way.
    PeerEnds,
    /// Bytes that are on their way arrive, and one read gets no more than these.
    Arrive(Size),
    ArriveAll,
    /// The next bytes are announced, and a read does not find them yet.
    ArriveLate,
    Read(Size),
    /// Reads as long as an event says that there is something.
    ReadAll(Size),
    Write(Size),
    WriteParts([Size; 3]),
    /// One more write of the stream takes no more than this.
    StreamTakes(Size),
    PushUnsent,
    SayEnd,
    ShutDown,
    PeerResets,
}

/// A fault in the peer's stream, for which it is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spoil {
    /// A record of a kind that is refused.
    Bad(Size),
    /// A record is missing before this one.
    Lost(Size),
    /// A record that claims a length, and has as many bytes or fewer.
    Garbage { claimed: u16, sent: Size },
}

impl Plan {
    pub(super) fn decode(data: &[u8]) -> Self {
        let mut input = Input(data);
        let count = usize::from(input.byte() % 16);
        let mut plan = Plan {
            choices: (0..count).map(|_| input.byte()).collect(),
            came_early: input.size(),
            early_cut: input.byte(),
            has_unsent: input.byte() % 2 == 1,
            operations: Vec::new(),
        };
        while !input.0.is_empty() && plan.operations.len() < MAX_OPERATIONS {
            plan.operations.push(input.operation());
        }
        plan
    }
}

/// Reads values from bytes. Behind the last byte there are zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    fn size(&mut self) -> Size {
        Size(self.byte())
    }

    /// Operations that end something are rare, so that random bytes too make long plans.
    fn operation(&mut self) -> Operation {
        match self.byte() % 64 {
            0..9 => Operation::PeerSends(self.size()),
            9..11 => Operation::PeerSendsTiny(self.byte()),
            11..13 => Operation::PeerHides(self.size()),
            13..16 => Operation::PeerUpdates(self.byte()),
            16 => Operation::PeerCloses,
            17 => Operation::PeerSpoils(self.spoil()),
            18 => Operation::PeerEnds,
            19..26 => Operation::Arrive(self.size()),
            26..29 => Operation::ArriveAll,
            29 => Operation::ArriveLate,
            30..36 => Operation::Read(self.size()),
            36..41 => Operation::ReadAll(self.size()),
            41..48 => Operation::Write(self.size()),
            48..51 => Operation::WriteParts([self.size(), self.size(), self.size()]),
            51..58 => Operation::StreamTakes(self.size()),
            58..61 => Operation::PushUnsent,
            61 => Operation::SayEnd,
            62 => Operation::ShutDown,
            _ => Operation::PeerResets,
        }
    }

    fn spoil(&mut self) -> Spoil {
        match self.byte() % 3 {
            0 => Spoil::Bad(self.size()),
            1 => Spoil::Lost(self.size()),
            _ => Spoil::Garbage {
                claimed: u16::from_be_bytes([self.byte(), self.byte()]),
                sent: self.size(),
            },
        }
    }
}
