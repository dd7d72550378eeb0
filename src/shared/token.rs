//! Tokens of a poll: they say which source an event is about.

/// Listeners that one poll can have.
pub(crate) const MAX_LISTENERS: usize = 1024;

/// The source of an event.
///
/// The largest number is the waker's and the numbers just below belong to listeners. All others name connections: their
/// low half is a slot, and no process has so many descriptors that a slot reaches the listeners' range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The waker of the loop.
    Waker,
    /// A listener, by its index in the loop.
    Listener(u16),
    /// A connection, by the number that [`ConnId::token`](crate::ConnId) has made.
    Connection(usize),
}

impl Token {
    const WAKER: usize = usize::MAX;
    const FIRST_LISTENER: usize = Self::WAKER - MAX_LISTENERS;

    /// The token for the poll.
    pub(crate) fn encode(self) -> mio::Token {
        mio::Token(match self {
            Token::Waker => Self::WAKER,
            Token::Listener(index) => Self::FIRST_LISTENER + usize::from(index),
            Token::Connection(number) => number,
        })
    }

    /// The source that a token of the poll stands for.
    #[inline]
    pub(crate) fn decode(token: mio::Token) -> Self {
        match token.0 {
            number if number < Self::FIRST_LISTENER => Token::Connection(number),
            Self::WAKER => Token::Waker,
            number => Token::Listener((number - Self::FIRST_LISTENER) as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_token_of_its_own() {
        let last = u16::try_from(MAX_LISTENERS - 1).unwrap();
        for token in [
            Token::Waker,
            Token::Listener(0),
            Token::Listener(last),
            Token::Connection(0),
            Token::Connection(Token::FIRST_LISTENER - 1),
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
