//! The gate of a connection's input: the reasons for holding back what has arrived.

/// The reasons why messages are not delivered, a bit each. The gate is open when no reason is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Gate(u8);

impl Gate {
    /// The handler paused reading.
    pub(crate) const PAUSED: Gate = Gate(1);
    /// The output is above its high-water mark.
    pub(crate) const PRESSURE: Gate = Gate(2);
    /// The connection's callbacks have posted much mail, which is carried out first, or mail that was refused for want of room.
    pub(crate) const MAIL: Gate = Gate(64);
    /// Too much of the connection's mail is on its way.
    pub(crate) const POSTED: Gate = Gate(128);
    /// The connection is not open or parting any more: it does not [take input](super::lifecycle::Lifecycle::takes_input).
    pub(crate) const CLOSING: Gate = Gate(4);

    /// The handler has asked for a change of the decoder, or set a timeout that the decoder is asked about; both are done before
    /// the next message.
    pub(crate) const DECODER: Gate = Gate(8);
    /// The worker's memory is short, and the connection has more than its share of it.
    pub(crate) const MEMORY: Gate = Gate(16);
    /// The reasons that pass by themselves, without the handler.
    pub(crate) const PASSING: Gate =
        Gate(Self::PRESSURE.0 | Self::MEMORY.0 | Self::MAIL.0 | Self::POSTED.0);

    /// The reasons that hold a connection back because of the mail that its callbacks post. Its timers wait, too.
    pub(crate) const SLOWED: Gate = Gate(Self::MAIL.0 | Self::POSTED.0);

    /// The reasons that may last, because the handler or the peer ends them.
    pub(crate) const LASTING: Gate = Gate(Self::PAUSED.0 | Self::PRESSURE.0 | Self::MEMORY.0);

    /// A close waits for the sources: no further message is delivered.
    pub(crate) const FINISHING: Gate = Gate(32);

    #[inline]
    pub(crate) fn is_open(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    #[inline]
    pub(crate) fn has(self, reason: Gate) -> bool {
        self.0 & reason.0 != 0
    }

    #[inline]
    pub(crate) fn shut(&mut self, reason: Gate) {
        self.0 |= reason.0;
    }

    #[inline]
    pub(crate) fn open(&mut self, reason: Gate) {
        self.0 &= !reason.0;
    }
}
