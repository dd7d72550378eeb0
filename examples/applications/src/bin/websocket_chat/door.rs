//! The door: answers the opening requests, and serves the page.

use ringwheel::websocket::{Accept, Answer, Request, Response};

const PAGE: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("chat.js");
const STYLE: &str = include_str!("chat.css");
/// The page needs nothing from elsewhere, runs no script but its own, and is shown in no other page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const LONGEST_LABEL: usize = 32;

/// A person in the chat, known from the opening request.
pub(crate) struct Visitor {
    pub(crate) name: String,
    pub(crate) room: String,
}

/// Admits WebSockets that bring a name, and answers plain requests with the page.
pub(crate) struct Door;

impl Accept for Door {
    type State = Visitor;

    fn upgrade(&self, request: &Request<'_>) -> Answer<Visitor> {
        if request.path() != "/chat" {
            return Answer::reject(Response::text(404, "the chat is at /chat\n"));
        }
        let name = parameter(request, "name").and_then(label);
        let room = parameter(request, "room").map_or(Some("lobby".to_owned()), label);
        match (name, room) {
            (Some(name), Some(room)) => Answer::accept(Visitor { name, room }),
            _ => Answer::reject(Response::text(400, "a name has 1 to 32 characters\n")),
        }
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        let file = |kind, text: &'static str| Response::new(200).body(kind, text.as_bytes());
        let response = match request.path() {
            "/" => Response::html(PAGE).header("Content-Security-Policy", POLICY),
            "/chat.js" => file("text/javascript; charset=utf-8", SCRIPT),
            "/chat.css" => file("text/css; charset=utf-8", STYLE),
            "/health" => Response::text(200, "ok\n"),
            "/chat" => return None,
            _ => Response::text(404, "there is nothing here\n"),
        };
        Some(response.header("X-Content-Type-Options", "nosniff"))
    }
}

/// The value of a parameter in the request's query, still encoded.
fn parameter<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    let mut pairs = request.query()?.split('&').map(|pair| pair.split_once('='));
    pairs.find_map(|pair| pair.filter(|(key, _)| *key == name).map(|(_, value)| value))
}

/// The name of somebody or of a room, encoded as browsers encode forms.
fn label(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => ((digit()? << 4) | digit()?) as u8,
            _ => byte,
        });
    }
    let label = String::from_utf8(bytes).ok()?;
    let is_good = (1..=LONGEST_LABEL).contains(&label.chars().count())
        && !label.contains(char::is_control)
        && label.trim() == label;
    is_good.then_some(label)
}
