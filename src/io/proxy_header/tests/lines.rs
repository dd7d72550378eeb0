//! Version 1, by the sections of the specification.

use super::*;

#[test]
fn section_2_1_lines_of_version_1() {
    for (line, addresses) in [
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443",
            Some(("192.168.0.1:56324", "192.168.0.11:443")),
        ),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535",
            Some(("0.0.0.0:0", "255.255.255.255:65535")),
        ),
        (
            "PROXY TCP6 ::1 2001:DB8::f 1 2",
            Some(("[::1]:1", "[2001:db8::f]:2")),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 0000:0000:0000:0000:0000:0000:0000:0000 65535 65535",
            Some((
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[::]:65535",
            )),
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 1:2:3:4:5:6:7:: 1 2",
            Some(("[::ffff:192.0.2.1]:1", "[1:2:3:4:5:6:7:0]:2")),
        ),
        ("PROXY UNKNOWN", None),
        ("PROXY UNKNOWN ", None),
        ("PROXY UNKNOWN \r \n\0\u{e9} TCP4", None),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            None,
        ),
    ] {
        let header = whole(format!("{line}\r\n").as_bytes());
        assert_eq!(header.version(), ProxyVersion::V1);
        assert_eq!(
            header.source().cloned(),
            addresses.map(|pair| tcp(pair.0)),
            "{line}"
        );
        assert_eq!(
            header.destination().cloned(),
            addresses.map(|pair| tcp(pair.1))
        );
        assert!(!header.is_local() && !header.has_checksum() && header.tlvs().next().is_none());
        assert_writes_the_same(&header);
    }
}

/// Each line ends with the byte that is wrong.
#[test]
fn section_2_1_wrong_lines_are_refused_at_the_first_wrong_byte() {
    for line in [
        "PROXY T4",
        "PROXY TCP5",
        "PROXY TCP4\r",
        "PROXY t",
        "PROXY  ",
        "PROXY TCP ",
        "PROXY U ",
        "PROXY UNKNOWNS",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\r ",
        "PROXY UNKNOWN\r\r",
        "PROXY TCP4  ",
        "PROXY TCP4 \t",
        "PROXY TCP4 1.2.3 ",
        "PROXY TCP4 1.2.3.4.",
        "PROXY TCP4 1.2.3.4\r",
        "PROXY TCP4 01",
        "PROXY TCP4 1.2.3.04",
        "PROXY TCP4 256",
        "PROXY TCP4 1..",
        "PROXY TCP4 .",
        "PROXY TCP4 :",
        "PROXY TCP4 1.2.3.4 1.2.3.4 ,",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536",
        "PROXY TCP4 1.2.3.4 1.2.3.4 100000",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r",
        "PROXY TCP4 1.2.3.4 1.2.3.4  ",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r",
        "PROXY TCP4 1.2.3.4 :",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\0",
        "PROXY TCP4 1.2.3.4 1.2.3.4 \u{661}",
        "PROXY TCP6 1.",
        "PROXY TCP6 ::1::",
        "PROXY TCP6 :::",
        "PROXY TCP6 12345",
        "PROXY TCP6 g",
        "PROXY TCP6 [",
        "PROXY TCP6 fe80::1%",
        "PROXY TCP6 1:2:3:4:5:6:7 ",
        "PROXY TCP6 1:2:3:4:5:6:7:8:",
        "PROXY TCP6 :1",
        "PROXY TCP6 ::1 ::ffff:1.2.3.256",
        "PROXY TCP6 ::1 1:2:3:4:5:6:7::8",
    ] {
        let line = line.as_bytes();
        // A letter beyond ASCII has two bytes, of which the first is wrong.
        let line = &line[..line.len() - line.iter().filter(|&&byte| byte > 0xBF).count()];
        let position = line.len() - 1;
        assert_eq!(
            error_at_end(line),
            Error::Line { position },
            "{}",
            line.escape_ascii()
        );
        // The same if the line is whole, or goes on.
        for rest in [&b"\r\n"[..], b" 1.1.1.1 1.1.1.1 1 1\r\n"] {
            let whole = [line, rest].concat();
            assert_eq!(error(&whole), Error::Line { position });
            assert_eq!(ProxyHeader::parse(&whole), Err(Error::Line { position }));
        }
    }
}

#[test]
fn section_2_1_a_line_has_at_most_107_bytes() {
    let line =
        |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
    assert_eq!(whole(&line(107)).source(), None);
    let limit = Error::LineTooLong { limit: 107 };
    assert_eq!(error_at_end(&line(108)[..106]), limit);
    assert_eq!(error(&line(1000)), limit);
    assert_eq!(ProxyHeader::parse(&line(108)), Err(limit));
    let cr = [&line(108)[..105], b"\r\r"].concat();
    assert_eq!(error_at_end(&cr), limit);
    let long = "PROXY TCP6 0000:0000:0000:0000:0000:ffff:255.255.255.255 0000:0000:0000:0000:0000:ffff:255.255.255.255";
    assert_eq!(error(format!("{long} 65535 65535\r\n").as_bytes()), limit);
}
