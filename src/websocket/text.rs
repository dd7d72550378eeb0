//! The check of text that arrives in pieces (RFC 6455, section 8.1): it fails at the first byte that is wrong.

use simdutf8::compat;

/// The error for bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// The beginning of a character whose end has not come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    bytes: [u8; 4],
    length: u8,
}

impl Cut {
    /// True if no character is cut, so that a text may end here.
    pub(crate) fn is_between_characters(self) -> bool {
        self.length == 0
    }

    /// Checks the next piece of a text, and calls `whole` with its whole characters: first the one that was cut before and is
    /// now complete. It fails at the first byte that no valid text can have there.
    pub(crate) fn check(
        &mut self,
        piece: &[u8],
        mut whole: impl FnMut(&str),
    ) -> Result<(), NotUtf8> {
        let mut piece = piece;
        while self.length > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            self.bytes[usize::from(self.length)] = byte;
            self.length += 1;
            piece = rest;
            match std::str::from_utf8(&self.bytes[..usize::from(self.length)]) {
                Ok(character) => {
                    whole(character);
                    self.length = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        match compat::from_utf8(piece) {
            Ok(text) => whole(text),
            Err(error) if error.error_len().is_some() => return Err(NotUtf8),
            Err(error) => {
                let (text, cut) = piece.split_at(error.valid_up_to());
                whole(compat::from_utf8(text).map_err(|_| NotUtf8)?);
                self.bytes[..cut.len()].copy_from_slice(cut);
                self.length = cut.len() as u8;
            }
        }
        Ok(())
    }
}

/// The length of the valid text at the front of `bytes`, of which everything before `checked` is known to be valid: all but a
/// character that is cut at the end.
pub(crate) fn valid_up_to(bytes: &[u8], checked: usize) -> Result<usize, NotUtf8> {
    match compat::from_utf8(&bytes[checked..]) {
        Ok(_) => Ok(bytes.len()),
        Err(error) if error.error_len().is_some() => Err(NotUtf8),
        Err(error) => Ok(checked + error.valid_up_to()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks pieces; the text if it was valid and is whole.
    fn check(pieces: &[&[u8]]) -> Result<Option<String>, NotUtf8> {
        let mut cut = Cut::default();
        let mut text = String::new();
        for piece in pieces {
            cut.check(piece, |whole| text.push_str(whole))?;
        }
        Ok(cut.is_between_characters().then_some(text))
    }

    #[test]
    fn every_cut_of_a_text_with_characters_of_all_lengths() {
        let text = "a\u{7f}é\u{7ff}中\u{ffff}𝄞\u{10ffff}z";
        let bytes = text.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(check(&pieces), Ok(Some(text.into())), "{first}, {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(check(&single), Ok(Some(text.into())));
    }

    #[test]
    fn it_fails_at_the_first_byte_that_cannot_be() {
        for (valid, wrong) in [
            (&b"\xf4"[..], 0x90),
            (b"ok\xed", 0xa0),
            (b"\xe0", 0x80),
            (b"\xc3", 0x28),
            (b"\xf0\x9d\x84", 0x41),
            (b"", 0xc0),
            (b"", 0xff),
            (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4", 0x90),
        ] {
            assert!(check(&[valid]).is_ok());
            let whole = [valid, &[wrong]].concat();
            assert_eq!(check(&[&whole]), Err(NotUtf8), "{whole:x?} in one piece");
            assert_eq!(check(&[valid, &[wrong]]), Err(NotUtf8), "{whole:x?} cut");
            assert_eq!(valid_up_to(&whole, 0), Err(NotUtf8));
        }
    }

    #[test]
    fn a_text_cannot_end_within_a_character() {
        assert_eq!(check(&[b"abc\xe4\xb8"]), Ok(None));
        assert_eq!(valid_up_to(b"abc\xe4\xb8", 0), Ok(3));
        assert_eq!(valid_up_to(b"abc\xe4\xb8\xad", 3), Ok(6));
    }

    /// Random bytes in random pieces are valid exactly when std says so of the whole.
    #[test]
    fn agrees_with_std_on_random_bytes() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        const ALPHABET: [u8; 12] = [
            0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0xf0, 0x90, 0xf4,
        ];
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random(8))
                .map(|_| ALPHABET[random(ALPHABET.len() as u64) as usize])
                .collect();
            let cut = random(bytes.len() as u64 + 1) as usize;
            let whole = check(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(
                whole.ok().flatten().as_deref(),
                std::str::from_utf8(&bytes).ok(),
                "{bytes:x?} cut at {cut}"
            );
        }
    }
}
