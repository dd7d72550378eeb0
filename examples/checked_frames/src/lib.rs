//! A protocol of another crate: length-prefixed frames with a sequence number and a checksum, and pings.
//!
//! It stands on [`LengthPrefixed`] and uses public items of `ringwheel` only. [`CheckedConn`] gives its connections methods of
//! their own: `conn.ping()`, `conn.round_trip_time()`, `conn.frames_sent()`.
//!
//! ```text
//!  0        4      5          9          13                   frame end
//!  ├ length ┼ kind ┼ sequence ┼ checksum ┼ payload ───────────┤   all numbers are big-endian
//! ```
//!
//! ```no_run
//! use checked_frames::{CheckedConn, CheckedFrames};
//! use ringwheel::{Conn, Handler, Listen, Server};
//!
//! #[derive(Clone)]
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Protocol = CheckedFrames;
//!     type Session = ();
//!     fn on_open(&mut self, conn: &mut Conn<'_, CheckedFrames>) {
//!         conn.ping();
//!     }
//!     fn on_message(&mut self, conn: &mut Conn<'_, CheckedFrames>, _session: &mut (), message: &[u8]) {
//!         conn.send(message);
//!     }
//! }
//!
//! let listen = Listen::with(CheckedFrames::new(), "127.0.0.1:1833");
//! Server::builder().listen_with(listen, Echo)?.run()
//! # ; Ok::<(), std::io::Error>(())
//! ```

mod decoder;
mod encoder;
mod frame;

pub use decoder::{CheckedDecoder, CheckedError};
pub use encoder::CheckedEncoder;

use std::time::Duration;

use ringwheel::protocol::{LengthPrefixed, Protocol};
use ringwheel::{Conn, SendStatus};

/// The protocol. Messages and items are bytes, at most 1 MiB less a header of 9 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckedFrames;

impl CheckedFrames {
    /// The protocol with its defaults.
    pub fn new() -> Self {
        CheckedFrames
    }
}

impl Protocol for CheckedFrames {
    type Decoder = CheckedDecoder;
    type Encoder = CheckedEncoder;

    fn open(&self) -> (CheckedDecoder, CheckedEncoder) {
        let (decoder, encoder) = LengthPrefixed::u32_be().open();
        (CheckedDecoder::new(decoder), CheckedEncoder::new(encoder))
    }
}

/// The methods that a connection with [`CheckedFrames`] has besides those of every connection.
pub trait CheckedConn {
    /// Sends a ping; the answer tells the [round-trip time](Self::round_trip_time).
    fn ping(&mut self) -> SendStatus;

    /// The time between the last answered ping and its answer, by the loop's clock.
    fn round_trip_time(&self) -> Option<Duration>;

    /// Frames sent so far, pings and answers to pings among them.
    fn frames_sent(&self) -> u32;
}

impl CheckedConn for Conn<'_, CheckedFrames> {
    fn ping(&mut self) -> SendStatus {
        let now = self.now();
        self.encode_with(|encoder, output| encoder.ping(now, output))
    }

    fn round_trip_time(&self) -> Option<Duration> {
        self.encoder().round_trip_time()
    }

    fn frames_sent(&self) -> u32 {
        self.encoder().frames_sent()
    }
}
