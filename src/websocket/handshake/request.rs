//! The headers of a request that a WebSocket handshake is about.

use std::str;

use crate::http::Request;
use crate::websocket::extensions::{Extension, Extensions, MalformedExtensionsError};

impl<'a> Request<'a> {
    /// The origin of the page that opens the connection. Browsers always send it; from other programs it proves nothing.
    ///
    /// [`WebSocket::origins`](crate::websocket::WebSocket::origins) refuses requests by it, so there is seldom a need to look
    /// here.
    #[must_use]
    pub fn origin(&self) -> Option<&'a str> {
        self.header("Origin")
    }

    /// The WebSocket subprotocols that the client offers, the preferred ones first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.fields()
            .elements("Sec-WebSocket-Protocol")
            .filter_map(|element| str::from_utf8(element).ok())
    }

    /// The extensions that the client offers, the preferred ones first, up to and with the first that is malformed.
    pub(crate) fn extensions(
        &self,
    ) -> impl Iterator<Item = Result<Extension<'a>, MalformedExtensionsError>> + use<'a> {
        Extensions::of_all(self.fields().values("Sec-WebSocket-Extensions"))
    }
}

#[cfg(test)]
mod tests {
    use crate::http::request::with_request;

    #[test]
    fn rfc_6455_section_11_3_4_offers_may_span_repeated_headers() {
        let fields = [
            ("Sec-WebSocket-Protocol", "chat.v2, ,chat.v1"),
            ("Host", "example.com"),
            ("sec-websocket-protocol", "\tsuperchat ,"),
            ("Sec-WebSocket-Protocol", ""),
        ];
        with_request("example.com", &fields, |request| {
            let offered: Vec<_> = request.subprotocols().collect();
            assert_eq!(offered, ["chat.v2", "chat.v1", "superchat"]);
        });
    }
}
