//! The handler's say before a silent or slow peer is evicted.

/// The answer of [`Handler::on_timeout`](crate::Handler::on_timeout).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutDecision {
    /// End the connection at once; pending output is lost. The default.
    #[default]
    Evict,
    /// Close in order: what the callback has sent is flushed first, within
    /// [`Listen::close_timeout`](crate::Listen::close_timeout).
    Close,
    /// Let the connection stay: the time runs anew.
    Stay,
}
