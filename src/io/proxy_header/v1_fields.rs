//! The fields of a version 1 line, of which some bytes may be missing.
//!
//! Whole fields are parsed by the standard library. These functions find a wrong byte before the field is whole.

/// True if `text` is a number up to `max` in decimal, without leading zeros.
pub(super) fn is_decimal(text: &[u8], max: u32) -> bool {
    let is_canonical = text.first() != Some(&b'0') || text.len() == 1;
    let digits = || text.iter().map(|&byte| u32::from(byte.wrapping_sub(b'0')));
    // Five digits fit into the number.
    (1..=5).contains(&text.len())
        && is_canonical
        && digits().all(|digit| digit < 10)
        && digits().fold(0, |number, digit| 10 * number + digit) <= max
}

/// True if a port may begin with `text`, or is it.
pub(super) fn may_begin_port(text: &[u8]) -> bool {
    text.is_empty() || is_decimal(text, u16::MAX.into())
}

/// True if an IPv4 address may begin with `text`, or is it.
pub(super) fn may_begin_ipv4(text: &[u8]) -> bool {
    let parts = || text.split(|&byte| byte == b'.');
    let count = parts().count();
    let is_right = |(index, part): (usize, &[u8])| {
        is_decimal(part, u8::MAX.into()) || (part.is_empty() && index + 1 == count)
    };
    count <= 4 && parts().enumerate().all(is_right)
}

/// True if an IPv6 address may begin with `text`, or is it. It may end in an IPv4 address, as HAProxy writes it for mapped ones.
pub(super) fn may_begin_ipv6(text: &[u8]) -> bool {
    const GROUPS: usize = 8;
    let Some(gap) = text.windows(2).position(|pair| pair == b"::") else {
        // A single colon at the front is half of a gap.
        return text == b":" || may_begin_groups(text, |count| count == GROUPS, GROUPS);
    };
    let (before, after) = (&text[..gap], &text[gap + 2..]);
    let groups_before = match before {
        [] => 0,
        _ => before.split(|&byte| byte == b':').count(),
    };
    let is_right = before.is_empty() || before.split(|&byte| byte == b':').all(is_group);
    // The gap stands for one group at least.
    let Some(room) = (GROUPS - 1).checked_sub(groups_before) else {
        return false;
    };
    is_right && (after.is_empty() || may_begin_groups(after, |count| count <= room, room))
}

/// True if at most `room` groups may begin with `text`, the last of them perhaps an IPv4 address, which counts as two. With such an
/// end the count is final, and must be right.
fn may_begin_groups(text: &[u8], is_final: impl Fn(usize) -> bool, room: usize) -> bool {
    let parts = || text.split(|&byte| byte == b':');
    let count = parts().count();
    let is_right = |(index, part): (usize, &[u8])| {
        let is_last = index + 1 == count;
        let is_ipv4 = || part.contains(&b'.') && may_begin_ipv4(part) && is_final(count + 1);
        is_group(part) || (is_last && (part.is_empty() || is_ipv4()))
    };
    count <= room && parts().enumerate().all(is_right)
}

fn is_group(text: &[u8]) -> bool {
    (1..=4).contains(&text.len()) && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::str::FromStr;

    /// Calls `check` with every text over the alphabet up to a length whose shorter beginnings it has returned true for.
    fn for_each_text(alphabet: &[u8], length: usize, check: &mut impl FnMut(&str) -> bool) {
        let mut texts = vec![String::new()];
        for _ in 0..=length {
            let fit: Vec<String> = texts.into_iter().filter(|text| check(text)).collect();
            let longer = |text: &String| {
                let text = text.clone();
                alphabet
                    .iter()
                    .map(move |&byte| format!("{text}{}", char::from(byte)))
            };
            texts = fit.iter().flat_map(longer).collect();
        }
    }

    /// A text is the beginning of an address if some end makes it one.
    fn has_end<T: FromStr>(text: &str, ends: &[String]) -> bool {
        let whole = |end| format!("{text}{end}").parse::<T>().is_ok();
        ends.iter().any(whole)
    }

    #[test]
    fn the_beginnings_of_ipv4_addresses_are_those_with_an_end() {
        let ends = ["", "1", ".1", "1.1", ".1.1", "1.1.1", ".1.1.1", "1.1.1.1"].map(String::from);
        let mut count = 0;
        for_each_text(b"0125.:", 10, &mut |text| {
            let expected = has_end::<Ipv4Addr>(text, &ends);
            assert_eq!(may_begin_ipv4(text.as_bytes()), expected, "{text:?}");
            count += 1;
            expected
        });
        assert!(count > 10_000);
    }

    fn ends_of_ipv6() -> Vec<String> {
        let mut ends = Vec::new();
        for front in ["", ":", "1:", "1"] {
            for groups in 0..8 {
                for back in ["", "1", ":", "1.1.1.1"] {
                    ends.push(format!("{front}{}{back}", "1:".repeat(groups)));
                }
            }
        }
        ends.extend([".1.1.1", "1.1.1", ".1.1", "1.1", ".1", ":1"].map(String::from));
        ends
    }

    #[test]
    fn the_beginnings_of_ipv6_addresses_are_those_with_an_end() {
        let ends = ends_of_ipv6();
        let mut count = 0;
        let mut check = |text: &str| {
            let expected = has_end::<Ipv6Addr>(text, &ends);
            assert_eq!(may_begin_ipv6(text.as_bytes()), expected, "{text:?}");
            count += 1;
            expected
        };
        for_each_text(b"1:", 17, &mut check);
        for_each_text(b"0f:.", 8, &mut check);
        // The end of a long address.
        for start in [
            "1:2:3:4:5:6",
            "1:2:3:4:5",
            "1:2:3:4:5::",
            "1:2:3:4::5",
            "::1:2:3:4:5",
        ] {
            for_each_text(b"12:.", 8, &mut |end| check(&format!("{start}{end}")));
        }
        assert!(count > 10_000, "{count}");
    }

    #[test]
    fn ports_are_decimal_without_leading_zeros() {
        for port in ["", "0", "1", "80", "65535"] {
            assert!(may_begin_port(port.as_bytes()), "{port}");
        }
        for port in [
            "00", "080", "65536", "70000", "655350", "+1", "-1", "1a", "\u{661}", " ",
        ] {
            assert!(!may_begin_port(port.as_bytes()), "{port}");
        }
    }
}
