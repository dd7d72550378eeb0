//! The time that callbacks of one kind may take in an iteration: so many of them do not hold up the loop together.

use std::time::{Duration, Instant};

/// The time after which no further callback begins in this iteration. The one that passes it is finished.
const MOST: Duration = Duration::from_millis(3);

/// A span of time for callbacks that are no turn of a connection: timers, mail, the ends of publications and of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallbackTime {
    /// `None` in a loop that measures no time.
    begin: Option<Instant>,
}

impl CallbackTime {
    /// A time that is never over.
    pub(crate) const ENDLESS: CallbackTime = CallbackTime { begin: None };

    /// Begins now. Without `measures_time` it is never over.
    pub(crate) fn begin(measures_time: bool) -> Self {
        CallbackTime {
            begin: measures_time.then(Instant::now),
        }
    }

    /// True if the rest must wait for the next iteration.
    pub(crate) fn is_over(self) -> bool {
        self.begin.is_some_and(|begin| begin.elapsed() > MOST)
    }
}
