//! The peers that the harness knows by name, and what a server is to a run.

use std::io;

use serde::{Deserialize, Serialize};

/// A server to measure: a name for the report, and the command that starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// What the report calls it.
    pub name: String,
    /// The command line, for the shell, with `{addr}` where the address to listen on belongs.
    pub command: String,
}

/// A peer that comes with the harness.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name, which is also that of its binary, beside the harness's own.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
}

/// Every peer that comes with the harness.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "peer-mio",
        about: "the floor: a bare mio loop",
    },
    Peer {
        name: "peer-epoll",
        about: "a bare epoll loop",
    },
    Peer {
        name: "peer-tokio",
        about: "tokio, current-thread runtime",
    },
];

impl Peer {
    fn command(&self) -> io::Result<String> {
        let binary = std::env::current_exe()?.with_file_name(self.name);
        if !binary.exists() {
            let problem = format!(
                "{} is not built: cargo build --release --bins",
                binary.display()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, problem));
        }
        Ok(format!("'{}' --addr {{addr}}", binary.display()))
    }
}

impl ServerSpec {
    /// From `name=command` or the name of a peer.
    ///
    /// # Errors
    /// Fails for an unknown name, a command without `{addr}`, or a peer that is not built.
    pub fn parse(text: &str) -> io::Result<Self> {
        let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
        if let Some((name, command)) = text.split_once('=') {
            if !command.contains("{addr}") {
                return Err(invalid(format!(
                    "'{text}': the command must say {{addr}} where its address belongs"
                )));
            }
            return Ok(Self {
                name: name.to_owned(),
                command: command.to_owned(),
            });
        }
        let Some(peer) = PEERS.iter().find(|peer| peer.name == text) else {
            let known: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
            return Err(invalid(format!(
                "'{text}' is neither name=command nor one of {}",
                known.join(", ")
            )));
        };
        Ok(Self {
            name: peer.name.to_owned(),
            command: peer.command()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_itself_contain_an_equals_sign() {
        let spec = ServerSpec::parse("mine=./echo --addr={addr}").unwrap();
        assert_eq!(
            spec,
            ServerSpec {
                name: "mine".into(),
                command: "./echo --addr={addr}".into()
            }
        );
    }

    #[test]
    fn a_command_without_an_address_is_refused() {
        let problem = ServerSpec::parse("mine=./echo").unwrap_err().to_string();
        assert!(problem.contains("{addr}"), "{problem}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let problem = ServerSpec::parse("peer-nobody").unwrap_err().to_string();
        assert!(problem.contains("peer-mio"), "{problem}");
    }
}
