//! The state that only few connections need.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::completion::Completions;
use super::lag::{Lag, Progress};
use super::topics::Subscription;
use crate::io::proxy_header::ProxyHeader;
use crate::shared::control::Control;
use crate::wheel::TimerKey;

/// State that only few connections need, allocated with the first use, so that the others stay small.
#[derive(Default)]
pub(crate) struct Extra {
    /// Completions of messages that are not with the kernel yet.
    pub(crate) completions: Completions,
    /// The handler's timers by their number, to be cancelled with the connection.
    pub(crate) timers: HashMap<u64, HandlerTimer>,
    /// The timers that are due, in the order of their times, and wait because the connection is [slowed](super::gate::Gate::SLOWED).
    pub(crate) overdue: Vec<u64>,
    /// The number of the next timer. It never repeats, so that no name of a timer can mean a later one.
    pub(crate) next_timer: u64,
    /// Deadlines that the handler has set for this connection.
    pub(crate) deadlines: OwnDeadlines,
    /// The topics that the connection subscribes to.
    pub(crate) subscriptions: Vec<Subscription>,
    /// The units of the worker's memory with which the connection is charged for them.
    pub(crate) subscribed: u32,
    /// The lag behind what is published to them.
    pub(crate) lag: Lag,
    /// Mail that has come without room for it. It counts among that of its senders for as long as it is here.
    pub(crate) held_senders: Vec<Arc<dyn Any + Send + Sync>>,
    /// Number of times that such mail was let go.
    #[cfg(test)]
    pub(crate) releases: u64,
    /// The progress of the output, as it was last seen when something was published to them.
    pub(crate) progress: Progress,
    /// The sources that are to be drawn from.
    pub(crate) sources: SourceState,
    /// The tick until which the connection counts as [heavy](super::burdens::Burdens::HEAVY).
    pub(crate) heavy_until: u64,
    /// The tick until which a turn that takes long makes it heavy, because one has before.
    pub(crate) slow_until: u64,
    /// Messages that were dropped because the output was full.
    pub(crate) dropped: u64,
    /// The part that handles and publications refer to; made with the first of them.
    pub(crate) control: Option<Arc<Control>>,
    /// The connection is held back until the worker that has refused its mail has read mail.
    pub(crate) was_refused: bool,
    /// The connection lingers beyond its close timeout.
    pub(crate) long_linger: Option<LongLinger>,
    /// A handle has asked for a close, which waits for letters that were posted before.
    pub(crate) closes_after_letters: bool,
    /// The header with which a proxy has begun the connection.
    pub(crate) proxy_header: Option<Box<ProxyHeader>>,
}

/// The state of a connection's sources, which the service keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceState {
    /// Number of sources that are not done.
    pub(crate) count: usize,
    /// The first one has nothing to send now.
    pub(crate) is_waiting: bool,
    /// Bytes that the socket had taken when the sources were last looked at.
    pub(crate) written: u64,
    /// The connection has ended before some of them were done.
    pub(crate) are_lost: bool,
}

/// The progress of a connection that lingers beyond its close timeout, because the kernel may still hold output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongLinger {
    /// The tick at which it ends.
    pub(crate) until: u64,
    /// The count of received bytes beyond which nothing is read until the timer fires.
    pub(crate) read_until: u64,
}

/// A timer of the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandlerTimer {
    /// `None` while the timer is due and waits, because the connection is [slowed](super::gate::Gate::SLOWED).
    pub(crate) key: Option<TimerKey>,
    /// The value that the handler gets back.
    pub(crate) token: u64,
    /// Period and next due time, in the loop's time, of a timer that repeats.
    pub(crate) repeat: Option<Repeat>,
}

/// The beat of a timer that repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    pub(crate) period: Duration,
    pub(crate) due: Duration,
}

/// Deadlines of one connection that differ from those of its listener. `None`: the listener's holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnDeadlines {
    pub(crate) idle: Option<Option<Duration>>,
    pub(crate) message: Option<Option<Duration>>,
}
