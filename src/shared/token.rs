//! Tokens of a poll: they say which source an event is about.

/// Listeners that one poll can have.
pub(crate) const MAX_LISTENERS: usize = 1024;
/// Openings that one poll can have at a time.
pub(crate) const MAX_OPENINGS: usize = 1 << 16;

/// The source of an event.
///
/// The largest number is the waker's and the numbers just below belong to listeners. All others have a slot in their low half,
/// 32 bits. The highest slots are those of openings; the others are of connections, and no process has so many descriptors
/// that a connection's slot reaches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The waker of the loop.
    Waker,
    /// A listener, by its index in the loop.
    Listener(u16),
    /// A connection that its protocol does not see yet.
    Opening(OpeningName),
    /// A connection, by the number that [`ConnId::token`](crate::ConnId) has made.
    Connection(usize),
}

/// Names one opening of a loop, so that an event that comes late is not taken for one of the next opening in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpeningName {
    pub(crate) slot: u16,
    /// Counts the openings of the loop. Where a `usize` has 32 bits, the token has no room for it, and it comes back as 0.
    pub(crate) generation: u32,
}

impl Token {
    /// True if the token of an opening has room for its generation.
    pub(crate) const KEEPS_GENERATIONS: bool = usize::BITS >= u64::BITS;

    const WAKER: usize = usize::MAX;
    const FIRST_LISTENER: usize = Self::WAKER - MAX_LISTENERS;
    /// The low half of the first opening's token.
    const FIRST_OPENING: u32 = u32::MAX - MAX_LISTENERS as u32 - MAX_OPENINGS as u32;

    /// The token for the poll.
    pub(crate) fn encode(self) -> mio::Token {
        mio::Token(match self {
            Token::Waker => Self::WAKER,
            Token::Listener(index) => Self::FIRST_LISTENER + usize::from(index),
            Token::Opening(OpeningName { slot, generation }) => {
                let low = Self::FIRST_OPENING + u32::from(slot);
                ((u64::from(generation) << 32) | u64::from(low)) as usize
            }
            Token::Connection(number) => number,
        })
    }

    /// The source that a token of the poll stands for.
    #[inline]
    pub(crate) fn decode(token: mio::Token) -> Self {
        if (token.0 as u32) < Self::FIRST_OPENING {
            return Token::Connection(token.0);
        }
        Self::decode_rare(token.0)
    }

    #[cold]
    fn decode_rare(number: usize) -> Self {
        let slot = number as u32 - Self::FIRST_OPENING;
        match u16::try_from(slot) {
            Ok(slot) => Token::Opening(OpeningName {
                slot,
                generation: (number as u64 >> 32) as u32,
            }),
            Err(_) if number == Self::WAKER => Token::Waker,
            Err(_) => Token::Listener((number - Self::FIRST_LISTENER) as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_token_of_its_own() {
        let last = u16::try_from(MAX_LISTENERS - 1).unwrap();
        let opening = |slot, generation| Token::Opening(OpeningName { slot, generation });
        let latest = match Token::KEEPS_GENERATIONS {
            true => u32::MAX,
            false => 0,
        };
        for token in [
            Token::Waker,
            Token::Listener(0),
            Token::Listener(last),
            opening(0, 0),
            opening(u16::MAX, 0),
            opening(0, latest),
            opening(u16::MAX, latest),
            Token::Connection(0),
            Token::Connection(Token::FIRST_OPENING as usize - 1),
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
