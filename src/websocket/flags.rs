//! The facts about a session.

/// Facts about a session, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// The opening handshake is not over.
    pub(crate) const OPENING: Flags = Flags(1);
    /// A close frame was sent.
    pub(crate) const CLOSE_SENT: Flags = Flags(2);
    /// This is the client's side, whose frames are masked.
    pub(crate) const CLIENT: Flags = Flags(4);
    /// Messages are compressed.
    pub(crate) const COMPRESSES: Flags = Flags(8);
    /// The peer may compress its messages: permessage-deflate was agreed on.
    pub(crate) const INFLATES: Flags = Flags(16);
    /// A message that is sent in fragments is not finished.
    pub(crate) const IN_FRAGMENTS: Flags = Flags(32);
    /// The message that is sent in fragments is text.
    pub(crate) const TEXT_FRAGMENTS: Flags = Flags(64);
    /// The handler has ended our side of the stream: there are no more pings.
    pub(crate) const ENDED: Flags = Flags(128);
    /// The session's next deadline may be earlier than it was when it was last asked for.
    pub(crate) const NEW_DEADLINE: Flags = Flags(256);
    /// The facts that keep a message off the fast path.
    pub(crate) const SLOW: Flags = Flags::of(&[
        Self::OPENING,
        Self::CLOSE_SENT,
        Self::CLIENT,
        Self::COMPRESSES,
        Self::IN_FRAGMENTS,
    ]);

    pub(crate) const fn of(flags: &[Flags]) -> Flags {
        let (mut all, mut index) = (0, 0);
        while index < flags.len() {
            all |= flags[index].0;
            index += 1;
        }
        Flags(all)
    }

    #[inline]
    pub(crate) fn has_any(self, of: Flags) -> bool {
        self.0 & of.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    pub(crate) fn clear(&mut self, flag: Flags) {
        self.0 &= !flag.0;
    }

    pub(crate) fn put(&mut self, flag: Flags, is_set: bool) {
        match is_set {
            true => self.set(flag),
            false => self.clear(flag),
        }
    }
}
