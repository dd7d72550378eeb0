use std::sync::Arc;

use super::support::*;
use crate::io::tls::client_auth::{ClientAuth, Demand};
use crate::io::tls::client_chain::{BYTES_MAX, CERTIFICATES_MAX};
use crate::io::tls::pem::Pem;
use crate::io::tls::signatures::{SIGNATURES_MAX, asked};
use rustls::AlertDescription;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

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

/// The verifier of client certificates alone, without connections.
struct Verifier(Arc<dyn ClientCertVerifier>);

impl Verifier {
    fn new(roots: &[&Authority], revocation_lists: Vec<Pem>) -> Self {
        let auth = ClientAuth {
            demand: Demand::Required,
            roots: roots.iter().map(|root| root.root()).collect(),
            revocation_lists,
        };
        let loaded = auth.load(&Arc::new(default_provider())).unwrap();
        Verifier(loaded.verifier().unwrap().unwrap())
    }

    /// The outcome, and the number of signatures that were checked or would have been checked without the bound.
    fn verify(
        &self,
        known: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> (Result<(), String>, usize) {
        let outcome = self.0.verify_client_cert(known, chain, UnixTime::now());
        let outcome = outcome.map(|_| ()).map_err(|error| error.to_string());
        (outcome, asked())
    }
}

#[test]
fn honest_chains_are_accepted_in_any_order_and_with_certificates_that_do_not_belong_to_them() {
    let root = Authority::new("clients");
    let upper = root.subordinate("upper");
    let lower = upper.subordinate("lower");
    let other = Authority::new("other").der();
    let verifier = Verifier::new(&[&root], vec![]);
    let [by_root, by_upper, by_lower] =
        [&root, &upper, &lower].map(|issuer| issuer.issue(&["client"], 1).der);
    let (lower, upper, root) = (lower.der(), upper.der(), root.der());
    let cases = [
        (&by_root, vec![], 1),
        (&by_root, vec![root.clone()], 1),
        (&by_upper, vec![upper.clone()], 2),
        (&by_lower, vec![lower.clone(), upper.clone()], 3),
        (
            &by_lower,
            vec![lower.clone(), upper.clone(), root.clone()],
            3,
        ),
        (&by_lower, vec![root, upper.clone(), lower.clone()], 3),
        (&by_lower, vec![other, upper.clone(), lower.clone()], 3),
        (&by_upper, vec![by_upper.clone(), upper.clone(), upper], 2),
    ];
    for (number, (known, chain, signatures)) in cases.into_iter().enumerate() {
        assert_eq!(
            verifier.verify(known, &chain),
            (Ok(()), signatures),
            "{number}"
        );
    }
    // What is needed must be there.
    let (outcome, signatures) = verifier.verify(&by_lower, &[lower]);
    assert!(outcome.unwrap_err().contains("UnknownIssuer"));
    assert_eq!(signatures, 0);
}

#[test]
fn the_orders_of_forged_certificates_with_the_name_of_the_root_are_not_tried() {
    let root = Authority::new("clients");
    let verifier = Verifier::new(&[&root], vec![]);
    let forger = Authority::new("clients");
    let forged = forger.issue(&["client"], 1).der;
    let chain = [(); 3].map(|()| forger.subordinate("clients").der());
    let (outcome, signatures) = verifier.verify(&forged, &chain);
    assert!(outcome.unwrap_err().contains("BadSignature"));
    assert_eq!(signatures, 2);
    let (outcome, signatures) = verifier.verify(&forged, &[root.der()]);
    assert!(outcome.unwrap_err().contains("BadSignature"));
    assert_eq!(signatures, 1);

    // Each name occurs once, and all are names of roots.
    let names = ["a", "b", "c", "d"];
    let roots = names.map(Authority::new);
    let verifier = Verifier::new(&roots.each_ref(), vec![]);
    let forgers = names.map(Authority::new);
    let forged = forgers[0].issue(&["client"], 1).der;
    let chain = [1, 2, 3].map(|above: usize| forgers[above].subordinate(names[above - 1]).der());
    let (outcome, signatures) = verifier.verify(&forged, &chain);
    assert!(outcome.unwrap_err().contains("BadSignature"));
    assert_eq!(signatures, CERTIFICATES_MAX);
}

#[test]
fn roots_of_one_name_do_not_multiply_the_signatures() {
    let roots: Vec<_> = (0..8).map(|_| Authority::new("clients")).collect();
    let all: Vec<_> = roots.iter().collect();
    let forger = Authority::new("clients");
    let forged = forger.issue(&["client"], 1).der;
    let chain = [(); 3].map(|()| forger.subordinate("clients").der());
    let (outcome, asked) = Verifier::new(&all, vec![]).verify(&forged, &chain);
    assert!(outcome.unwrap_err().contains("more than 6 signatures"));
    assert!(asked > SIGNATURES_MAX);
    // The last root would be tried behind more others than the bound has room for.
    let known = roots[7].issue(&["client"], 1).der;
    let (outcome, _) = Verifier::new(&all, vec![]).verify(&known, &[]);
    assert!(outcome.unwrap_err().contains("more than 6 signatures"));

    // An authority that changes its key: both roots are trusted, or the old one, which has issued the new one.
    let [old, new] = [&roots[0], &roots[1]];
    let upper = new.subordinate("upper");
    let known = upper.issue(&["client"], 1).der;
    let verifier = Verifier::new(&[old, new], vec![upper.revoke(&[9])]);
    assert_eq!(verifier.verify(&known, &[upper.der()]), (Ok(()), 4));
    for (root, signatures) in [(old, 1), (new, 2)] {
        let verifier = Verifier::new(&[old, new, old, new], vec![]);
        let known = root.issue(&["client"], 1).der;
        assert_eq!(verifier.verify(&known, &[]), (Ok(()), signatures));
    }
    let successor = old.subordinate("clients");
    let known = successor.issue(&["client"], 1).der;
    let verifier = Verifier::new(&[old], vec![]);
    assert_eq!(verifier.verify(&known, &[successor.der()]), (Ok(()), 3));
}

#[test]
fn long_chains_are_refused_before_a_path_is_looked_for() {
    let case = Case::new();
    let verifier = Verifier::new(&[&case.clients], Vec::new());
    let known = case.clients.issue(&["client"], 1).der;
    let verify = |chain: &[CertificateDer<'_>]| verifier.verify(&known, chain).0;
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
