//! The error of a subscription that is not allowed.

use std::fmt;

/// A limit that forbids a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The connection has as many subscriptions as [`Limits::subscriptions`](crate::Limits::subscriptions) allows.
    Count,
    /// The topic's name is longer than [`Limits::topic_name`](crate::Limits::topic_name) allows.
    NameLength,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubscribeError::Count => "the connection has as many subscriptions as allowed",
            SubscribeError::NameLength => "the topic's name is longer than allowed",
        })
    }
}

impl std::error::Error for SubscribeError {}
