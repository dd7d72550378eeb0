//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), in which a client offers extensions and a server answers.
//!
//! ```text
//! extension-list = 1#( token *( ";" token [ "=" ( token / quoted-string ) ] ) )
//! ```
//!
//! White space may be between all parts, list elements may be empty, and a quoted value has to be a token too. Nothing is copied
//! but values with a backslash in them.

use std::borrow::Cow;
use std::str;

use crate::http::fields::is_token_byte;

/// The error for a value that is not a list of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedExtensionsError;

/// The name and the value of a parameter.
type Parameter<'a> = (&'a str, Option<Cow<'a, str>>);

/// An element of a list of extensions. Nothing is known of it but that it has the right form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    /// From the first semicolon on.
    parameters: &'a str,
}

impl<'a> Extension<'a> {
    /// Names and values of the parameters, in their order. The same name may be there again.
    #[cfg(any(feature = "deflate", test))]
    pub(crate) fn parameters(&self) -> impl Iterator<Item = Parameter<'a>> + use<'a> {
        let mut rest = Scanner {
            rest: self.parameters,
        };
        std::iter::from_fn(move || rest.parameter().ok().flatten())
    }
}

/// The elements of one value, up to and with the first that is malformed.
#[derive(Clone, Debug)]
pub(crate) struct Extensions<'a>(Scanner<'a>);

impl<'a> Extensions<'a> {
    pub(crate) fn of(value: &'a str) -> Self {
        Extensions(Scanner { rest: value })
    }

    /// The elements of the list that all `values` are together (RFC 9110 section 5.2). A quoted value does not go on in the next
    /// of them.
    pub(crate) fn of_all(
        values: impl Iterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = Result<Extension<'a>, MalformedExtensionsError>> {
        // A byte beyond ASCII is in no token, and so may be any byte that is malformed.
        values.flat_map(|value| Extensions::of(str::from_utf8(value).unwrap_or("\0")))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, MalformedExtensionsError>;

    fn next(&mut self) -> Option<Self::Item> {
        // RFC 9110 section 5.6.1.2: a list may have empty elements.
        self.0.skip_whitespace();
        while self.0.eat(',') {}
        if self.0.rest.is_empty() {
            return None;
        }
        let element = self.0.element();
        if element.is_err() {
            self.0.rest = "";
        }
        Some(element)
    }
}

/// The part of a value that is still to be read.
#[derive(Clone, Debug)]
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// One element, and the comma behind it.
    fn element(&mut self) -> Result<Extension<'a>, MalformedExtensionsError> {
        let name = self.token()?;
        let whole = self.rest;
        while self.parameter()?.is_some() {}
        let parameters = &whole[..whole.len() - self.rest.len()];
        match self.rest.is_empty() || self.eat(',') {
            true => Ok(Extension { name, parameters }),
            false => Err(MalformedExtensionsError),
        }
    }

    /// `";" token [ "=" value ]`; `None` if there is no semicolon.
    fn parameter(&mut self) -> Result<Option<Parameter<'a>>, MalformedExtensionsError> {
        if !self.eat(';') {
            return Ok(None);
        }
        let name = self.token()?;
        let value = match self.eat('=') {
            true => Some(self.value()?),
            false => None,
        };
        Ok(Some((name, value)))
    }

    fn token(&mut self) -> Result<&'a str, MalformedExtensionsError> {
        let length = self.rest.bytes().take_while(|&byte| is_token_byte(byte));
        let token = self.advance(length.count());
        self.skip_whitespace();
        match token.is_empty() {
            true => Err(MalformedExtensionsError),
            false => Ok(token),
        }
    }

    /// A token, plain or quoted.
    fn value(&mut self) -> Result<Cow<'a, str>, MalformedExtensionsError> {
        if !self.rest.starts_with('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut bytes = self.rest.bytes().enumerate().skip(1);
        let mut is_escaped = false;
        let end = loop {
            match bytes.next().ok_or(MalformedExtensionsError)? {
                (end, b'"') if !is_escaped => break end,
                (_, b'\\') if !is_escaped => is_escaped = true,
                (_, byte) if is_token_byte(byte) => is_escaped = false,
                _ => return Err(MalformedExtensionsError),
            }
        };
        let quoted = self.advance(end + 1);
        self.skip_whitespace();
        let value = &quoted[1..end];
        match value {
            "" => Err(MalformedExtensionsError),
            // No token has a backslash in it, so each of them is an escape.
            _ if value.contains('\\') => Ok(Cow::Owned(value.replace('\\', ""))),
            _ => Ok(Cow::Borrowed(value)),
        }
    }

    /// Consumes `delimiter` and the white space behind it, if it is next. True if it was.
    fn eat(&mut self, delimiter: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(delimiter) else {
            return false;
        };
        self.rest = rest;
        self.skip_whitespace();
        true
    }

    fn skip_whitespace(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests;
