//! What a server is to a run: a name and a command.

use std::io;

use serde::{Deserialize, Serialize};

use super::catalogue::{PEERS, Peer, find};
use super::workshop::prepare;
use crate::load::Framing;
use crate::results::Contestant;

/// A server to measure: a name for the report, and the command that starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// What the report calls it.
    pub name: String,
    /// The command line, for the shell, with `{addr}` where the address to listen on belongs.
    pub command: String,
}

/// What a scenario asks of a server, besides to listen on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// How its clients' messages are told apart; raw bytes by default.
    pub framing: Framing,
    /// Event loops or threads; 1 by default.
    pub workers: usize,
    /// Timers that run besides; 0 by default.
    pub timers: usize,
    /// Whether each message goes to all connections rather than back (WebSocket); not by default.
    pub broadcast: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            framing: Framing::Raw,
            workers: 1,
            timers: 0,
            broadcast: false,
        }
    }
}

impl ServerOptions {
    /// The defaults, but for the framing.
    pub fn framed(framing: Framing) -> Self {
        Self {
            framing,
            ..Self::default()
        }
    }

    /// The defaults, in what `peer` speaks.
    pub fn plainest(peer: &Peer) -> Self {
        Self::framed(peer.framings[0])
    }
}

impl ServerSpec {
    /// A peer that is started by `words`, which come before what `options` ask for.
    pub(super) fn of_peer(peer: &Peer, words: &[String], options: &ServerOptions) -> Self {
        let mut command: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        command.push("--addr {addr}".to_owned());
        if options.framing != ServerOptions::plainest(peer).framing {
            let framing = options.framing.to_string().to_lowercase();
            command.push(format!("--framing {framing}"));
        }
        if options.workers > 1 {
            command.push(format!("--workers {}", options.workers));
        }
        if options.timers > 0 {
            command.push(format!("--timers {}", options.timers));
        }
        if options.broadcast {
            command.push("--broadcast".to_owned());
        }
        Self {
            name: peer.name.to_owned(),
            command: command.join(" "),
        }
    }

    /// From `name=command` or the name of a peer, which is built first, with its progress on standard error, and asked for
    /// `options`. Says also how a report is to name it.
    ///
    /// # Errors
    /// Fails for an unknown name, a command without `{addr}`, or a peer that cannot be built, or not do what is asked.
    pub fn resolve(text: &str, options: &ServerOptions) -> io::Result<(Contestant, Self)> {
        let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
        if let Some((name, command)) = text.split_once('=') {
            if !command.contains("{addr}") {
                return Err(invalid(format!(
                    "'{text}': the command must say {{addr}} where its address belongs"
                )));
            }
            let spec = Self {
                name: name.to_owned(),
                command: command.to_owned(),
            };
            return Ok((Contestant::of_command(&spec), spec));
        }
        let Some(peer) = find(text) else {
            let known: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
            return Err(invalid(format!(
                "'{text}' is neither name=command nor one of {}",
                known.join(", ")
            )));
        };
        if !peer.can(options) {
            return Err(invalid(format!("{text} cannot do what is asked for")));
        }
        let prepared = prepare(&[peer], &mut |line| eprintln!("{line}")).remove(0);
        match prepared.server(options) {
            Some(server) => Ok((prepared.contestant(), server)),
            None => {
                let skipped = || prepared.skipped().map(str::to_owned);
                let why = prepared.failed().or_else(skipped).unwrap_or_default();
                Err(io::Error::other(format!("{text}: {why}")))
            }
        }
    }
}

/// `word` as a single word for the shell, in which the address is not replaced.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    let quoted = word.replace('\'', r"'\''").replace("{addr}", "{''addr}");
    format!("'{quoted}'")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_command_may_itself_contain_an_equals_sign() {
        let spec =
            ServerSpec::resolve("mine=./echo --addr={addr}", &ServerOptions::default()).unwrap();
        assert_eq!(
            spec.1,
            ServerSpec {
                name: "mine".into(),
                command: "./echo --addr={addr}".into()
            }
        );
    }

    #[test]
    fn a_command_without_an_address_is_refused() {
        let problem = ServerSpec::resolve("mine=./echo", &ServerOptions::default())
            .unwrap_err()
            .to_string();
        assert!(problem.contains("{addr}"), "{problem}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let problem = ServerSpec::resolve("nobody", &ServerOptions::default())
            .unwrap_err()
            .to_string();
        assert!(problem.contains("mio, epoll"), "{problem}");
    }

    #[test]
    fn the_shell_reads_a_quoted_word_as_it_was() {
        for word in [
            "/plain/path-1.0",
            "two words",
            "it's",
            "''",
            "",
            "$HOME `id` \"x\" \\ ; & | * ?",
            "/odd {addr}/x",
            "a\nb",
        ] {
            let quoted = quoted(word).replace("{addr}", "REPLACED");
            let line = format!("printf %s {quoted}");
            let output = Command::new("/bin/sh")
                .args(["-c", &line])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word, "{line}");
        }
    }

    #[test]
    fn options_become_arguments() {
        let words = ["/a b/peer".to_owned(), "--multi-thread".to_owned()];
        let command = |name: &str, options: &ServerOptions| {
            let words = if name == "tokio-mt" {
                &words[..]
            } else {
                &words[..1]
            };
            ServerSpec::of_peer(find(name).unwrap(), words, options).command
        };
        assert_eq!(
            command("tokio-mt", &ServerOptions::default()),
            "'/a b/peer' --multi-thread --addr {addr}"
        );
        let framed = ServerOptions {
            framing: Framing::LengthPrefixed,
            workers: 2,
            timers: 1000,
            broadcast: false,
        };
        assert_eq!(
            command("tokio-mt", &framed),
            "'/a b/peer' --multi-thread --addr {addr} --framing length-prefixed --workers 2 --timers 1000"
        );
        let broadcast = ServerOptions {
            framing: Framing::WebSocket,
            broadcast: true,
            ..ServerOptions::default()
        };
        assert_eq!(
            command("gws", &broadcast),
            "'/a b/peer' --addr {addr} --broadcast"
        );
        // What a peer speaks without being asked for is not said; ringwheel speaks TCP then.
        assert_eq!(
            command("ringwheel", &broadcast),
            "'/a b/peer' --addr {addr} --framing websocket --broadcast"
        );
        let deflate = ServerOptions::framed(Framing::WebSocketDeflate);
        for name in ["gws", "ringwheel"] {
            assert_eq!(
                command(name, &deflate),
                "'/a b/peer' --addr {addr} --framing websocket-deflate"
            );
        }
    }
}
