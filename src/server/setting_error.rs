//! The error of a setting that is out of its range.

use std::error::Error;
use std::fmt::{self, Debug};
use std::io;
use std::ops::RangeInclusive;

/// A setting of a [`ServerBuilder`](crate::ServerBuilder) or of a [`Listen`](crate::Listen) is out of its range.
///
/// The functions that build and listen return it within an [`io::Error`] of kind [`io::ErrorKind::InvalidInput`].
///
/// ```
/// use ringwheel::{Server, SettingError};
/// # use ringwheel::{Conn, Handler, protocol::Raw};
/// # #[derive(Clone)]
/// # struct Echo;
/// # impl Handler for Echo {
/// #     type Protocol = Raw;
/// #     type Session = ();
/// #     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
/// #     fn on_message(&mut self, _conn: &mut Conn<'_, Raw>, _session: &mut (), _bytes: &[u8]) {}
/// # }
///
/// let builder = Server::builder().receive_buffer(1 << 40).listen("127.0.0.1:0", Echo)?;
/// let error = builder.build().unwrap_err();
/// assert_eq!(error.to_string(), "`receive_buffer` is 1099511627776, and must be from 4096 to 268435456");
/// let wrong = error.get_ref().and_then(|error| error.downcast_ref::<SettingError>());
/// assert_eq!(wrong.map(SettingError::setting), Some("receive_buffer"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    setting: &'static str,
    value: String,
    range: [String; 2],
}

impl SettingError {
    /// The name of the setting: that of the function that sets it, or of the field.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

/// Checks that a setting is within its range.
pub(super) fn check<T: PartialOrd + Debug>(
    setting: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> io::Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let error = SettingError {
        setting,
        value: format!("{value:?}"),
        range: [range.start(), range.end()].map(|bound| format!("{bound:?}")),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingError {
            setting,
            value,
            range: [least, most],
        } = self;
        write!(
            f,
            "`{setting}` is {value}, and must be from {least} to {most}"
        )
    }
}

impl Error for SettingError {}
