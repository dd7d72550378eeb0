use std::error::Error;

use super::super::Tls;
use super::super::builder::TlsBuilder;
use super::super::error::TlsErrorKind;
use super::super::pem::Pem;
use super::support::*;

fn kind(builder: TlsBuilder) -> TlsErrorKind {
    builder.build().unwrap_err().kind()
}

#[test]
fn each_mistake_has_a_kind() {
    let authority = Authority::new("root");
    let issued = authority.issue(&["a.test"], 1);
    let other = authority.issue(&["a.test"], 2);
    let (chain, key) = issued.pems();
    let (good, nothing) = (|| authority.builder(), || Pem::bytes("no section"));
    let with = |chain: &Pem, key: &Pem| Tls::builder().certificate(chain.clone(), key.clone());
    let section = |name: &str, base64: &str| {
        Pem::bytes(format!(
            "-----BEGIN {name}-----\n{base64}\n-----END {name}-----\n"
        ))
    };

    assert_eq!(kind(Tls::builder()), TlsErrorKind::NoServerCertificate);
    assert_eq!(kind(with(&nothing(), &key)), TlsErrorKind::NoCertificate);
    assert_eq!(kind(with(&key, &key)), TlsErrorKind::NoCertificate);
    assert_eq!(kind(with(&chain, &chain)), TlsErrorKind::NoKey);
    assert_eq!(
        kind(with(&chain, &other.pems().1)),
        TlsErrorKind::KeyMismatch
    );
    let broken = section("CERTIFICATE", "!!!");
    assert_eq!(kind(with(&broken, &key)), TlsErrorKind::Malformed);
    let broken = section("CERTIFICATE", "AAAA");
    assert_eq!(kind(with(&broken, &key)), TlsErrorKind::Certificate);
    let broken = section("PRIVATE KEY", "AAAA");
    assert_eq!(kind(with(&chain, &broken)), TlsErrorKind::Key);
    let encrypted = section("ENCRYPTED PRIVATE KEY", "AAAA");
    assert_eq!(kind(with(&chain, &encrypted)), TlsErrorKind::EncryptedKey);

    let named = |name: &str| good().named_certificate(name, chain.clone(), key.clone());
    assert_eq!(kind(named("not a name")), TlsErrorKind::Name);
    assert_eq!(kind(named("*.*.test")), TlsErrorKind::Name);
    assert_eq!(kind(named("b.test")), TlsErrorKind::NameMismatch);
    assert_eq!(kind(named("*.test.")), TlsErrorKind::NameMismatch);
    let twice = named("a.test").named_certificate("A.test.", chain.clone(), key.clone());
    assert_eq!(kind(twice), TlsErrorKind::DuplicateName);

    assert_eq!(kind(good().alpn([""])), TlsErrorKind::Alpn);
    assert_eq!(kind(good().alpn(["x".repeat(256)])), TlsErrorKind::Alpn);

    let roots = |pem| good().require_client_certificates(pem);
    assert_eq!(kind(roots(nothing())), TlsErrorKind::NoCertificate);
    assert_eq!(
        kind(roots(section("CERTIFICATE", "AAAA"))),
        TlsErrorKind::Root
    );
    let lists = |pem| roots(authority.root()).revocation_list(pem);
    assert_eq!(kind(lists(nothing())), TlsErrorKind::NoRevocationList);
    assert_eq!(
        kind(lists(section("X509 CRL", "AAAA"))),
        TlsErrorKind::RevocationList
    );
    let unused = good().revocation_list(authority.revoke(&[]));
    assert_eq!(kind(unused), TlsErrorKind::UnusedRevocationList);
}

#[test]
fn errors_name_the_file_and_the_cause() {
    let issued = Authority::new("root").issue(&["a.test"], 1);
    let error = Tls::builder()
        .certificate(Pem::file("/nowhere/chain.pem"), issued.pems().1)
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/chain.pem: the file cannot be read: ")
    );
    let source = error
        .source()
        .unwrap()
        .downcast_ref::<std::io::Error>()
        .unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    let (chain, key) = issued.pems();
    let error = Tls::builder()
        .named_certificate("b.test", chain, key)
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the certificate is not valid for the server name (\"b.test\"): "),
        "{text}"
    );
}

#[test]
fn settings_show_no_keys() {
    let issued = Authority::new("root").issue(&["a.test"], 1);
    let tls = Tls::from_pem(&issued.chain, &issued.key).unwrap();
    let text = format!("{tls:?}");
    assert!(text.contains("chain: Bytes("), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
}
