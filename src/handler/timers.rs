//! The handler's own timers on a connection, and the connection's deadlines.

use std::fmt;
use std::time::Duration;

use super::conn::Conn;
use crate::connection::due::Due;
use crate::connection::extra::{HandlerTimer, Repeat};
use crate::connection::gate::Gate;
use crate::connection::marks::Marks;
use crate::protocol::Protocol;

/// Names a timer of one connection.
///
/// ```
/// use std::time::Duration;
/// use ringwheel::{Conn, TimerId, TooManyTimersError, protocol::Lines};
///
/// const LOGIN: u64 = 1;
///
/// fn expect_login(conn: &mut Conn<'_, Lines>) -> Result<TimerId, TooManyTimersError> {
///     conn.set_timer(Duration::from_secs(10), LOGIN) // `on_timer` gets `LOGIN`.
/// }
///
/// fn on_login(conn: &mut Conn<'_, Lines>, timer: TimerId) {
///     conn.cancel_timer(timer);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(pub(crate) u64);

/// The connection has as many timers as [`Limits::timers`](crate::Limits::timers) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTimersError;

impl fmt::Display for TooManyTimersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has as many timers as its limit allows")
    }
}

impl std::error::Error for TooManyTimersError {}

impl<P: Protocol> Conn<'_, P> {
    /// Sets a timer: [`Handler::on_timer`](crate::Handler::on_timer) is called once with `token` when `after` has passed,
    /// not earlier, counted from the beginning of the loop's current iteration. Timers end with the connection.
    ///
    /// A timer that is due waits while more of the connection's mail is on its way than
    /// [`Limits::publications`](crate::Limits::publications) allows. It fires before further messages are delivered.
    ///
    /// # Errors
    /// [`TooManyTimersError`] when the connection has [`Limits::timers`](crate::Limits::timers) timers already.
    pub fn set_timer(
        &mut self,
        after: Duration,
        token: u64,
    ) -> Result<TimerId, TooManyTimersError> {
        self.add_timer(after, token, None)
    }

    /// Sets a timer that repeats: [`Handler::on_timer`](crate::Handler::on_timer) is called with `token` every `period`,
    /// first after one period, until the timer is [cancelled](Self::cancel_timer) or the connection ends. It keeps its
    /// beat; rounds that are missed while the worker is busy, or while the timer waits as [above](Self::set_timer), are not made up for. A period below a tick counts as one tick.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use ringwheel::{Conn, Handler, TimerId, protocol::Lines};
    ///
    /// #[derive(Clone)]
    /// struct Clock;
    ///
    /// impl Handler for Clock {
    ///     type Protocol = Lines;
    ///     type Session = u64;
    ///     fn on_open(&mut self, conn: &mut Conn<'_, Lines>) -> u64 {
    ///         if conn.set_interval(Duration::from_secs(1), 0).is_err() {
    ///             conn.close();
    ///         }
    ///         0
    ///     }
    ///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _seconds: &mut u64, _line: &str) {}
    ///     fn on_timer(&mut self, conn: &mut Conn<'_, Lines>, seconds: &mut u64, _: TimerId, _: u64) {
    ///         *seconds += 1;
    ///         conn.send(&seconds.to_string());
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`set_timer`](Self::set_timer).
    pub fn set_interval(
        &mut self,
        period: Duration,
        token: u64,
    ) -> Result<TimerId, TooManyTimersError> {
        let due = self.state.now.saturating_add(period);
        self.add_timer(period, token, Some(Repeat { period, due }))
    }

    fn add_timer(
        &mut self,
        after: Duration,
        token: u64,
        repeat: Option<Repeat>,
    ) -> Result<TimerId, TooManyTimersError> {
        let id = self.connection.id;
        let extra = self.connection.extra_or_new();
        if extra.timers.len() >= self.link.limits.timers {
            return Err(TooManyTimersError);
        }
        let timer = extra.next_timer;
        extra.next_timer += 1;
        let key = self.state.schedule(after, Due::Handler { id, timer });
        let key = Some(key);
        extra
            .timers
            .insert(timer, HandlerTimer { key, token, repeat });
        Ok(TimerId(timer))
    }

    /// Cancels a timer; false if it has fired or was cancelled before.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let Some(extra) = &mut self.connection.extra else {
            return false;
        };
        match extra.timers.remove(&timer.0) {
            None => false,
            Some(HandlerTimer { key: Some(key), .. }) => self.state.wheel.cancel(key).is_some(),
            Some(_) => {
                extra.overdue.retain(|overdue| *overdue != timer.0);
                true
            }
        }
    }

    /// Sets the idle time of this connection, in place of [`Listen::idle_timeout`](crate::Listen::idle_timeout); `None` for
    /// never. It counts from the last sign of life.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ringwheel::{Conn, protocol::Lines};
    /// /// A user that has logged in may be silent for longer than a stranger.
    /// fn on_login(conn: &mut Conn<'_, Lines>) {
    ///     conn.set_idle_timeout(Some(Duration::from_secs(3600)));
    /// }
    /// ```
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        let state = &mut *self.state;
        let connection = &mut *self.connection;
        let own = &mut connection.extra_or_new().deadlines.idle;
        if own.replace(timeout) == Some(timeout) {
            // Its timer is set already. A handler may set the time anew with every message.
            return;
        }
        if let Some(timer) = connection.timers.idle.take() {
            state.wheel.cancel(timer);
        }
        if timeout.is_some() && connection.life.is_active() {
            // The check finds the time of the last sign of life and sets the timer to when that is too long ago.
            let due = Due::Idle(connection.id);
            connection.timers.idle = Some(state.wheel.insert(state.tick + 1, due));
        }
    }

    /// Sets the time that a message of this connection may take, in place of
    /// [`Listen::message_timeout`](crate::Listen::message_timeout); `None` for as long as it likes. A message whose
    /// time runs already keeps it, unless that is now without limit.
    pub fn set_message_timeout(&mut self, timeout: Option<Duration>) {
        let connection = &mut *self.connection;
        connection.extra_or_new().deadlines.message = Some(timeout);
        connection.marks.set(Marks::TIMED, true);
        // Between deliveries nothing else would notice a message that has begun without a limit. Only the decoder knows of one
        // whose beginning it has consumed, and it is asked once the callback has returned.
        connection.gate.shut(Gate::DECODER);
    }
}
