//! Finds the ends of whole messages, for peers whose library cannot.

use std::io;

use crate::MAX_MESSAGE;

/// A framing that is parsed from the front of the input.
pub trait Whole {
    /// The length of the first message, framing included, if it is complete. The next call gets the same input with
    /// more bytes at the end, or, after a message, the input behind that message.
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a message with more than [`MAX_MESSAGE`] bytes.
    fn first(&mut self, input: &[u8]) -> io::Result<Option<usize>>;
}

/// A payload after its length, a big-endian u32.
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefix;

/// Bytes up to a line feed.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineFeed {
    /// Bytes at the front that are known to contain no line feed.
    searched: usize,
}

impl Whole for LengthPrefix {
    #[inline]
    fn first(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        let Some((prefix, rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let length = within_limit(u32::from_be_bytes(*prefix) as usize)?;
        Ok((rest.len() >= length).then_some(prefix.len() + length))
    }
}

impl Whole for LineFeed {
    #[inline]
    fn first(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        let found = memchr::memchr(b'\n', &input[self.searched..]);
        let length = within_limit(found.map_or(input.len(), |at| self.searched + at))?;
        self.searched = if found.is_some() { 0 } else { length };
        Ok(found.map(|_| length + 1))
    }
}

fn within_limit(length: usize) -> io::Result<usize> {
    if length > MAX_MESSAGE {
        let problem = format!("a message is longer than {MAX_MESSAGE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_prefixed_message_is_whole_with_its_last_byte() {
        let input = b"\0\0\0\x03abc\0\0\0\0";
        for cut in 0..7 {
            assert_eq!(LengthPrefix.first(&input[..cut]).unwrap(), None);
        }
        assert_eq!(LengthPrefix.first(&input[..7]).unwrap(), Some(7));
        assert_eq!(LengthPrefix.first(input).unwrap(), Some(7));
        assert_eq!(LengthPrefix.first(&input[7..]).unwrap(), Some(4));
        assert!(LengthPrefix.first(&u32::MAX.to_be_bytes()).is_err());
    }

    #[test]
    fn a_line_is_whole_with_its_line_feed() {
        let input = b"abc\n\nd";
        let mut framing = LineFeed::default();
        for cut in 0..4 {
            assert_eq!(framing.first(&input[..cut]).unwrap(), None);
        }
        assert_eq!(framing.first(input).unwrap(), Some(4));
        assert_eq!(framing.first(&input[4..]).unwrap(), Some(1));
        assert_eq!(framing.first(&input[5..]).unwrap(), None);
        let endless = vec![0; MAX_MESSAGE + 1];
        assert!(framing.first(&endless).is_err());
        assert!(LineFeed::default().first(&endless[1..]).is_ok());
    }
}
