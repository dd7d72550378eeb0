//! Builds and reads WebSocket frames (RFC 6455, section 5).

/// FIN and the opcode of a binary frame (5.2).
pub(crate) const BINARY: u8 = 0x82;
/// FIN, the opcode of a text frame, and RSV1, which marks it as deflated (RFC 7692, 6).
pub(crate) const DEFLATED_TEXT: u8 = 0xc1;
/// FIN and the opcode of a close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// The bit that marks a frame as masked.
const MASKED: u8 = 0x80;
const MASK_LENGTH: usize = 4;

/// Appends a masked frame that begins with the byte `first`.
pub(crate) fn append_client_frame(
    output: &mut Vec<u8>,
    first: u8,
    payload: &[u8],
    mask: [u8; MASK_LENGTH],
) {
    append_header(output, first, MASKED, payload.len());
    output.extend_from_slice(&mask);
    let masked = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    output.extend(masked);
}

/// Appends an unmasked frame that begins with the byte `first`.
pub(crate) fn append_server_frame(output: &mut Vec<u8>, first: u8, payload: &[u8]) {
    append_header(output, first, 0, payload.len());
    output.extend_from_slice(payload);
}

/// Appends the length in the shortest of its three forms, the only one that RFC 6455, 5.2, permits.
fn append_header(output: &mut Vec<u8>, first: u8, masked: u8, length: usize) {
    output.push(first);
    match length {
        0..=125 => output.push(masked | length as u8),
        126..=0xffff => {
            output.push(masked | 126);
            output.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            output.push(masked | 127);
            output.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Length of the header of a masked frame.
pub(crate) fn client_header_length(payload: usize) -> usize {
    let length = match payload {
        0..=125 => 1,
        126..=0xffff => 3,
        _ => 9,
    };
    1 + length + MASK_LENGTH
}

/// The status code, if any, and the reason of an unmasked close frame (5.5.1), which may be incomplete.
pub(crate) fn close_reason(frame: &[u8]) -> (Option<u16>, String) {
    debug_assert_eq!(frame.first(), Some(&CLOSE));
    let body = match frame {
        // Control frames have at most 125 bytes.
        [_, length @ 0..=125, body @ ..] => &body[..body.len().min(usize::from(*length))],
        _ => &[],
    };
    match body {
        [high, low, reason @ ..] => {
            let reason = String::from_utf8_lossy(reason).into_owned();
            (Some(u16::from_be_bytes([*high, *low])), reason)
        }
        _ => (None, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_are_read_as_far_as_they_go() {
        let whole = [CLOSE, 6, 0x03, 0xe9, b'g', b'o', b'n', b'e', BINARY];
        assert_eq!(close_reason(&whole), (Some(1001), "gone".into()));
        assert_eq!(close_reason(&whole[..6]), (Some(1001), "go".into()));
        assert_eq!(close_reason(&whole[..3]), (None, String::new()));
        assert_eq!(close_reason(&[CLOSE]), (None, String::new()));
        assert_eq!(close_reason(&[CLOSE, 0, BINARY]), (None, String::new()));
    }
}
