//! The close frame (RFC 6455, section 7): its code and reason, read from a peer or written for one.

use std::fmt;

/// The status code of a close frame.
///
/// ```
/// use ringwheel::Conn;
/// use ringwheel::websocket::{CloseCode, WebSocket};
///
/// fn refuse(conn: &mut Conn<'_, WebSocket>) {
///     conn.close_with(CloseCode::POLICY, "log in first");
/// }
///
/// assert_eq!(CloseCode::new(4001).map(CloseCode::get), Some(4001)); // Codes from 4000 on are your own.
/// assert_eq!(CloseCode::new(1006), None); // It says that no close frame came, so none is sent with it.
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection has done what it was opened for.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: a protocol error.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1003: a kind of data that cannot be accepted.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// 1007: data that is not what its kind says, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: a message that violates a policy.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: a message too large to be processed.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1010: the client misses an extension.
    pub const MISSING_EXTENSION: CloseCode = CloseCode(1010);
    /// 1011: an unexpected condition on the server's side.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1012: the service restarts.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);

    /// The code with this number, if it may be sent: 1000 to 1003, 1007 to 1014, and 3000 to 4999 (section 7.4, and the registry
    /// that it founded). The others are not assigned, or stand for a close frame that was not sent.
    ///
    /// ```
    /// use ringwheel::websocket::CloseCode;
    ///
    /// assert_eq!(CloseCode::new(1000), Some(CloseCode::NORMAL));
    /// assert_eq!(CloseCode::new(4321).unwrap().get(), 4321);
    /// assert_eq!(CloseCode::new(1006), None);
    /// ```
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// The content of a peer's close frame.
///
/// ```
/// use ringwheel::Conn;
/// use ringwheel::websocket::WebSocket;
///
/// /// Called from a handler's `on_close`.
/// fn log(conn: &Conn<'_, WebSocket>) {
///     match conn.peer_close() {
///         Some(frame) => println!("closed with {:?}: {}", frame.code, frame.reason),
///         None => println!("the peer has not said why"),
///     }
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseFrame {
    /// The status code; `None` if the frame has none, which the RFC calls 1005.
    pub code: Option<CloseCode>,
    /// The reason, up to 123 bytes; for the log, not for the user (section 7.1.6).
    pub reason: Box<str>,
}

/// The longest reason in bytes: a control frame without the code.
pub(crate) const REASON_MAX: usize = 123;

/// The fault of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadClose {
    OneByte,
    Code,
    Utf8,
}

impl CloseFrame {
    /// Reads the payload of a close frame (section 5.5.1).
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, BadClose> {
        let (code, reason) = match payload {
            [] => return Ok(CloseFrame::default()),
            [_] => return Err(BadClose::OneByte),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        let code = CloseCode::new(code).ok_or(BadClose::Code)?;
        let reason = std::str::from_utf8(reason).map_err(|_| BadClose::Utf8)?;
        Ok(CloseFrame {
            code: Some(code),
            reason: reason.into(),
        })
    }
}

/// The payload of a close frame; a reason that is too long is cut between two characters.
pub(crate) fn payload(code: CloseCode, reason: &str) -> ([u8; 2 + REASON_MAX], usize) {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = [0; 2 + REASON_MAX];
    bytes[..2].copy_from_slice(&code.0.to_be_bytes());
    bytes[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    (bytes, 2 + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 7.4.1 and 7.4.2, and the registry.
    #[test]
    fn section_7_4_which_codes_may_be_sent() {
        let may = |code: &u16| CloseCode::new(*code).is_some();
        let sendable: Vec<u16> = (0..3000).filter(may).collect();
        let expected = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
        ];
        assert_eq!(sendable, expected);
        assert!((3000..5000).all(|code| may(&code)));
        assert!((5000..=u16::MAX).all(|code| !may(&code)));
    }

    #[test]
    fn section_5_5_1_the_payload_of_a_close_frame() {
        assert_eq!(CloseFrame::parse(b""), Ok(CloseFrame::default()));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(BadClose::OneByte));
        assert_eq!(CloseFrame::parse(b"\x03\xed"), Err(BadClose::Code));
        assert_eq!(CloseFrame::parse(b"\x03\xe8\xff"), Err(BadClose::Utf8));
        let frame = CloseFrame::parse(b"\x03\xe8bye").unwrap();
        assert_eq!(frame.code, Some(CloseCode::NORMAL));
        assert_eq!(&*frame.reason, "bye");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "é".repeat(100);
        let (bytes, length) = payload(CloseCode::NORMAL, &long);
        assert_eq!(length, 2 + 122);
        let frame = CloseFrame::parse(&bytes[..length]).unwrap();
        assert_eq!(&*frame.reason, "é".repeat(61));
    }
}
