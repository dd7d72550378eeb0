//! JSON documents like those that a chat server pushes: keys, names and words recur, numbers and times do not.

use std::fmt::Write;

use super::error::LoadError;
use super::framing::MAX_SIZE;
use super::random::SplitMix;

/// Shortest document, in bytes: a shorter one would consist mostly of its fixed keys.
pub(crate) const MIN_SIZE: usize = 128;

const USERS: &[&str] = &[
    "ada", "barbara", "edsger", "grace", "ken", "leslie", "niklaus", "tony",
];
const ROOMS: &[&str] = &["general", "random", "releases", "support"];
const WORDS: &[&str] = &[
    "the", "server", "answers", "every", "message", "in", "order", "and", "a", "slow", "client",
    "is", "paused", "until", "it", "has", "read", "what", "was", "sent", "tomorrow", "we",
    "measure", "again", "with", "larger", "payloads", "on", "both", "machines", "please", "look",
    "at", "release", "notes", "before", "noon",
];

/// Makes one document of exactly `size` bytes: valid JSON in ASCII.
///
/// # Errors
/// A size below [`MIN_SIZE`] or above 16 MiB is refused.
pub(crate) fn document(size: usize, random: &mut SplitMix) -> Result<String, LoadError> {
    if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Err(LoadError::Options(format!(
            "a document has {MIN_SIZE} to {MAX_SIZE} bytes, not {size}"
        )));
    }
    const MIDDLE: &str = "],\"note\":\"";
    const END: &str = "\"}";
    let mut text = format!("{{\"room\":\"{}\",\"events\":[", pick(random, ROOMS));
    let room = size - MIDDLE.len() - END.len();
    for number in 0.. {
        let event = event(random);
        let comma = if number == 0 { "" } else { "," };
        if text.len() + comma.len() + event.len() > room {
            break;
        }
        text.push_str(comma);
        text.push_str(&event);
    }
    text.push_str(MIDDLE);
    while text.len() < size - END.len() {
        text.push_str(pick(random, WORDS));
        text.push(' ');
    }
    text.truncate(size - END.len());
    text.push_str(END);
    debug_assert_eq!(text.len(), size);
    Ok(text)
}

fn event(random: &mut SplitMix) -> String {
    let id = random.next() >> 24;
    let user = pick(random, USERS);
    let at = 1_700_000_000_000 + (random.next() >> 30);
    let mut event =
        format!("{{\"id\":{id},\"type\":\"message\",\"user\":\"{user}\",\"at\":{at},\"text\":\"");
    for word in 0..5 + random.next() % 8 {
        let space = if word == 0 { "" } else { " " };
        // Writing into a string does not fail.
        let _ = write!(event, "{space}{}", pick(random, WORDS));
    }
    event.push_str("\"}");
    event
}

fn pick<'a>(random: &mut SplitMix, from: &[&'a str]) -> &'a str {
    from[(random.next() % from.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_json_of_the_size_that_was_asked_for() {
        let mut random = SplitMix::new(1);
        for size in (MIN_SIZE..600).chain([1024, 65_536]) {
            let text = document(size, &mut random).unwrap();
            assert_eq!(text.len(), size);
            assert!(text.is_ascii());
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(json["events"].is_array());
        }
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        for size in [0, MIN_SIZE - 1, MAX_SIZE + 1] {
            assert!(document(size, &mut SplitMix::new(1)).is_err());
        }
    }
}
