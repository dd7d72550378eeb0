//! Changes of what a worker serves, while it serves.

use std::sync::Arc;

use crate::accept::listeners::ListenerChange;
use crate::opening::terms::OpeningTerms;
use crate::reactor::ServiceEntry;

/// A change that a handle of the server asks of a worker.
///
/// It comes on a channel of its own, since commands are known further below. For each change there is a command
/// [`LookAtChanges`](crate::shared::command::Command::LookAtChanges), which keeps the order among the commands: a service is there
/// before the first connection that belongs to it.
pub(crate) enum LoopChange {
    /// Adds a service behind the others, with the stages in which its connections open.
    Serve(
        Box<dyn FnOnce() -> ServiceEntry + Send>,
        Option<Arc<OpeningTerms>>,
    ),
    /// Changes the listeners from which the worker accepts by itself.
    Listeners(ListenerChange),
}
