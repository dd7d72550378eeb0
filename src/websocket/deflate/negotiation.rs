//! The negotiation of permessage-deflate in the opening handshake: offers and the answer, which are values of
//! `Sec-WebSocket-Extensions`.

use std::error::Error;
use std::fmt;

use super::{Deflate, MAX_WINDOW_BITS, WINDOW_BITS};
use crate::websocket::extensions::{Extension, Extensions, MalformedExtensionsError};

/// The parameters that both sides agreed on, from the point of view of this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The parameters of our compression.
    pub(crate) ours: Direction,
    /// The parameters of the peer's compression.
    pub(crate) theirs: Direction,
}

/// The parameters of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    /// True if a message may refer to those before it.
    pub(crate) context_takeover: bool,
    /// The base-2 logarithm of how far back it may refer: 8 to 15.
    pub(crate) window_bits: u8,
}

/// The reasons for which a server's answer to an offer of permessage-deflate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerError {
    /// The header is not a list of extensions with their parameters.
    Malformed,
    /// The answer names an extension that was not offered, or the same one again.
    NotOffered,
    /// A parameter is unknown, is there twice, lacks its value or has one that is not allowed.
    InvalidParameter,
    /// The answer lacks `server_no_context_takeover`, which the offer demanded.
    ServerContextTakeover,
    /// The answer lacks `server_max_window_bits`, or gives more than the offer demanded.
    ServerWindow,
    /// The answer gives `client_max_window_bits` more than was offered.
    ClientWindow,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the answered extensions are malformed",
            Self::NotOffered => "an extension was answered that was not offered",
            Self::InvalidParameter => "permessage-deflate was answered with an invalid parameter",
            Self::ServerContextTakeover => "the server does not give up its context takeover",
            Self::ServerWindow => "the server does not limit its window as it has to",
            Self::ClientWindow => "the server asks for a window that was not offered",
        })
    }
}

impl Error for AnswerError {}

impl From<MalformedExtensionsError> for AnswerError {
    fn from(_: MalformedExtensionsError) -> Self {
        AnswerError::Malformed
    }
}

const EXTENSION: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The server's part: it accepts the first offer that it can meet, and returns the agreement and the answer.
///
/// An offer that is not valid or cannot be met is passed over (RFC 7692, sections 5.1 and 7.1).
pub(crate) fn negotiate<'a>(
    offers: impl IntoIterator<Item = Extension<'a>>,
    settings: &Deflate,
) -> Option<(Agreed, String)> {
    offers
        .into_iter()
        .filter(|extension| extension.name == EXTENSION)
        .find_map(|offer| accept(Parameters::of(&offer)?, settings))
}

/// Accepts an offer, if its parameters can be met.
fn accept(offer: Parameters, settings: &Deflate) -> Option<(Agreed, String)> {
    let server_bits = match offer.server_max_window_bits {
        None => settings.server_max_window_bits,
        Some(asked) if WINDOW_BITS.contains(&asked) => asked.min(settings.server_max_window_bits),
        Some(_) => return None,
    };
    // Only a client that mentions the parameter can be told a limit (section 7.1.2.2).
    let client_bits = match offer.client_max_window_bits {
        None => MAX_WINDOW_BITS,
        Some(bits) => bits
            .unwrap_or(MAX_WINDOW_BITS)
            .min(settings.client_max_window_bits),
    };
    let is_client_window_kept = client_bits <= settings.client_max_window_bits;
    let agreed = Agreed {
        ours: Direction {
            context_takeover: settings.server_context_takeover && !offer.server_no_context_takeover,
            window_bits: server_bits,
        },
        theirs: Direction {
            context_takeover: settings.client_context_takeover
                && !offer.client_no_context_takeover
                && is_client_window_kept,
            window_bits: client_bits,
        },
    };
    let answer = Parameters {
        server_no_context_takeover: !agreed.ours.context_takeover,
        client_no_context_takeover: !agreed.theirs.context_takeover,
        // An offer with this parameter is accepted by answering it, whatever the value (section 7.1.2.1).
        server_max_window_bits: (offer.server_max_window_bits.is_some()
            || server_bits < MAX_WINDOW_BITS)
            .then_some(server_bits),
        client_max_window_bits: (client_bits < MAX_WINDOW_BITS).then_some(Some(client_bits)),
    };
    Some((agreed, answer.to_string()))
}

/// The client's part: its offer.
pub(crate) fn offer(settings: &Deflate) -> String {
    let limited = |bits: u8| (bits < MAX_WINDOW_BITS).then_some(bits);
    let offer = Parameters {
        server_no_context_takeover: !settings.server_context_takeover,
        client_no_context_takeover: !settings.client_context_takeover,
        server_max_window_bits: limited(settings.server_max_window_bits),
        client_max_window_bits: Some(limited(settings.client_max_window_bits)),
    };
    offer.to_string()
}

/// The client's part: the agreement, from the server's answer to an [`offer`] with the same settings.
///
/// `answer` is the value of the response's `Sec-WebSocket-Extensions` header. Without that header nothing was agreed.
///
/// # Errors
/// The answer does not fit the offer. The client has to fail the connection then (RFC 7692, section 5.1).
pub(crate) fn agree(answer: &str, settings: &Deflate) -> Result<Agreed, AnswerError> {
    let mut extensions = Extensions::of(answer);
    let answered = extensions.next().ok_or(AnswerError::Malformed)??;
    if let Some(another) = extensions.next() {
        another?;
        return Err(AnswerError::NotOffered);
    }
    if answered.name != EXTENSION {
        return Err(AnswerError::NotOffered);
    }
    let answer = Parameters::of(&answered).ok_or(AnswerError::InvalidParameter)?;
    if !settings.server_context_takeover && !answer.server_no_context_takeover {
        return Err(AnswerError::ServerContextTakeover);
    }
    let server_bits = answer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
    if server_bits > settings.server_max_window_bits {
        return Err(AnswerError::ServerWindow);
    }
    let client_bits = match answer.client_max_window_bits {
        None => settings.client_max_window_bits,
        // Only an offer may lack the value.
        Some(None) => return Err(AnswerError::InvalidParameter),
        Some(Some(bits)) => bits,
    };
    if client_bits > settings.client_max_window_bits {
        return Err(AnswerError::ClientWindow);
    }
    Ok(Agreed {
        ours: Direction {
            context_takeover: settings.client_context_takeover
                && !answer.client_no_context_takeover,
            window_bits: client_bits,
        },
        theirs: Direction {
            context_takeover: !answer.server_no_context_takeover,
            window_bits: server_bits,
        },
    })
}

/// The parameters of an offer or an answer (RFC 7692, section 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    /// 8 to 15.
    server_max_window_bits: Option<u8>,
    /// 8 to 15, or no value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// The parameters of an extension; `None` if permessage-deflate cannot have them.
    fn of(extension: &Extension<'_>) -> Option<Self> {
        extension
            .parameters()
            .try_fold(Parameters::default(), |seen, (name, value)| {
                seen.with(name, value.as_deref())
            })
    }

    /// The same with one more parameter; `None` if the RFC does not allow it, or not twice.
    fn with(mut self, name: &str, value: Option<&str>) -> Option<Self> {
        let is_repeated = match name {
            SERVER_NO_CONTEXT_TAKEOVER if value.is_none() => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            CLIENT_NO_CONTEXT_TAKEOVER if value.is_none() => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            SERVER_MAX_WINDOW_BITS => {
                let bits = window_bits(value?)?;
                self.server_max_window_bits.replace(bits).is_some()
            }
            CLIENT_MAX_WINDOW_BITS => {
                let bits = match value {
                    None => None,
                    Some(value) => Some(window_bits(value)?),
                };
                self.client_max_window_bits.replace(bits).is_some()
            }
            _ => return None,
        };
        (!is_repeated).then_some(self)
    }
}

/// A decimal integer from 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

/// Writes the extension with these parameters as a header has it.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXTENSION)?;
        if self.server_no_context_takeover {
            write!(f, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.client_no_context_takeover {
            write!(f, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; {SERVER_MAX_WINDOW_BITS}={bits}")?;
        }
        match self.client_max_window_bits {
            Some(Some(bits)) => write!(f, "; {CLIENT_MAX_WINDOW_BITS}={bits}"),
            Some(None) => write!(f, "; {CLIENT_MAX_WINDOW_BITS}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEOVER: Deflate = Deflate::new()
        .server_context_takeover(true)
        .client_context_takeover(true);

    fn direction(context_takeover: bool, window_bits: u8) -> Direction {
        Direction {
            context_takeover,
            window_bits,
        }
    }

    fn agreed(ours: (bool, u8), theirs: (bool, u8)) -> Agreed {
        Agreed {
            ours: direction(ours.0, ours.1),
            theirs: direction(theirs.0, theirs.1),
        }
    }

    /// The extensions in these values, up to the first that is malformed in each.
    fn extensions<'a>(values: &[&'a str]) -> Vec<Extension<'a>> {
        let values = values.iter();
        values
            .flat_map(|value| Extensions::of(value).filter_map(Result::ok))
            .collect()
    }

    fn assert_accepted(settings: &Deflate, offers: &[&str], answer: &str, expected: Agreed) {
        let negotiated = negotiate(extensions(offers), settings);
        assert_eq!(
            negotiated,
            Some((expected, answer.to_owned())),
            "{offers:?}"
        );
    }

    #[test]
    fn by_default_no_context_is_taken_over() {
        let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=15",
            both,
        ] {
            let expected = agreed((false, 15), (false, 15));
            assert_accepted(&Deflate::new(), &[offer], both, expected);
        }
    }

    #[test]
    fn what_is_offered_and_allowed_is_agreed() {
        for (offer, answer, expected) in [
            ("", "", agreed((true, 15), (true, 15))),
            (
                "; server_no_context_takeover",
                "; server_no_context_takeover",
                agreed((false, 15), (true, 15)),
            ),
            (
                "; client_no_context_takeover",
                "; client_no_context_takeover",
                agreed((true, 15), (false, 15)),
            ),
            (
                "; server_max_window_bits=15",
                "; server_max_window_bits=15",
                agreed((true, 15), (true, 15)),
            ),
            (
                "; server_max_window_bits=9",
                "; server_max_window_bits=9",
                agreed((true, 9), (true, 15)),
            ),
            (
                "; client_max_window_bits",
                "",
                agreed((true, 15), (true, 15)),
            ),
            (
                "; client_max_window_bits=8",
                "; client_max_window_bits=8",
                agreed((true, 15), (true, 8)),
            ),
            (
                "; client_max_window_bits=10; server_max_window_bits=11; client_no_context_takeover; \
                 server_no_context_takeover",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; \
                 client_max_window_bits=10",
                agreed((false, 11), (false, 10)),
            ),
        ] {
            let offer = format!("permessage-deflate{offer}");
            assert_accepted(
                &TAKEOVER,
                &[&offer],
                &format!("permessage-deflate{answer}"),
                expected,
            );
        }
    }

    #[test]
    fn windows_are_limited_by_the_settings_too() {
        let settings = TAKEOVER
            .server_max_window_bits(12)
            .client_max_window_bits(11);
        for (offer, answer, expected) in [
            (
                "; client_max_window_bits",
                "; server_max_window_bits=12; client_max_window_bits=11",
                agreed((true, 12), (true, 11)),
            ),
            (
                "; client_max_window_bits=15; server_max_window_bits=15",
                "; server_max_window_bits=12; client_max_window_bits=11",
                agreed((true, 12), (true, 11)),
            ),
            (
                "; client_max_window_bits=10; server_max_window_bits=10",
                "; server_max_window_bits=10; client_max_window_bits=10",
                agreed((true, 10), (true, 10)),
            ),
            // A client that cannot be told a limit gets no takeover instead.
            (
                "",
                "; client_no_context_takeover; server_max_window_bits=12",
                agreed((true, 12), (false, 15)),
            ),
        ] {
            let offer = format!("permessage-deflate{offer}");
            assert_accepted(
                &settings,
                &[&offer],
                &format!("permessage-deflate{answer}"),
                expected,
            );
        }
    }

    #[test]
    fn the_header_may_be_written_in_every_way_the_grammar_has() {
        let answer = "permessage-deflate; server_max_window_bits=10";
        for offer in [
            "permessage-deflate;server_max_window_bits=10",
            "permessage-deflate ;\tserver_max_window_bits = 10 ",
            "permessage-deflate; server_max_window_bits=\"10\"",
            "permessage-deflate; server_max_window_bits=\"1\\0\" ",
            " , ,permessage-deflate; server_max_window_bits=10,",
            "foo; a=\"b\"; c, permessage-deflate; server_max_window_bits=10, bar",
        ] {
            assert_accepted(&TAKEOVER, &[offer], answer, agreed((true, 10), (true, 15)));
        }
    }

    #[test]
    fn offers_that_are_not_valid_are_declined() {
        for offer in [
            "",
            ",",
            "foo",
            "permessage-deflate2",
            "Permessage-Deflate",
            "x-webkit-deflate-frame",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=9; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover=\"\"",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=0",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=-9",
            "permessage-deflate; server_max_window_bits=9.0",
            "permessage-deflate; server_max_window_bits=99999999999999999999",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=\" 10\"",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=\"10\\",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=09",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate;",
            "permessage-deflate; ;",
            "permessage-deflate; =9",
            "permessage-deflate server_no_context_takeover",
            "permessage-deflate=1",
            "permessage-deflate; server_max_window_bits=10 11",
            "permessage-deflate; \u{e4}",
            "\u{e4}",
            "\"permessage-deflate\"",
            // Behind a malformed element the boundaries of the others are unknown.
            "f\"oo, permessage-deflate",
            "foo; a=\"b c\", permessage-deflate",
        ] {
            assert_eq!(
                negotiate(extensions(&[offer]), &TAKEOVER),
                None,
                "{offer:?}"
            );
            // A later offer is accepted all the same.
            let expected = agreed((true, 15), (true, 15));
            assert_accepted(
                &TAKEOVER,
                &[offer, "permessage-deflate"],
                "permessage-deflate",
                expected,
            );
        }
        assert_eq!(negotiate([], &TAKEOVER), None);
    }

    #[test]
    fn the_first_offer_that_can_be_met_wins() {
        let answer = "permessage-deflate; server_max_window_bits=12";
        let expected = agreed((true, 12), (true, 15));
        let declined = "permessage-deflate; server_max_window_bits=8";
        let first = "permessage-deflate; server_max_window_bits=12";
        let second = "permessage-deflate; server_no_context_takeover";
        let in_one = [declined, first, second].join(", ");
        assert_accepted(&TAKEOVER, &[&in_one], answer, expected);
        assert_accepted(&TAKEOVER, &[declined, first, second], answer, expected);
        let unquoted = "foo; bar=\"permessage-deflate\"";
        assert_accepted(&TAKEOVER, &[unquoted, first], answer, expected);
    }

    #[test]
    fn an_offer_says_what_the_settings_demand() {
        assert_eq!(
            offer(&Deflate::new()),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
        );
        assert_eq!(
            offer(&TAKEOVER),
            "permessage-deflate; client_max_window_bits"
        );
        assert_eq!(
            offer(
                &TAKEOVER
                    .server_max_window_bits(10)
                    .client_max_window_bits(9)
            ),
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9"
        );
    }

    #[test]
    fn answers_to_the_offer_are_agreed() {
        for (answer, expected) in [
            ("permessage-deflate", agreed((true, 15), (true, 15))),
            (
                "permessage-deflate; server_no_context_takeover",
                agreed((true, 15), (false, 15)),
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                agreed((false, 15), (true, 15)),
            ),
            (
                "permessage-deflate; server_max_window_bits=8; client_max_window_bits=\"9\"",
                agreed((true, 9), (true, 8)),
            ),
            // It was offered without a value, so it may be any; we do not compress then.
            (
                "permessage-deflate; client_max_window_bits=8",
                agreed((true, 8), (true, 15)),
            ),
        ] {
            assert_eq!(agree(answer, &TAKEOVER), Ok(expected), "{answer}");
        }
        let limited = TAKEOVER
            .server_max_window_bits(11)
            .client_max_window_bits(12);
        assert_eq!(
            agree("permessage-deflate; server_max_window_bits=10", &limited),
            Ok(agreed((true, 12), (true, 10)))
        );
    }

    #[test]
    fn answers_to_what_was_not_offered_are_errors() {
        use AnswerError::*;
        let none = Deflate::new();
        let limited = TAKEOVER
            .server_max_window_bits(11)
            .client_max_window_bits(12);
        for (settings, answer, error) in [
            (TAKEOVER, "", Malformed),
            (TAKEOVER, "permessage-deflate;", Malformed),
            (TAKEOVER, "permessage-deflate, ;", Malformed),
            (TAKEOVER, "foo", NotOffered),
            (TAKEOVER, "permessage-deflate, foo", NotOffered),
            (
                TAKEOVER,
                "permessage-deflate, permessage-deflate",
                NotOffered,
            ),
            (TAKEOVER, "permessage-deflate; foo", InvalidParameter),
            (
                TAKEOVER,
                "permessage-deflate; server_max_window_bits",
                InvalidParameter,
            ),
            (
                TAKEOVER,
                "permessage-deflate; client_max_window_bits",
                InvalidParameter,
            ),
            (
                TAKEOVER,
                "permessage-deflate; client_max_window_bits=7",
                InvalidParameter,
            ),
            (
                limited,
                "permessage-deflate; server_max_window_bits=11; client_max_window_bits=13",
                ClientWindow,
            ),
            (limited, "permessage-deflate", ServerWindow),
            (
                limited,
                "permessage-deflate; server_max_window_bits=12",
                ServerWindow,
            ),
            (
                none,
                "permessage-deflate; client_no_context_takeover",
                ServerContextTakeover,
            ),
        ] {
            assert_eq!(agree(answer, &settings), Err(error), "{answer:?}");
        }
    }

    /// An offer of one side is accepted by the other, and both see the same agreement from their sides.
    #[test]
    fn both_sides_agree_on_the_same() {
        let bits = [9, 12, 15];
        let mut settings = Vec::new();
        for (server, client) in bits.iter().flat_map(|s| bits.iter().map(move |c| (*s, *c))) {
            for takeover in 0..4 {
                settings.push(
                    Deflate::new()
                        .server_max_window_bits(server)
                        .client_max_window_bits(client)
                        .server_context_takeover(takeover & 1 != 0)
                        .client_context_takeover(takeover & 2 != 0),
                );
            }
        }
        for server in &settings {
            for client in &settings {
                let offered = offer(client);
                let (at_server, answer) =
                    negotiate(extensions(&[&offered]), server).expect("can be met");
                let at_client = agree(&answer, client).expect("answers the offer");
                assert_eq!(at_server.ours, at_client.theirs);
                assert_eq!(at_server.theirs, at_client.ours);
            }
        }
    }
}
