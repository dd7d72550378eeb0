//! The handler's own timers on a connection.

use std::fmt;
use std::time::Duration;

use super::conn::Conn;
use crate::connection::due::Due;
use crate::protocol::Protocol;
use crate::wheel::TimerKey;

/// Names a timer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(pub(crate) TimerKey);

/// The connection has as many timers as [`Limits::timers`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTimersError;

impl fmt::Display for TooManyTimersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has as many timers as its limit allows")
    }
}

impl std::error::Error for TooManyTimersError {}

impl<P: Protocol> Conn<'_, P> {
    /// Sets a timer: [`Handler::on_timer`](crate::Handler::on_timer) is called with `token` once `after` has passed, not
    /// earlier, counted from the beginning of the loop's current iteration. Timers end with the connection.
    ///
    /// # Errors
    /// [`TooManyTimersError`] when the connection has [`Limits::timers`] timers already.
    pub fn set_timer(
        &mut self,
        after: Duration,
        token: u64,
    ) -> Result<TimerId, TooManyTimersError> {
        if self.connection.extra_or_new().timers.len() >= self.link.limits.timers {
            return Err(TooManyTimersError);
        }
        let key = self.state.schedule(
            after,
            Due::Handler {
                id: self.connection.id,
                token,
            },
        );
        self.connection.extra_or_new().timers.insert(key);
        Ok(TimerId(key))
    }

    /// Cancels a timer; false if it has fired or was cancelled before.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let extra = self.connection.extra.as_mut();
        let is_set = extra.is_some_and(|extra| extra.timers.remove(&timer.0));
        is_set && self.state.wheel.cancel(timer.0).is_some()
    }
}
