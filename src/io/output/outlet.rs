//! The way from the output to the socket: open, blocked for now, or shut for good.

use crate::io::stream::SHORT_MEANS_DRAINED;

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlet {
    /// The socket may take something.
    Open,
    /// The socket takes nothing more until it says that it is writable.
    Blocked,
    /// Our end of the stream is sent, or the connection has ended: nothing leaves any more.
    Shut,
}

impl Outlet {
    /// The socket has refused a write.
    pub(super) fn block(&mut self) {
        if *self == Outlet::Open {
            *self = Outlet::Blocked;
        }
    }

    /// The socket has taken less than it was given.
    pub(super) fn note_short_write(&mut self) {
        if SHORT_MEANS_DRAINED {
            self.block();
        }
    }

    /// The next write may be tried.
    #[inline]
    pub(super) fn unblock(&mut self) {
        if *self == Outlet::Blocked {
            *self = Outlet::Open;
        }
    }
}
