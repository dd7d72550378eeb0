//! A server to measure: a name and a command.

use serde::{Deserialize, Serialize};

use super::catalogue::Peer;
use super::options::ServerOptions;

/// A server to measure: a name for the report, and the command that starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// The name in the report.
    pub name: String,
    /// The command line for the shell, with `{addr}` in place of the address to listen on. With TLS it also has
    /// the placeholders of a certificate: see [`Key::placeholders`](crate::certificates::Key::placeholders).
    pub command: String,
}

impl ServerSpec {
    /// A peer that is started by `words`, followed by the arguments for `options`.
    pub(super) fn of_peer(peer: &Peer, words: &[String], options: &ServerOptions) -> Self {
        let mut command: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        command.push("--addr {addr}".to_owned());
        if options.framing != peer.plainest().framing {
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
        if let Some(key) = options.tls {
            let [certificate, key] = key.placeholders();
            command.push(format!("--tls-cert {certificate} --tls-key {key}"));
        }
        Self {
            name: peer.name.to_owned(),
            command: command.join(" "),
        }
    }
}

/// Quotes `word` as a single word for the shell, in which no placeholder like `{addr}` is replaced.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    let quoted = word.replace('\'', r"'\''").replace('{', "{''");
    format!("'{quoted}'")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::catalogue::find;
    use super::*;
    use crate::certificates::Key;
    use crate::load::Framing;

    #[test]
    fn the_shell_reads_a_quoted_word_unchanged() {
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
            tls: None,
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
        let rsa = ServerOptions {
            tls: Some(Key::Rsa),
            ..ServerOptions::default()
        };
        assert_eq!(
            command("mio-tls", &rsa),
            "'/a b/peer' --addr {addr} --tls-cert {rsa-cert} --tls-key {rsa-key}"
        );
        // A peer's default framing is not passed; ringwheel's default is TCP.
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
