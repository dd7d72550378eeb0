//! The command line of the echo servers: the address, and whether TLS or a proxy lies between server and clients.

#[cfg(feature = "tls")]
mod certificate;

use std::env;
use std::fmt::Display;
use std::io;
use std::process;

use ringwheel::protocol::Protocol;
use ringwheel::{Listen, TrustedNetworks};

const HELP: &str = "
Options:
  [--addr] ADDRESS                 Address to listen on; port 0 takes a free one [default: 127.0.0.1:1833]
  --unix PATH                      Listen on a Unix socket at this path instead
  --proxy-protocol                 Take connections only from proxies on this machine, each of which begins with a
                                   PROXY header, and print the address of each client
  --tls-cert FILE --tls-key FILE   Serve TLS with the certificate chain and the private key in these PEM files; SIGHUP
                                   reads them again
  --self-signed                    Serve TLS, for trying, with a certificate for this machine that is made at start";

/// Options that stand alone.
const FLAGS: [&str; 2] = ["--proxy-protocol", "--self-signed"];
/// Options with a value.
const VALUES: [&str; 4] = [ADDRESS, "--unix", "--tls-cert", "--tls-key"];
/// The option of the address, which may stand on the command line without this name.
const ADDRESS: &str = "--addr";

/// The options that the user has given, with the value of each; that of a flag is empty.
pub(crate) struct EchoOptions(Vec<(String, String)>);

impl EchoOptions {
    /// Reads the command line. `--help` prints `about` and all options, and ends the program; a wrong option ends it with
    /// status 2.
    pub(crate) fn read(about: &str) -> Self {
        let mut given = Vec::new();
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "--help" || argument == "-h" {
                println!("{about}\n{HELP}");
                process::exit(0);
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&argument[..], None),
            };
            let value = if !argument.starts_with('-') {
                given.push((ADDRESS.to_owned(), argument));
                continue;
            } else if FLAGS.contains(&name) && value.is_none() {
                String::new()
            } else if VALUES.contains(&name) {
                let value = value.or_else(|| arguments.next());
                value.unwrap_or_else(|| fail(name, "the option needs a value; see --help"))
            } else {
                fail(&argument, "there is no such option; see --help")
            };
            given.push((name.to_owned(), value));
        }
        EchoOptions(given)
    }

    /// The listener that the options describe, which speaks the protocol `P`. Over TLS its clients may agree on the
    /// protocols `alpn`.
    pub(crate) fn listen<P>(&self, alpn: &'static [&'static str]) -> io::Result<Listen<P>>
    where
        P: Protocol + Default,
    {
        let mut listen = match (self.get(ADDRESS), self.get("--unix")) {
            (address, None) => Listen::on(address.unwrap_or("127.0.0.1:1833")),
            #[cfg(unix)]
            (None, Some(path)) => Listen::unix(path),
            (_, Some(_)) => fail("--unix", "the option stands instead of an address"),
        };
        if self.is_behind_proxy() {
            let this_machine = TrustedNetworks::of(["127.0.0.0/8", "::1"])?.with_unix_sockets();
            listen = listen.proxy_protocol(this_machine);
        }
        self.over_tls(listen, alpn)
    }

    /// True if the clients come through a proxy that tells their addresses.
    pub(crate) fn is_behind_proxy(&self) -> bool {
        self.get("--proxy-protocol").is_some()
    }

    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().rev().find(|(given, _)| given == name)?;
        Some(value)
    }

    #[cfg(feature = "tls")]
    fn over_tls<P>(
        &self,
        listen: Listen<P>,
        alpn: &'static [&'static str],
    ) -> io::Result<Listen<P>> {
        use certificate::Certificate;

        let options = ["--tls-cert", "--tls-key", "--self-signed"].map(|name| self.get(name));
        let certificate = match options {
            [None, None, None] => return Ok(listen),
            [None, None, Some(_)] => Certificate::SelfSigned,
            [Some(chain), Some(key), None] => Certificate::Files {
                chain: chain.into(),
                key: key.into(),
            },
            [.., Some(_)] => fail("--self-signed", "the option stands instead of files"),
            _ => fail("--tls-cert, --tls-key", "each option needs the other"),
        };
        match certificate.into_tls(alpn) {
            Ok(tls) => Ok(listen.tls(tls)),
            Err(error) => fail("TLS", error),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn over_tls<P>(&self, listen: Listen<P>, _alpn: &[&str]) -> io::Result<Listen<P>> {
        for name in ["--tls-cert", "--tls-key", "--self-signed"] {
            if self.get(name).is_some() {
                fail(
                    name,
                    "the option needs an example that was built with `--features tls`",
                );
            }
        }
        Ok(listen)
    }
}

fn fail(option: &str, error: impl Display) -> ! {
    eprintln!("{option}: {error}");
    process::exit(2)
}
