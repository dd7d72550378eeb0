//! The certificate of an example that serves TLS: it comes from files, or it is made for trying.

use std::io;
use std::path::PathBuf;

use ringwheel::{Pem, Tls, TlsBuilder};

/// The origin of a server's certificate and its key.
pub(crate) enum Certificate {
    /// PEM files: a chain that begins with the server's certificate, and the private key.
    Files { chain: PathBuf, key: PathBuf },
    /// A certificate for this machine that no client trusts unless it is told to.
    SelfSigned,
}

impl Certificate {
    /// The TLS settings of a listener whose clients may agree on the protocols `alpn`. From now on `SIGHUP` renews the
    /// certificate: files are read again, and a self-signed one is made anew.
    pub(crate) fn into_tls(self, alpn: &'static [&'static str]) -> io::Result<Tls> {
        let tls = self.settings(alpn)?.build().map_err(io::Error::other)?;
        self.renew_on_hangup(alpn, tls.clone())?;
        Ok(tls)
    }

    fn settings(&self, alpn: &[&str]) -> io::Result<TlsBuilder> {
        let (chain, key) = match self {
            Certificate::Files { chain, key } => (Pem::file(chain), Pem::file(key)),
            Certificate::SelfSigned => {
                let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
                let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
                let key = made.signing_key.serialize_pem();
                (Pem::bytes(made.cert.pem()), Pem::bytes(key))
            }
        };
        Ok(Tls::builder().certificate(chain, key).alpn(alpn))
    }

    /// Waits for `SIGHUP` on a thread of its own, because reading files takes a moment. An error changes nothing: new
    /// connections still get the old certificate.
    #[cfg(unix)]
    fn renew_on_hangup(self, alpn: &'static [&'static str], tls: Tls) -> io::Result<()> {
        use signal_hook::consts::SIGHUP;
        use signal_hook::iterator::Signals;

        let mut signals = Signals::new([SIGHUP])?;
        let renew = move || {
            let settings = self.settings(alpn)?;
            tls.reload_with(settings).map_err(io::Error::other)
        };
        let wait = move || {
            for _ in &mut signals {
                match renew() {
                    Ok(()) => println!("new connections get the new certificate"),
                    Err(error) => eprintln!("the old certificate stays: {error}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("certificate".into());
        thread.spawn(wait)?;
        Ok(())
    }

    #[cfg(not(unix))]
    fn renew_on_hangup(self, _alpn: &'static [&'static str], _tls: Tls) -> io::Result<()> {
        Ok(())
    }
}
