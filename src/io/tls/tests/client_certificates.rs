use std::sync::Arc;

use super::support::*;
use crate::io::tls::client_auth::{ClientAuth, Demand};
use crate::io::tls::client_chain::{BYTES_MAX, CERTIFICATES_MAX};
use rustls::AlertDescription;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};

struct Case {
    servers: Authority,
    clients: Authority,
}

impl Case {
    fn new() -> Self {
        Case {
            servers: Authority::new("servers"),
            clients: Authority::new("clients"),
        }
    }

    /// The outcome of a handshake; `Ok` has the certificates that the server sees.
    fn outcome(
        &self,
        tls: &super::super::Tls,
        version: Version,
        identity: Option<&Issued>,
    ) -> Result<Vec<Vec<u8>>, rustls::Error> {
        let config = Arc::new(self.servers.client_config(version, identity));
        let mut client = client(&config, "a.test");
        let mut server = Connection::new(tls);
        if talk(&mut server, &mut client).is_err() {
            return Err(client.process_new_packets().unwrap_err());
        }
        let session = server.seal.as_ref().unwrap().tls().unwrap();
        let certificates = session.peer_certificates().iter();
        Ok(certificates
            .map(|certificate| certificate.to_vec())
            .collect())
    }
}

fn alert(description: AlertDescription) -> rustls::Error {
    rustls::Error::AlertReceived(description)
}

#[test]
fn required_certificates_must_be_presented_and_lead_to_a_root() {
    let case = Case::new();
    let known = case.clients.issue(&["client"], 1);
    let stranger = case.servers.issue(&["client"], 1);
    let builder = case.servers.builder();
    let tls = builder
        .require_client_certificates(case.clients.root())
        .build()
        .unwrap();
    for version in VERSIONS {
        let seen = case.outcome(&tls, version, Some(&known)).unwrap();
        assert_eq!(seen, [known.der.to_vec()]);
        let error = case.outcome(&tls, version, None).unwrap_err();
        assert_eq!(error, alert(AlertDescription::CertificateRequired));
        let error = case.outcome(&tls, version, Some(&stranger)).unwrap_err();
        assert_eq!(error, alert(AlertDescription::UnknownCA));
    }
}

#[test]
fn optional_certificates_are_verified_if_presented() {
    let case = Case::new();
    let known = case.clients.issue(&["client"], 1);
    let stranger = case.servers.issue(&["client"], 1);
    let builder = case.servers.builder();
    let tls = builder
        .request_client_certificates(case.clients.root())
        .build()
        .unwrap();
    for version in VERSIONS {
        assert_eq!(case.outcome(&tls, version, Some(&known)).unwrap().len(), 1);
        assert_eq!(case.outcome(&tls, version, None).unwrap().len(), 0);
        case.outcome(&tls, version, Some(&stranger)).unwrap_err();
    }
}

#[test]
fn several_roots_may_be_trusted_and_none_is_asked_for_by_default() {
    let case = Case::new();
    let other = Authority::new("other clients");
    let known = case.clients.issue(&["client"], 1);
    let also = other.issue(&["client"], 1);
    let tls = case.servers.builder();
    let tls = tls.request_client_certificates(case.clients.root());
    let tls = tls
        .require_client_certificates(other.root())
        .build()
        .unwrap();
    let open = case.servers.tls();
    for version in VERSIONS {
        case.outcome(&tls, version, Some(&known)).unwrap();
        case.outcome(&tls, version, Some(&also)).unwrap();
        case.outcome(&tls, version, None).unwrap_err();
        assert!(
            case.outcome(&open, version, Some(&known))
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_revoked_certificate_is_refused() {
    let case = Case::new();
    let other = Authority::new("clients without a list");
    let good = case.clients.issue(&["client"], 1);
    let revoked = case.clients.issue(&["client"], 2);
    let unlisted = other.issue(&["client"], 1);
    let builder = case.servers.builder();
    let tls = builder
        .require_client_certificates(case.clients.root())
        .require_client_certificates(other.root())
        .revocation_list(case.clients.revoke(&[2, 9]))
        .build()
        .unwrap();
    for version in VERSIONS {
        case.outcome(&tls, version, Some(&good)).unwrap();
        let error = case.outcome(&tls, version, Some(&revoked)).unwrap_err();
        assert_eq!(error, alert(AlertDescription::CertificateRevoked));
        case.outcome(&tls, version, Some(&unlisted)).unwrap_err();
    }
}

#[test]
fn long_chains_are_refused_before_a_path_is_looked_for() {
    let case = Case::new();
    let provider = Arc::new(default_provider());
    let auth = ClientAuth {
        demand: Demand::Required,
        roots: vec![case.clients.root()],
        revocation_lists: Vec::new(),
    };
    let loaded = auth.load(&provider).unwrap();
    let verifier = loaded.verifier(&provider).unwrap().unwrap();
    let known = case.clients.issue(&["client"], 1).der;
    let verify = |chain: &[CertificateDer<'_>]| {
        let outcome = verifier.verify_client_cert(&known, chain, UnixTime::now());
        outcome.map(|_| ()).map_err(|error| error.to_string())
    };
    let other = case.servers.issue(&["other"], 2).der;
    let others = vec![other.clone(); CERTIFICATES_MAX];
    assert_eq!(verify(&others[1..]), Ok(()));
    let error = verify(&others).unwrap_err();
    assert!(error.contains("more than 4 certificates"), "{error}");

    // The verifier parses only what it needs.
    let filler = |length: usize| CertificateDer::from(vec![0; length]);
    let most = BYTES_MAX - known.len() - other.len();
    assert_eq!(verify(&[other.clone(), filler(most)]), Ok(()));
    let error = verify(&[other.clone(), filler(most + 1)]).unwrap_err();
    assert!(error.contains("16384 bytes"), "{error}");
}
