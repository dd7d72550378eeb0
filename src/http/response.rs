//! Responses, from the application's values to bytes.

use std::borrow::Cow;

use super::date::HttpDate;
use super::fields::{FieldLines, Unsendable, is_field_value, write_field};

/// A whole HTTP response, which ends its connection.
///
/// `Date`, `Content-Length` and `Connection: close` are written automatically. A response to HEAD, and one with status 204, 205 or
/// 304, goes out without its body.
///
/// ```
/// use ringwheel::http::Response;
///
/// let page = Response::html("<!doctype html><title>chat</title>");
/// let health = Response::text(200, "in good health\n");
/// let login = Response::new(401).header("WWW-Authenticate", "Bearer realm=\"chat\"");
/// let picture = Response::new(200)
///     .header("Cache-Control", "max-age=3600")
///     .body("image/png", b"\x89PNG...");
/// assert_eq!((page.status(), login.status()), (200, 401));
/// # let _ = (health, picture);
/// ```
///
/// # What cannot be sent
/// A header name that is no token, a value or content type with a control character in it (which could end the header and
/// begin another: response splitting), a header that is written automatically, and a status that is not from 200 to 599. The
/// peer then gets a plain 500 in place of the whole response, and an error is logged that says why.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    fields: FieldLines,
    /// Empty where there is no body.
    content_type: Cow<'static, str>,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// A response without a body. `status` is from 200 to 599.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Response {
            status,
            fields: FieldLines::default(),
            content_type: Cow::Borrowed(""),
            body: Cow::Borrowed(b""),
        }
    }

    /// A response of plain text in UTF-8.
    #[must_use]
    pub fn text(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Response::new(status).body("text/plain; charset=utf-8", into_bytes(text.into()))
    }

    /// A page in HTML and UTF-8, with status 200.
    #[must_use]
    pub fn html(page: impl Into<Cow<'static, str>>) -> Self {
        Response::new(200).body("text/html; charset=utf-8", into_bytes(page.into()))
    }

    /// Adds a header. It may be added several times with the same name.
    ///
    /// These cannot be added, since they are written automatically: `Connection`, `Content-Length`, `Content-Type`,
    /// `Transfer-Encoding` and `Upgrade`; and in an answer to a WebSocket handshake `Sec-WebSocket-Accept`,
    /// `Sec-WebSocket-Extensions` and `Sec-WebSocket-Protocol`. A `Date` replaces the automatic one.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.add_header(name, value);
        self
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) {
        self.fields.add(name, value);
    }

    /// Sets the body and its media type.
    #[must_use]
    pub fn body(
        mut self,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        self.content_type = content_type.into();
        self.body = body.into();
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The response of an application as bytes.
    ///
    /// # Errors
    /// The part of it that cannot be sent.
    pub(crate) fn write(&self, form: &Form<'_>) -> Result<Vec<u8>, Unsendable> {
        self.check(form)?;
        Ok(self.to_bytes(form))
    }

    /// As [`write`](Self::write) with a response that is known to be right.
    pub(crate) fn to_bytes(&self, form: &Form<'_>) -> Vec<u8> {
        debug_assert_eq!(self.check(form), Ok(()));
        // RFC 9110 section 8.6: neither has content, and with 204 not even its length may be named.
        let without_content = matches!(self.status, 204 | 304);
        // Section 15.3.6: a reset has no content, which its length says.
        let body = match self.status {
            205 => &[],
            _ => &*self.body,
        };
        let mut text = Vec::with_capacity(256 + self.fields.text().len() + self.body.len());
        text.extend_from_slice(
            format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).as_bytes(),
        );
        match form.upgrade {
            // RFC 9110 section 15.5.22: 426 names the protocol to upgrade to, and section 7.8: Upgrade is named as an option
            // of the connection too.
            Some(protocol) if self.status == 426 => {
                write_field(&mut text, "Upgrade", protocol);
                write_field(&mut text, "Connection", "Upgrade, close");
            }
            _ => write_field(&mut text, "Connection", "close"),
        }
        if let Some(date) = form.date.filter(|_| !self.fields.has("Date")) {
            write_field(&mut text, "Date", date.as_str());
        }
        if !without_content {
            if !self.content_type.is_empty() && self.status != 205 {
                write_field(&mut text, "Content-Type", &self.content_type);
            }
            write_field(&mut text, "Content-Length", &body.len().to_string());
        }
        text.extend_from_slice(self.fields.text());
        text.extend_from_slice(b"\r\n");
        if !form.is_to_head && !without_content {
            text.extend_from_slice(body);
        }
        text
    }

    fn check(&self, form: &Form<'_>) -> Result<(), Unsendable> {
        if !(200..=599).contains(&self.status) {
            return Err(Unsendable("its status is not from 200 to 599"));
        }
        if !is_field_value(&self.content_type) {
            return Err(Unsendable("its content type has a control character in it"));
        }
        self.fields.check_without(form.reserved)
    }
}

/// The facts outside of a response on which its bytes depend.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Form<'a> {
    /// True if the response answers a HEAD request.
    pub(crate) is_to_head: bool,
    /// The time of the response (RFC 9110 section 6.6.1); `None` without a clock.
    pub(crate) date: Option<HttpDate>,
    /// The protocol that status 426 asks for.
    pub(crate) upgrade: Option<&'a str>,
    /// Names of fields, in lower case, that the layer above writes itself, so that no response may have them.
    pub(crate) reserved: &'a [&'a str],
}

fn into_bytes(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The reason phrase, which may be empty.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_HEAD: Form<'static> = Form {
        is_to_head: true,
        date: None,
        upgrade: None,
        reserved: &[],
    };

    fn written(response: &Response) -> String {
        String::from_utf8(response.write(&Form::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_response_is_written_whole() {
        let response = Response::text(404, "no such room\n").header("X-Room", "hall");
        assert_eq!(
            written(&response),
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 13\r\nX-Room: hall\r\n\r\nno such room\n"
        );
    }

    #[test]
    fn rfc_9110_section_6_6_1_a_response_has_one_date() {
        let form = Form {
            date: HttpDate::of(std::time::UNIX_EPOCH),
            ..Form::default()
        };
        let date = "\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        for response in [
            Response::text(200, "ok"),
            Response::new(204),
            Response::new(404),
            Response::new(500),
        ] {
            let text = String::from_utf8(response.write(&form).unwrap()).unwrap();
            assert!(text.contains(date), "{text}");
            let own = response.header("dAtE", "yesterday");
            let text = String::from_utf8(own.write(&form).unwrap()).unwrap();
            assert!(!text.contains(date), "{text}");
            assert!(text.contains("\r\ndAtE: yesterday\r\n"), "{text}");
        }
    }

    #[test]
    fn without_a_body_the_length_is_zero() {
        assert_eq!(
            written(&Response::new(403)),
            "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_body_may_be_static_or_owned_and_binary() {
        let binary = vec![0, b'\r', b'\n', 0xff];
        let response = Response::new(200).body("image/png", binary.clone());
        assert!(response.write(&Form::default()).unwrap().ends_with(&binary));
        assert!(written(&Response::html(String::from("<p>"))).ends_with("\r\n\r\n<p>"));
        assert!(written(&Response::html("<p>")).contains("text/html; charset=utf-8"));
    }

    #[test]
    fn rfc_9110_section_9_3_2_head_gets_the_fields_of_get_and_no_body() {
        let response = Response::text(200, "twelve bytes");
        let get = written(&response);
        let head = String::from_utf8(response.write(&TO_HEAD).unwrap()).unwrap();
        assert_eq!(Some(head.as_str()), get.strip_suffix("twelve bytes"));
        assert!(head.contains("Content-Length: 12\r\n"));
    }

    #[test]
    fn rfc_9110_section_8_6_statuses_without_content() {
        for status in [204, 304] {
            let text = written(&Response::text(status, "never sent"));
            assert!(!text.contains("Content-"), "{text}");
            assert!(text.ends_with("\r\n\r\n"), "{text}");
        }
        let reset = written(&Response::text(205, "never sent"));
        assert!(reset.ends_with("\r\nContent-Length: 0\r\n\r\n"), "{reset}");
    }

    #[test]
    fn rfc_9110_section_15_5_22_upgrade_required_names_the_protocol() {
        let form = Form {
            upgrade: Some("example/2"),
            ..Form::default()
        };
        let text = String::from_utf8(Response::new(426).write(&form).unwrap()).unwrap();
        assert!(
            text.contains("\r\nUpgrade: example/2\r\nConnection: Upgrade, close\r\n"),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_status_keeps_the_space_before_its_empty_reason() {
        assert!(written(&Response::new(299)).starts_with("HTTP/1.1 299 \r\n"));
    }

    #[test]
    fn only_final_statuses_can_be_sent() {
        for status in [0, 99, 100, 101, 199, 600, 1000, u16::MAX] {
            assert!(
                Response::new(status).write(&Form::default()).is_err(),
                "{status}"
            );
        }
        for status in 200..=599 {
            assert!(
                Response::new(status).write(&Form::default()).is_ok(),
                "{status}"
            );
        }
    }

    #[test]
    fn response_splitting_is_refused_wherever_it_is_tried() {
        for bad in [
            "a\r\nSet-Cookie: b",
            "a\nb",
            "a\rb",
            "a\0b",
            "\r\n\r\n<script>",
            "\x7f",
            "a\x0bb",
            "\x1b[2J",
        ] {
            for response in [
                Response::new(200).header("X-Name", bad),
                Response::new(200).header(bad, "value"),
                Response::new(200).body(bad, b"body"),
                Response::new(200)
                    .header("X-Name", bad)
                    .header("X-Other", "a good one after it"),
            ] {
                assert!(
                    response.write(&Form::default()).is_err(),
                    "{bad:?} in {response:?}"
                );
            }
        }
    }

    #[test]
    fn a_name_is_a_token() {
        for bad in [
            "", " ", "a b", "a:", ":", "a(", "\u{e9}", "a\t", "\"a\"", "a,b", "[a]", "a/b",
        ] {
            let response = Response::new(200).header(bad, "value");
            assert!(response.write(&Form::default()).is_err(), "{bad:?}");
        }
        let response = Response::new(200).header("!#$%&'*+-.^_`|~09azAZ", "value");
        assert!(response.write(&Form::default()).is_ok());
    }

    #[test]
    fn a_value_may_be_anything_visible() {
        for value in ["", "a b\tc", "\u{e9}\u{1f980}", "a: b; c=\"d\"", " padded "] {
            let text = written(&Response::new(200).header("X-Name", value));
            assert!(text.contains(&format!("\r\nX-Name: {value}\r\n")), "{text}");
        }
    }

    #[test]
    fn fields_that_frame_the_message_are_not_the_applications() {
        for name in [
            "Connection",
            "content-length",
            "CONTENT-TYPE",
            "Transfer-Encoding",
            "Upgrade",
            "sec-ABOVE",
        ] {
            let response = Response::new(200).header(name, "0");
            let form = Form {
                reserved: &["sec-above"],
                ..Form::default()
            };
            assert!(response.write(&form).is_err(), "{name}");
        }
    }

    #[test]
    fn a_field_may_be_repeated() {
        let text = written(
            &Response::new(200)
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2"),
        );
        assert!(
            text.contains("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"),
            "{text}"
        );
    }
}
