use std::sync::Arc;

use super::super::Tls;
use super::support::*;
use rustls::AlertDescription;

/// The certificate that a client gets that asks for `name`, and the server's view of the name.
fn certificate_for(tls: &Tls, authority: &Authority, name: &str) -> Vec<u8> {
    let config = Arc::new(authority.client_config(&rustls::version::TLS13, None));
    let (server, client) = connect(tls, client(&config, name));
    let session = server.seal.as_ref().unwrap().tls().unwrap();
    let lower = name.to_lowercase();
    let expected = lower
        .parse::<std::net::IpAddr>()
        .is_err()
        .then_some(lower.as_str());
    assert_eq!(session.server_name(), expected);
    client.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn the_server_name_picks_the_certificate() {
    let authority = Authority::new("root");
    let default = authority.issue(
        &[
            "default.test",
            "b.c.example.org",
            "127.0.0.1",
            "example.org",
        ],
        1,
    );
    let exact = authority.issue(&["a.example.org"], 2);
    let wildcard = authority.issue(&["*.example.org"], 3);
    let pems = [default.pems(), exact.pems(), wildcard.pems()];
    let [default_pems, exact_pems, wildcard_pems] = pems;
    let tls = Tls::builder()
        .certificate(default_pems.0, default_pems.1)
        .named_certificate("A.Example.org", exact_pems.0, exact_pems.1)
        .named_certificate("*.example.org", wildcard_pems.0, wildcard_pems.1)
        .build()
        .unwrap();
    for (name, expected) in [
        ("a.example.org", &exact),
        ("A.EXAMPLE.ORG", &exact),
        ("b.example.org", &wildcard),
        // The asterisk stands for one label.
        ("b.c.example.org", &default),
        ("example.org", &default),
        ("default.test", &default),
        ("127.0.0.1", &default),
    ] {
        let got = certificate_for(&tls, &authority, name);
        assert!(got == expected.der.to_vec(), "{name}");
    }
}

#[test]
fn without_a_default_an_unknown_name_is_refused() {
    let authority = Authority::new("root");
    let (chain, key) = authority.issue(&["a.example.org"], 2).pems();
    let tls = Tls::builder()
        .named_certificate("a.example.org", chain, key)
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(authority.client_config(version, None));
        connect(&tls, client(&config, "a.example.org"));
        let mut server = Connection::new(&tls);
        let mut client = client(&config, "b.example.org");
        assert!(matches!(
            talk(&mut server, &mut client),
            Err(Failure::Server(_))
        ));
        assert!(client.process_new_packets().is_err());
    }
}

#[test]
fn the_first_protocol_of_the_server_that_the_client_speaks_is_taken() {
    let authority = Authority::new("root");
    let tls = authority
        .builder()
        .alpn(["mqtt", "http/1.1"])
        .build()
        .unwrap();
    for version in VERSIONS {
        let mut config = authority.client_config(version, None);
        let (server, _) = connect(&tls, client(&Arc::new(config.clone()), "a.test"));
        assert_eq!(server.seal.unwrap().tls().unwrap().alpn(), None);

        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"mqtt".to_vec()];
        let (server, agreed) = connect(&tls, client(&Arc::new(config.clone()), "a.test"));
        assert_eq!(
            server.seal.unwrap().tls().unwrap().alpn(),
            Some(&b"mqtt"[..])
        );
        assert_eq!(agreed.alpn_protocol(), Some(&b"mqtt"[..]));

        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut server = Connection::new(&tls);
        let mut client = client(&Arc::new(config), "a.test");
        assert!(matches!(
            talk(&mut server, &mut client),
            Err(Failure::Server(_))
        ));
        let error = client.process_new_packets().unwrap_err();
        let expected = AlertDescription::NoApplicationProtocol;
        assert_eq!(error, rustls::Error::AlertReceived(expected));
    }
}
