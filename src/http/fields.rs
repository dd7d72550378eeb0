//! Header fields: those that were received, and those that are to be sent.

use std::fmt;
use std::str;

use httparse::Header;

/// The header fields of a request or a response, in their order.
#[derive(Clone, Copy)]
pub(crate) struct FieldSection<'a>(pub(super) &'a [Header<'a>]);

impl<'a> FieldSection<'a> {
    /// Parses field lines up to and with the empty line that ends them. There may be as many as `storage` has room for.
    pub(crate) fn parse<'s>(
        lines: &'a [u8],
        storage: &'s mut [Header<'a>],
    ) -> Result<FieldSection<'s>, httparse::Error>
    where
        'a: 's,
    {
        match httparse::parse_headers(lines, storage)? {
            httparse::Status::Complete((_, fields)) => Ok(FieldSection(fields)),
            // Impossible once the end of the head was found.
            httparse::Status::Partial => Err(httparse::Error::NewLine),
        }
    }

    /// The values of all fields `name`.
    pub(crate) fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// Names and values of all fields.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.0.iter().map(|field| (field.name, field.value))
    }

    /// The value of the field `name`, if there is exactly one.
    pub(crate) fn sole(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// As [`sole`](Self::sole), if the value is UTF-8.
    pub(crate) fn sole_text(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.sole(name)?).ok()
    }

    /// The elements of the list that all fields `name` are together, without the empty ones (RFC 9110 section 5.6.1).
    pub(crate) fn elements<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// True if `token` is in the list that all fields `name` are together, in any case of letters.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.elements(name)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for FieldSection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.iter();
        f.debug_map()
            .entries(fields.map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

/// The reason, in words, for which a message of the application cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsendable(pub(crate) &'static str);

/// Header fields that the application adds to a message, already in the form in which they are sent.
///
/// Invariant: `text` consists of whole, valid field lines. The first field that was refused is remembered as `fault`, so that
/// the message fails as a whole instead of going out without a header that matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldLines {
    text: Vec<u8>,
    fault: Option<Unsendable>,
}

impl FieldLines {
    /// Adds a field; one that is malformed or [reserved](is_reserved) makes [`check`](Self::check) fail.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let fault = if !is_token(name.as_bytes()) {
            "the name of a header is no token"
        } else if is_reserved(name) {
            RESERVED
        } else if !is_field_value(value) {
            "the value of a header has a control character in it"
        } else {
            return write_field(&mut self.text, name, value);
        };
        self.fault.get_or_insert(Unsendable(fault));
    }

    /// Checks that everything that was added can be sent.
    ///
    /// # Errors
    /// The first fault.
    pub(crate) fn check(&self) -> Result<(), Unsendable> {
        self.fault.map_or(Ok(()), Err)
    }

    /// As [`check`](Self::check), and none of the fields is one of `reserved`: names that a layer above writes itself, in
    /// lower case.
    ///
    /// # Errors
    /// The first fault.
    pub(crate) fn check_without(&self, reserved: &[&str]) -> Result<(), Unsendable> {
        self.check()?;
        match reserved.iter().any(|name| self.has(name)) {
            true => Err(Unsendable(RESERVED)),
            false => Ok(()),
        }
    }

    /// True if there is a field `name`, in any case of letters.
    pub(crate) fn has(&self, name: &str) -> bool {
        let mut names = self.text.split(|&byte| byte == b'\n').map(field_name);
        names.any(|own| own.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The field lines, each with its line end.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }
}

/// The name at the front of a field line.
fn field_name(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == b':').next().unwrap_or(line)
}

/// Writes one field line. Both parts are known to be valid.
pub(crate) fn write_field(text: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(is_token(name.as_bytes()) && is_field_value(value));
    for part in [name, ": ", value, "\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
}

/// True if `value` has no control character, which could end its line (RFC 9110 section 5.5).
pub(crate) fn is_field_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

const RESERVED: &str = "a header is set that is written automatically";

/// True for the fields that frame a message or switch its protocol: set twice, they would contradict each other.
fn is_reserved(name: &str) -> bool {
    [
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "upgrade",
    ]
    .iter()
    .any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// True if `text` is a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// True if `byte` may be in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_layer_above_are_found_in_any_case() {
        let mut fields = FieldLines::default();
        fields.add("X-Sec-Key", "Sec-Key: 1");
        assert_eq!(fields.check_without(&["sec-key"]), Ok(()));
        fields.add("SEC-key", "");
        assert_eq!(fields.check(), Ok(()));
        assert_eq!(
            fields.check_without(&["sec-key"]),
            Err(Unsendable(RESERVED))
        );
    }
}
