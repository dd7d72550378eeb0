//! Small facts about a connection, a bit each.

/// Facts that are neither part of the [life cycle](super::lifecycle) nor reasons to hold input back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Marks(u8);

impl Marks {
    /// The connection is on the ready list, or on that of heavy connections.
    pub(crate) const ON_READY_LIST: Marks = Marks(1);
    /// Reading was held back at some time since the current message deadline was set.
    pub(crate) const HELD_BACK: Marks = Marks(2);
    /// The deadline of the current part of the close is set, or a drain has one for it.
    pub(crate) const CLOSE_LIMITED: Marks = Marks(4);
    /// The connection is on the list of those that are removed at the end of the iteration.
    pub(crate) const ON_CLOSED_LIST: Marks = Marks(8);

    /// The connection is over for the handler: it was told, or it never met the connection.
    pub(crate) const TOLD_OF_END: Marks = Marks(64);
    /// Messages of the connection have a deadline, or may get one.
    pub(crate) const TIMED: Marks = Marks(32);
    /// The message timer is that of the first message, which has not come.
    pub(crate) const AWAITS_FIRST: Marks = Marks(16);

    /// A message was refused at or below the low-water mark: there is room for it only once the output is empty.
    pub(crate) const ROOM_WHEN_EMPTY: Marks = Marks(128);

    #[inline]
    pub(crate) fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, mark: Marks, to: bool) {
        self.0 = if to {
            self.0 | mark.0
        } else {
            self.0 & !mark.0
        };
    }
}
