//! The source of a client's masking keys (RFC 6455, section 5.3).

use std::fmt;

use super::mask::Key;

/// Keys from the system's random source, which nobody can predict. They are fetched 64 at a time.
#[derive(Clone, Default)]
pub(crate) struct Masker {
    keys: Vec<u8>,
}

/// The bytes that are fetched at a time: 64 keys.
const FETCHED: usize = 256;

impl Masker {
    /// A key that was never used.
    ///
    /// # Panics
    /// If the system has no random source.
    pub(crate) fn next_key(&mut self) -> Key {
        if self.keys.is_empty() {
            self.keys.resize(FETCHED, 0);
            getrandom::fill(&mut self.keys).expect("the system has a random source");
        }
        let at = self.keys.len() - 4;
        let key = self.keys[at..].first_chunk().copied();
        self.keys.truncate(at);
        key.expect("the buffer holds whole keys")
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Future keys are secret.
        f.write_str("Masker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_do_not_repeat_across_fetches() {
        let mut masker = Masker::default();
        let keys: HashSet<Key> = (0..1000).map(|_| masker.next_key()).collect();
        // Two of a thousand are alike once in 8,600 runs; three pairs practically never.
        assert!(keys.len() >= 998);
    }
}
