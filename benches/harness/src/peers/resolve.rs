//! Resolves servers named on a command line.

use std::io;

use super::catalogue::{PEERS, find};
use super::contestant::Contestant;
use super::options::ServerOptions;
use super::server::ServerSpec;
use super::workshop::prepare;

/// The server that `text` names, either as `name=command` or as the name of a peer, and its description in a report. A
/// peer is first built, with its progress on standard error, and started with `options`.
///
/// # Errors
/// Fails for an unknown name, a command without `{addr}`, or a peer that cannot be built or does not support the
/// options.
pub fn resolve(text: &str, options: &ServerOptions) -> io::Result<(Contestant, ServerSpec)> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
    if let Some((name, command)) = text.split_once('=') {
        if !command.contains("{addr}") {
            return Err(invalid(format!(
                "'{text}': the command must contain {{addr}} in place of the address"
            )));
        }
        let spec = ServerSpec {
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
        return Err(invalid(format!("{text} does not support these options")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_itself_contain_an_equals_sign() {
        let spec = resolve("mine=./echo --addr={addr}", &ServerOptions::default()).unwrap();
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
        let problem = resolve("mine=./echo", &ServerOptions::default())
            .unwrap_err()
            .to_string();
        assert!(problem.contains("{addr}"), "{problem}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let problem = resolve("nobody", &ServerOptions::default())
            .unwrap_err()
            .to_string();
        assert!(problem.contains("mio, epoll"), "{problem}");
    }
}
