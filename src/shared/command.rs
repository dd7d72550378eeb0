//! Commands to a worker's loop.

use std::sync::Arc;
use std::time::Duration;

use crate::shared::LoopShared;
use crate::shared::arrival::Arrival;
use crate::shared::task::{Task, Ticket};

/// A command to a worker's loop.
pub(crate) enum Command {
    /// Take over a connection.
    Adopt(Arrival),
    /// Run a closure when it is due.
    Schedule(Task),
    /// Forget a cancelled task now rather than when it is due.
    Cancel(Arc<Ticket>),
    /// Answer what has arrived, flush and close, together with all these workers; drop what is left after this time.
    /// A change waits for the loop in the channel that its event loop has for such.
    LookAtChanges,
    Drain(Duration, Arc<[Arc<LoopShared>]>),
    /// Look how far the others have come with the drain.
    LookAtDrain,
    /// Drop everything.
    Stop,
}
