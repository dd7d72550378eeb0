//! Formats figures, and text from other sources, for reports.

use crate::stats::Spread;

/// Separates thousands: a narrow space without a line break.
const THOUSANDS: char = '\u{202f}';
/// Stands for a missing figure.
pub(super) const NONE: &str = "–";

/// A figure with three significant digits: `0.212`, `3.21`, `32.1`, `321`, `32104`.
pub(super) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        // The bounds are the values from which rounding to the digits below would yield one digit more.
        size if size < 0.9995 => 3,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// Like [`figure`], with separated thousands.
pub(super) fn grouped(value: f64) -> String {
    let text = figure(value);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    if digits.len() <= 4 || digits.contains('.') || !value.is_finite() {
        return text;
    }
    let mut parted = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            parted.push(THOUSANDS);
        }
        parted.push(digit);
    }
    parted
}

/// The smallest and the largest: `3.10–3.42`.
pub(super) fn range(spread: &Spread) -> String {
    format!("{}–{}", grouped(spread.min), grouped(spread.max))
}

/// A ratio: `1.04×`.
pub(super) fn times(ratio: f64) -> String {
    let digits = match ratio.abs() {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{ratio:.digits$}×")
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// One line that is displayed literally wherever it is printed: control characters, which a terminal would interpret
/// and XML does not allow, are replaced.
pub(super) fn printable(text: &str) -> String {
    text.trim()
        .chars()
        .map(|character| match character {
            '\n' | '\t' | '\r' => ' ',
            '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
            other if other.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect()
}

/// Like [`printable`], with at most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let cases = [
            (0.0, "0.000"),
            (0.2124, "0.212"),
            (0.9996, "1.00"),
            (3.214, "3.21"),
            (9.996, "10.0"),
            (99.96, "100"),
            (321.4, "321"),
            (-3.214, "-3.21"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
        assert_eq!(grouped(4_321.0), "4321");
        assert_eq!(grouped(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(-54_321.0), "-54\u{202f}321");
        assert_eq!(grouped(f64::INFINITY), "inf");
    }

    #[test]
    fn foreign_text_is_one_line_without_control_characters() {
        assert_eq!(printable(" a\nb\u{1b}[31m\0 "), "a b\u{fffd}[31m\u{fffd}");
        assert_eq!(shortened("tokio-tungstenite", 17), "tokio-tungstenite");
        assert_eq!(shortened("tokio-tungstenite", 6), "tokio…");
    }
}
