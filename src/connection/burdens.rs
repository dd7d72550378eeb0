//! Burdens of a connection: facts, beside its gate, that keep it off the fast path of a turn.

/// The burdens, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Burdens(u8);

impl Burdens {
    /// The end of the turn has something to do: there are completions to call or sources to draw from, or subscriptions have
    /// changed what the connection holds.
    pub(crate) const COMPLETING: Burdens = Burdens(1);
    /// A turn of the last seconds did much work. Further turns wait on the list of heavy connections, so that many such connections
    /// do not add up to a long iteration.
    pub(crate) const HEAVY: Burdens = Burdens(2);

    /// Messages that were accepted for the connection are lost, so its end is a reset.
    pub(crate) const OWES: Burdens = Burdens(4);
    /// The connection is over, and listed for its last callbacks.
    pub(crate) const ENDING: Burdens = Burdens(8);

    #[inline]
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    #[inline]
    pub(crate) fn has(self, burden: Burdens) -> bool {
        self.0 & burden.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, burden: Burdens, to: bool) {
        self.0 = if to {
            self.0 | burden.0
        } else {
            self.0 & !burden.0
        };
    }
}
