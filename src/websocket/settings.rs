//! The settings of a WebSocket endpoint: the limits of its peers, and what it does automatically.

use std::time::{Duration, SystemTime};

use super::hosts::Hosts;
use super::origin::Origins;
use crate::http::head::HeadLimits;

/// The time that a message of a peer may take.
pub(crate) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of a [`WebSocket`](super::WebSocket), whose methods document them. All connections share one value.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_message: usize,
    pub(crate) fragment_overhead: usize,
    pub(crate) control_rate: u16,
    pub(crate) message_rate: Option<u16>,
    pub(crate) head: HeadLimits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
    /// The clock of `Date` headers. It is a setting, so that a handshake can be tested at any time.
    pub(crate) clock: fn() -> SystemTime,
    pub(crate) ping_every: Option<Duration>,
    pub(crate) pong_timeout: Duration,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<super::deflate::Deflate>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_message: 1024 * 1024,
            fragment_overhead: 1024 * 1024,
            control_rate: 1000,
            message_rate: None,
            head: HeadLimits::default(),
            handshake_timeout: Duration::from_secs(10),
            hosts: Hosts::any(),
            origins: Origins::same_host(),
            clock: SystemTime::now,
            ping_every: Some(Duration::from_secs(30)),
            pong_timeout: Duration::from_secs(20),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }
}
