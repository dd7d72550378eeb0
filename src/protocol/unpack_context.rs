//! The context of a decoder: everything except the input.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::{Output, TurnBudget};
use crate::io::address::Address;

/// Everything except the input that a decoder works with during one call.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnpackContext<'a, E> {
    /// The connection's output, for replies that the protocol sends by itself, such as a pong. Bytes put here before an
    /// error is returned are sent before the connection closes.
    pub output: &'a mut Output,
    /// The connection's writing half. It holds all state that both halves need: a close that was begun, a compressor's
    /// state, the times of pings.
    pub encoder: &'a mut E,
    /// The time since the loop started, as of its current iteration.
    pub now: Duration,
    /// The peer's address.
    pub peer: &'a Address,
    /// The time at which bytes of the peer last came, as [`now`](Self::now) counts: any of them is a sign of life, also part
    /// of a message that is not whole.
    pub heard_at: Duration,
    /// True if the peer must not be blamed for silence now. Either its input is unread, because the handler has paused
    /// reading or the output is above the high-water mark; or output is still pending, so the peer has not yet seen
    /// what it would answer. Postpone timeouts instead of firing them. (A peer that reads none of the output is caught
    /// by [`Listen::write_stall_timeout`](crate::Listen::write_stall_timeout).)
    pub peer_is_held_back: bool,
    /// The budget of the turn; `None` for a decoder without a connection.
    budget: Option<&'a mut TurnBudget>,
}

impl<'a, E> UnpackContext<'a, E> {
    #[inline]
    pub(crate) fn new(
        output: &'a mut Output,
        encoder: &'a mut E,
        now: Duration,
        peer: &'a Address,
    ) -> Self {
        UnpackContext {
            output,
            encoder,
            now,
            peer,
            heard_at: now,
            peer_is_held_back: false,
            budget: None,
        }
    }

    /// A context without a connection, at time zero and with an unspecified peer, for testing a decoder with
    /// [`Output::detached`].
    pub fn detached(output: &'a mut Output, encoder: &'a mut E) -> Self {
        UnpackContext::new(output, encoder, Duration::ZERO, &UNSPECIFIED_PEER)
    }

    /// The same context at another time.
    #[must_use]
    pub fn at(self, now: Duration) -> Self {
        UnpackContext { now, ..self }
    }

    /// The same context with the budget of a turn.
    ///
    /// ```
    /// use ringwheel::protocol::{Lines, Output, TurnBudget, UnpackContext};
    ///
    /// let (mut output, mut encoder) = (Output::detached(), Lines::default());
    /// let mut budget = TurnBudget::new(1000);
    /// let mut context = UnpackContext::detached(&mut output, &mut encoder).within(&mut budget);
    /// context.charge(400);
    /// assert_eq!(context.work_left(), 600);
    /// ```
    #[inline]
    #[must_use]
    pub fn within(self, budget: &'a mut TurnBudget) -> Self {
        UnpackContext {
            budget: Some(budget),
            ..self
        }
    }

    /// Reports work that the input has caused beyond looking at each of its bytes once, in the unit of a received byte: bytes
    /// that were inflated, records that were looked up. Each call of [`Decode::unpack`](super::Decode::unpack) is charged 16 by
    /// itself.
    ///
    /// Once the [budget](TurnBudget) of the turn is spent, the turn ends behind the current message.
    #[inline]
    pub fn charge(&mut self, work: usize) {
        if let Some(budget) = &mut self.budget {
            budget.charge(work);
        }
    }

    /// The work that is left to this turn. A decoder with a message that causes more can do a part of it, return
    /// [`Unpacked::Skip`](super::Unpacked::Skip) with the bytes that this part has taken, and go on when it is called again.
    /// Without a connection there is no limit, and this is [`usize::MAX`].
    #[inline]
    pub fn work_left(&self) -> usize {
        self.budget
            .as_ref()
            .map_or(usize::MAX, |budget| budget.left())
    }

    /// The same context with another encoder: a layered protocol passes it to the decoder below. `inner` gets that
    /// decoder's encoder out of ours.
    ///
    /// ```
    /// use ringwheel::protocol::{Decode, Lines, Output, Protocol, UnpackContext, Unpacked};
    ///
    /// /// An encoder around that of `Lines`.
    /// struct Outer {
    ///     lines: Lines,
    /// }
    ///
    /// let (mut decoder, lines) = Lines::default().open();
    /// let (mut outer, mut output) = (Outer { lines }, Output::detached());
    /// let mut context = UnpackContext::detached(&mut output, &mut outer);
    ///
    /// let mut input = *b"seven\n";
    /// let line = decoder.unpack(&mut input, &mut context.with_encoder(|outer| &mut outer.lines))?;
    /// assert_eq!(line.map(str::len), Unpacked::Message { message: 5, consumed: 6 });
    /// # Ok::<(), ringwheel::protocol::LinesError>(())
    /// ```
    #[inline]
    pub fn with_encoder<F>(
        &mut self,
        inner: impl FnOnce(&mut E) -> &mut F,
    ) -> UnpackContext<'_, F> {
        UnpackContext {
            output: self.output,
            encoder: inner(self.encoder),
            now: self.now,
            peer: self.peer,
            heard_at: self.heard_at,
            peer_is_held_back: self.peer_is_held_back,
            budget: self.budget.as_deref_mut(),
        }
    }
}

/// The peer address of a [detached](UnpackContext::detached) context.
static UNSPECIFIED_PEER: Address =
    Address::Ip(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));
