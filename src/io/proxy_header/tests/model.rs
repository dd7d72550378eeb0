//! Headers at random, against a model.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// A header as its sender sees it.
#[derive(Clone, Debug)]
struct Model {
    addresses: Option<(Address, Address)>,
    tlvs: Vec<(u8, Vec<u8>)>,
    /// The place of the checksum among the TLVs.
    checksum: Option<usize>,
}

impl Model {
    /// The encoding, written down from the specification.
    fn encode(&self) -> Vec<u8> {
        let (family, mut block) = match &self.addresses {
            None => (0x00, Vec::new()),
            Some((Address::Ip(source), Address::Ip(destination))) => {
                let octets = |address: &SocketAddr| match address.ip() {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                let ports = [
                    source.port().to_be_bytes(),
                    destination.port().to_be_bytes(),
                ];
                let family = if source.is_ipv4() { 0x11 } else { 0x21 };
                (
                    family,
                    [octets(source), octets(destination), ports.concat()].concat(),
                )
            }
            Some(pair) => {
                let field = |address: &Address| {
                    let mut field = match address {
                        Address::Unix(Some(path)) => path.to_str().unwrap().as_bytes().to_vec(),
                        Address::Abstract(name) => [b"\0", &name[..]].concat(),
                        _ => Vec::new(),
                    };
                    field.resize(108, 0);
                    field
                };
                (0x31, [field(&pair.0), field(&pair.1)].concat())
            }
        };
        let mut position = None;
        for (index, (kind, value)) in self.tlvs.iter().enumerate() {
            if self.checksum == Some(index) {
                block.extend(b"\x03\0\x04....");
                position = Some(16 + block.len() - 4);
            }
            block.extend(encoded(&[(*kind, value)]));
        }
        let mut header = v2(0x21, family, &block);
        if let Some(position) = position {
            seal(&mut header, position);
        }
        header
    }
}

fn ip_pair() -> impl Strategy<Value = (Address, Address)> {
    let pair = |(a, b): (SocketAddr, SocketAddr)| (Address::Ip(a), Address::Ip(b));
    let v4 = || any::<([u8; 4], u16)>().prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into());
    let v6 = || any::<([u8; 16], u16)>().prop_map(|(ip, port)| (Ipv6Addr::from(ip), port).into());
    prop_oneof![(v4(), v4()).prop_map(pair), (v6(), v6()).prop_map(pair)]
}

fn unix_address() -> impl Strategy<Value = Address> {
    let name = proptest::collection::vec(any::<u8>(), 1..=107).prop_map(|mut name| {
        name.push(1);
        name.truncate(107);
        *name.last_mut().unwrap() |= 1;
        Address::Abstract(name.into())
    });
    prop_oneof![
        Just(Address::Unix(None)),
        "[a-z/]{1,108}".prop_map(|text| path(&text)),
        name
    ]
}

fn addresses() -> impl Strategy<Value = Option<(Address, Address)>> {
    prop_oneof![
        Just(None),
        ip_pair().prop_map(Some),
        (unix_address(), unix_address()).prop_map(Some),
    ]
}

/// TLVs of the types that may come more than once, then those that may not, in an order of their own.
fn model() -> impl Strategy<Value = Model> {
    let bytes = |most: usize| proptest::collection::vec(any::<u8>(), 0..=most);
    let custom = proptest::collection::vec((0xE0..=0xFF_u8, bytes(40)), 0..4);
    let tls = (any::<[u8; 5]>(), "[ -~]{0,9}")
        .prop_map(|(head, version)| [&head[..], &encoded(&[(0x21, version.as_bytes())])].concat());
    let known = (bytes(9), ".{0,9}", bytes(128), tls, "[a-z]{0,9}").prop_map(|known| {
        vec![
            (1, known.0),
            (2, known.1.into_bytes()),
            (5, known.2),
            (0x20, known.3),
            (0x30, known.4.into_bytes()),
        ]
    });
    let known = known.prop_flat_map(|known| {
        let count = known.len();
        proptest::sample::subsequence(known, 0..=count).prop_shuffle()
    });
    let tlvs = (custom, known).prop_map(|(custom, known)| [custom, known].concat());
    (addresses(), tlvs, proptest::option::of(0..6_usize)).prop_map(|(addresses, tlvs, checksum)| {
        let checksum = checksum.filter(|&place| place < tlvs.len());
        Model {
            addresses,
            tlvs,
            checksum,
        }
    })
}

/// A line that an older and simpler parser reads: all of it at once, with the standard library.
fn read_line(line: &str) -> Option<Option<(SocketAddr, SocketAddr)>> {
    let text = line
        .strip_suffix("\r\n")
        .filter(|text| text.len() <= 105 && !text.contains("\r\n"))?;
    let fields: Vec<&str> = text.split(' ').collect();
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| port.to_string() == text)
    };
    match &fields[..] {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", family, source, destination, from, to] => {
            let ip = |text: &str| match *family {
                "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                _ => None,
            };
            let source = SocketAddr::new(ip(source)?, port(from)?);
            Some(Some((source, SocketAddr::new(ip(destination)?, port(to)?))))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // The same cases in every run.
        rng_seed: RngSeed::Fixed(0x5052_4F58),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn version_2_is_read_and_written_as_the_model_says(model in model(), rest in any::<[u8; 3]>()) {
        let input = model.encode();
        let (header, consumed) = parse(&[&input[..], &rest].concat()).unwrap();
        prop_assert_eq!(consumed, input.len());
        prop_assert_eq!(header.source(), model.addresses.as_ref().map(|pair| &pair.0));
        prop_assert_eq!(header.destination(), model.addresses.as_ref().map(|pair| &pair.1));
        let tlvs: Vec<_> = header.tlvs().map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(&tlvs, &model.tlvs);
        prop_assert_eq!(header.has_checksum(), model.checksum.is_some());

        let mut made = match model.addresses.clone() {
            Some((source, destination)) => ProxyHeader::new(source, destination).unwrap(),
            None => ProxyHeader::unknown(),
        };
        for (kind, value) in &model.tlvs {
            made.add_tlv(*kind, value).unwrap();
        }
        if model.checksum.is_some() {
            made.add_checksum().unwrap();
        }
        prop_assert_eq!(&made, &header);
        let mut output = Vec::new();
        made.encode_v2(&mut output);
        prop_assert_eq!(output.len(), input.len());
        if model.checksum.is_none() {
            prop_assert_eq!(output, input);
        }
        assert_writes_the_same(&header);
    }

    /// Also with bytes changed, taken away and added: whatever is read can be written.
    #[test]
    fn changed_headers_are_read_the_same_in_pieces(
        model in model(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut input = model.encode();
        for (position, byte, change) in changes {
            let position = position.index(input.len());
            match change {
                0 => input[position] = byte,
                1 => input.insert(position, byte),
                _ => drop(input.remove(position)),
            }
        }
        if let Ok((header, _)) = parse(&input) {
            assert_writes_the_same(&header);
        }
    }

    #[test]
    fn version_1_is_read_as_the_model_says(
        pair in ip_pair(),
        is_unknown in any::<bool>(),
        change in proptest::option::of((any::<prop::sample::Index>(), "[ -~\r\n]{0,2}")),
    ) {
        let header = ProxyHeader::new(pair.0, pair.1).unwrap();
        let mut line = Vec::new();
        header.encode_v1(&mut line);
        let mut line = String::from_utf8(line).unwrap();
        if is_unknown {
            line = line.replace("TCP4", "UNKNOWN").replace("TCP6", "UNKNOWN");
        }
        if let Some((position, text)) = change {
            let position = position.index(line.len());
            line.replace_range(position..position + 1, &text);
        }
        let end = line.find("\r\n").map_or(line.len(), |end| end + 2);
        let expected = read_line(&line[..end]);
        let read = parse(line.as_bytes()).ok().map(|(header, consumed)| {
            assert_eq!(consumed, end);
            assert_writes_the_same(&header);
            let ends = [header.source(), header.destination()];
            let [source, destination] = ends.map(|address| address.and_then(Address::socket_addr));
            source.zip(destination)
        });
        prop_assert_eq!(read, expected, "{:?}", line);
    }
}
