//! The limits and deadlines of a connection.

use std::time::Duration;

/// The largest limit of input and of output, in bytes: counts of bytes have 32 bits, with some room for what a protocol says by itself.
const MAX_LIMIT: usize = u32::MAX as usize - 1024;

/// The policy for a message that would take the pending output past its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Close the connection with [`CloseReason::OutputLimit`](crate::CloseReason::OutputLimit).
    #[default]
    Close,
    /// Drop the message, count it in [`ConnStats::dropped`](crate::ConnStats::dropped), and go on.
    /// [`Handler::on_drained`](crate::Handler::on_drained) tells when there is room again.
    DropMessage,
    /// Refuse the message: only the sender learns of it, and decides. [`Handler::on_drained`](crate::Handler::on_drained) tells
    /// when there is room again.
    Refuse,
}

/// The limits of one connection. Sizes are in bytes.
///
/// Set per listener with [`Listen::limits`](crate::Listen::limits).
///
/// ```
/// use ringwheel::{Limits, Listen, Overflow, protocol::Lines};
///
/// // A price feed: a reader that falls behind by more than 64 KiB misses prices.
/// let limits = Limits::default()
///     .low_water(16 * 1024)
///     .high_water(64 * 1024)
///     .output(64 * 1024)
///     .overflow(Overflow::DropMessage);
/// let listen = Listen::<Lines>::on("127.0.0.1:0").limits(limits);
/// # drop(listen);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Input kept of a message that is not whole yet. A message that needs more ends the connection with
    /// [`CloseReason::InputLimit`](crate::CloseReason::InputLimit). Protocols have a limit of their own, which is
    /// usually lower and gives the better error. Below 4 GiB; default 16 MiB.
    pub input: usize,
    /// Output pending at most; [`overflow`](Self::overflow) is the policy for a message that does not fit, although the socket
    /// was offered all that was pending before it. A protocol's own words (a ping, a pong) may take 512 bytes more, and its last
    /// words 512 bytes beyond those, so that a full output does not silence it; if that is not enough, the connection ends with
    /// a reset and [`CloseReason::OutputLimit`](crate::CloseReason::OutputLimit). At least 1 KiB below 4 GiB; default
    /// 1,280 KiB: on top of output at the high-water mark a message of 1 MiB fits, the longest that the protocols of this crate
    /// accept by default.
    pub output: usize,
    /// Above this much pending output the connection's input is not read, and its messages are not delivered.
    /// Default 192 KiB: with the message that passes the mark, the output mostly still fits into a ring of 256 KiB.
    pub high_water: usize,
    /// At or below this much pending output reading resumes, and
    /// [`Handler::on_drained`](crate::Handler::on_drained) is called, if the output has been above
    /// [`high_water`](Self::high_water) or a message did not fit. Default 64 KiB.
    pub low_water: usize,
    /// The policy at [`output`](Self::output). Publications wait before it applies to them, as [`patience`](Self::patience) says.
    /// Default [`Overflow::Close`].
    pub overflow: Overflow,
    /// [Sources](crate::Conn::send_from) that a connection may have at one time; one more is refused. Default 16.
    pub sources: usize,
    /// Timers that a connection may have set at one time. Default 64.
    pub timers: usize,
    /// Topics that a connection may subscribe to at one time. Default 256.
    pub subscriptions: usize,
    /// The longest name of a topic, in bytes. Default 256.
    pub topic_name: usize,
    /// Mail of a connection that may be on its way at one time, as a number and as bytes. A connection that has more is not read,
    /// its messages are not delivered and its timers do not fire, until no more than half is left. Default 64 and 256 KiB.
    ///
    /// Where little room is left, any mail is too much, and the connection waits until none of it is on its way: if callbacks have more
    /// than half of the places or bytes of a mailbox that threads leave, or if a worker has more than 64 publications with more than
    /// 32,768 deliveries before it. The same holds for the publishers of a topic in which more than these bytes, of all publishers
    /// together, wait for slow subscribers. A publisher that has no more than a sixteenth of these bytes on its way does not wait there.
    ///
    /// This counts each publication until it has reached all subscribers; one that waits for nothing but slow ones
    /// ([`patience`](Self::patience) says how long) counts an eighth of a number, and its bytes, while no more than an eighth of
    /// the mailboxes is taken. It counts all other letters that the connection's callbacks
    /// post until they are carried out, by the places that they take
    /// ([`ServerBuilder::mailbox_limit`](crate::ServerBuilder::mailbox_limit)): a broadcast counts as many as it reaches. Letters to the
    /// connection's own worker do not count, as they are carried out after the turn. But a letter to one connection whose
    /// output is above [`high_water`](Self::high_water) counts until that has room, for no longer than its
    /// [`patience`](Self::patience) lasts.
    pub publications: (usize, usize),
    /// The time for which a publication may wait for a subscriber with an output above [`high_water`](Self::high_water). The
    /// subscriber gets waiting publications when its output has fallen to [`low_water`](Self::low_water), as far as there is room
    /// at each eighth of this time, and all of them, whatever room there is, before a message that is sent to it by
    /// other means. So such a message, beside a flood of publications, can drive a subscriber to its limit. The other subscribers get everything
    /// at once. Meanwhile its publishers are slowed to its pace, by [`publications`](Self::publications).
    ///
    /// The patience with a subscriber is over if a publication has waited for this time, and up to an eighth more, or if no
    /// byte has left for it. Then the subscriber gets all waiting publications and all that follow at once, up to
    /// [`output`](Self::output), where [`overflow`](Self::overflow) decides, until its output has fallen to the low-water mark.
    /// Where waiting publications take more than a quarter of the worker's mailboxes, the patience is over with subscribers of the
    /// topics that have most of them, if one has waited for an eighth of this time, if a thread has published to the topic, or if
    /// the mailboxes are more than half full. With all subscribers that lag it is over when a drain begins.
    ///
    /// So one subscriber can slow its publishers to what may wait for it in this time. In each of its topics these are the bytes of
    /// [`publications`](Self::publications), which the publishers have together, and of each publisher a sixteenth of them and a message,
    /// but no more than 512 publications of each. A subscriber that reads all of that within this time is waited for.
    /// Zero: publications never wait, and a connection that publishes fast drives subscribers that read more slowly to their
    /// limit. Default 1 s.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            input: 16 * 1024 * 1024,
            output: 1280 * 1024,
            high_water: 192 * 1024,
            low_water: 64 * 1024,
            overflow: Overflow::Close,
            sources: 16,
            timers: 64,
            subscriptions: 256,
            topic_name: 256,
            publications: (64, 256 * 1024),
            patience: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// Bytes that may wait in a topic for slow subscribers before its publishers wait for their own: as many as one publisher alone may
    /// have on their way.
    pub(crate) fn crowd(&self) -> usize {
        self.publications.1
    }

    /// Sets [`input`](Self::input).
    #[must_use]
    pub fn input(mut self, bytes: usize) -> Self {
        self.input = bytes;
        self
    }

    /// Sets [`output`](Self::output).
    #[must_use]
    pub fn output(mut self, bytes: usize) -> Self {
        self.output = bytes;
        self
    }

    /// Sets [`high_water`](Self::high_water).
    #[must_use]
    pub fn high_water(mut self, bytes: usize) -> Self {
        self.high_water = bytes;
        self
    }

    /// Sets [`low_water`](Self::low_water).
    #[must_use]
    pub fn low_water(mut self, bytes: usize) -> Self {
        self.low_water = bytes;
        self
    }

    /// Sets [`overflow`](Self::overflow).
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets [`sources`](Self::sources).
    #[must_use]
    pub fn sources(mut self, count: usize) -> Self {
        self.sources = count;
        self
    }

    /// Sets [`timers`](Self::timers).
    #[must_use]
    pub fn timers(mut self, count: usize) -> Self {
        self.timers = count;
        self
    }

    /// Sets [`subscriptions`](Self::subscriptions).
    #[must_use]
    pub fn subscriptions(mut self, count: usize) -> Self {
        self.subscriptions = count;
        self
    }

    /// Sets [`topic_name`](Self::topic_name).
    #[must_use]
    pub fn topic_name(mut self, bytes: usize) -> Self {
        self.topic_name = bytes;
        self
    }

    /// Sets [`publications`](Self::publications).
    #[must_use]
    pub fn publications(mut self, count: usize, bytes: usize) -> Self {
        self.publications = (count, bytes);
        self
    }

    /// Sets [`patience`](Self::patience).
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Checks that the limits do not contradict one another.
    ///
    /// # Errors
    /// The contradiction, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let marks = [
            ("low_water", self.low_water, "high_water", self.high_water),
            ("high_water", self.high_water, "output", self.output),
        ];
        for (name, value, above, most) in marks {
            if value > most {
                return Err(format!(
                    "`Limits::{name}` is {value}, and must not exceed `Limits::{above}`, which is {most}"
                ));
            }
        }
        for (name, value) in [("input", self.input), ("output", self.output)] {
            if !(1..=MAX_LIMIT).contains(&value) {
                return Err(format!(
                    "`Limits::{name}` is {value}, and must be from 1 to {MAX_LIMIT}"
                ));
            }
        }
        Ok(())
    }
}

/// The deadlines of a connection; each runs on the worker's timing wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) idle: Option<Duration>,
    pub(crate) first_message: Option<Duration>,
    pub(crate) message: Option<Duration>,
    pub(crate) write_stall: Option<Duration>,
    pub(crate) close: Duration,
    /// Bytes per second of its pending output that a peer must take, measured over `write_stall` and over `close`.
    pub(crate) least_rate: u32,
    /// Bytes that a peer may have read unseen, a [`STEP`].
    pub(crate) step: u64,
}

/// Bytes that a peer may have read before the kernel is seen to take more. It takes output in steps: a Unix socket when three
/// quarters of its buffer are free, TCP when the peer announces a window, which is at least a segment of up to 64 KiB. The
/// simulated network has no steps.
const STEP: u64 = if cfg!(test) { 0 } else { 192 * 1024 };

impl Timeouts {
    const DEFAULT_RATE: u32 = 1024;

    /// Bytes that the kernel must be seen to take within this time of output of which so much is pending: at the least rate, but
    /// for a [`STEP`] that the peer may have read unseen, at least one byte, and no more than there are.
    pub(crate) fn least_progress(&self, time: Duration, pending: usize) -> usize {
        let seen = self.taken_within(time).saturating_sub(self.step).max(1);
        usize::try_from(seen).unwrap_or(usize::MAX).min(pending)
    }

    /// Bytes that a peer at the least rate takes within this time.
    pub(crate) fn taken_within(&self, time: Duration) -> u64 {
        let taken = time.as_nanos().saturating_mul(u128::from(self.least_rate)) / 1_000_000_000;
        u64::try_from(taken).unwrap_or(u64::MAX)
    }

    /// The time for a part of a close with so many bytes pending: `close`, but with output not less than a peer at the least rate
    /// needs for a [`STEP`], so that its progress can be seen, and no more than 20 times `close`.
    pub(crate) fn close_with(&self, pending: usize) -> Duration {
        match pending {
            0 => self.close,
            _ => {
                let most = self.close.saturating_mul(20);
                self.time_at_least_rate(self.step).clamp(self.close, most)
            }
        }
    }

    /// The time that a connection lingers once our end of stream is sent, if the kernel may still hold so many bytes: a peer
    /// that takes them at the least rate gets all of them. Never less than `close`.
    ///
    /// Without a least rate the default one counts, since the kernel does not tell of progress.
    pub(crate) fn linger(&self, held: u64) -> Duration {
        self.time_at_least_rate(held).max(self.close)
    }

    fn time_at_least_rate(&self, bytes: u64) -> Duration {
        let rate = match self.least_rate {
            0 => Self::DEFAULT_RATE,
            rate => rate,
        };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            idle: None,
            first_message: None,
            message: None,
            write_stall: Some(Duration::from_secs(60)),
            close: Duration::from_secs(10),
            least_rate: Self::DEFAULT_RATE,
            step: STEP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linger_lasts_until_all_can_be_read_at_the_least_rate() {
        let at = |least_rate| Timeouts {
            least_rate,
            ..Timeouts::default()
        };
        let seconds = Duration::from_secs;
        assert_eq!(at(1024).linger(0), seconds(10));
        assert_eq!(at(1024).linger(10 * 1024), seconds(10));
        assert_eq!(at(1024).linger(1 << 20), seconds(1024));
        assert_eq!(at(0).linger(1 << 20), seconds(1024));
        assert_eq!(at(u32::MAX).linger(1 << 20), seconds(10));
        assert!(at(1).linger(u64::MAX) > seconds(1 << 34));
    }

    #[test]
    fn the_least_progress_is_a_byte_and_at_most_all() {
        let seconds = Duration::from_secs;
        let at = |least_rate| Timeouts {
            least_rate,
            ..Timeouts::default()
        };
        assert_eq!(at(1024).least_progress(seconds(60), 1 << 20), 60 * 1024);
        assert_eq!(at(1024).least_progress(seconds(60), 100), 100);
        assert_eq!(at(1024).least_progress(seconds(60), 0), 0);
        assert_eq!(at(0).least_progress(seconds(60), 1 << 20), 1);
        assert_eq!(at(u32::MAX).least_progress(Duration::MAX, 5), 5);
        assert_eq!(at(1).least_progress(Duration::ZERO, 5), 1);
    }
}
