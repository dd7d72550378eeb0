use proptest::prelude::*;

use super::*;

/// An extension as it was read: its name, and names and values of its parameters.
type Read = (String, Vec<(String, Option<String>)>);

/// The elements of a value, if it has the right form.
fn read(value: &str) -> Result<Vec<Read>, MalformedExtensionsError> {
    Extensions::of(value)
        .map(|element| {
            let element = element?;
            let parameters = element
                .parameters()
                .map(|(name, value)| (name.to_owned(), value.map(Cow::into_owned)));
            Ok((element.name.to_owned(), parameters.collect()))
        })
        .collect()
}

fn extension(name: &str, parameters: &[(&str, Option<&str>)]) -> Read {
    let parameters = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
    (name.to_owned(), parameters.collect())
}

#[test]
fn rfc_6455_section_9_1_lists_of_extensions() {
    let foo = extension("foo", &[]);
    let with = |value| extension("foo", &[("a", Some(value))]);
    for (value, expected) in [
        ("", vec![]),
        (" \t", vec![]),
        (",", vec![]),
        (" , ,, ", vec![]),
        ("foo", vec![foo.clone()]),
        (" foo\t", vec![foo.clone()]),
        (",foo, ,", vec![foo.clone()]),
        ("foo, foo", vec![foo.clone(), foo.clone()]),
        ("foo,bar;x", vec![foo, extension("bar", &[("x", None)])]),
        ("foo;a=1", vec![with("1")]),
        ("foo ; a = 1 ", vec![with("1")]),
        ("foo;a=\"1\"", vec![with("1")]),
        ("foo;\ta=\"\\1\"\t,", vec![with("1")]),
        ("foo;a=\"x\\y\\z\"", vec![with("xyz")]),
        (
            "foo;a;a=1;A;b=!#$%&'*+-.^_`|~",
            vec![extension(
                "foo",
                &[
                    ("a", None),
                    ("a", Some("1")),
                    ("A", None),
                    ("b", Some("!#$%&'*+-.^_`|~")),
                ],
            )],
        ),
    ] {
        assert_eq!(read(value), Ok(expected), "{value:?}");
    }
}

#[test]
fn values_that_break_the_grammar_are_malformed() {
    for value in [
        ";",
        "=",
        "\"foo\"",
        "foo;",
        "foo; ",
        "foo;;a",
        "foo;,bar",
        "foo; ;a",
        "foo;=1",
        "foo=1",
        "foo;a=",
        "foo;a= ,bar",
        "foo;a==1",
        "foo;a=1=2",
        "foo;a=1 2",
        "foo bar",
        "foo;a b",
        "foo/1",
        "foo;a=(1)",
        "foo;a='1'@",
        "foo;a=\"",
        "foo;a=\"1",
        "foo;a=\"1\\",
        "foo;a=\"1\\\"",
        "foo;a=\"\"",
        "foo;a=\" 1\"",
        "foo;a=\"1 \"",
        "foo;a=\"1,2\"",
        "foo;a=\"1;2\"",
        "foo;a=\"\\\"\"",
        "foo;a=\"\\\\\"",
        "foo;a=\"1\"2",
        "foo;a=\"1\" \"2\"",
        "foo;a=1\"2\"",
        "foo;\"a\"=1",
        "foo;a=\"caf\u{e9}\"",
        "caf\u{e9}",
        "foo\u{a0}",
        "foo\u{b}",
        "foo\0",
    ] {
        assert_eq!(read(value), Err(MalformedExtensionsError), "{value:?}");
        // Nothing behind the fault is taken for an extension.
        let more = format!("bar, {value}, baz");
        let elements: Vec<_> = Extensions::of(&more).collect();
        assert_eq!(
            elements.last(),
            Some(&Err(MalformedExtensionsError)),
            "{more:?}"
        );
    }
}

#[test]
fn a_list_may_span_fields_and_a_quoted_value_may_not() {
    let read = |values: &[&'static [u8]]| {
        let elements = Extensions::of_all(values.iter().copied());
        let names: Result<Vec<_>, _> = elements
            .map(|element| element.map(|element| element.name))
            .collect();
        names
    };
    assert_eq!(read(&[]), Ok(vec![]));
    assert_eq!(read(&[b"a;b=1, c", b"", b"d"]), Ok(vec!["a", "c", "d"]));
    assert!(read(&[b"a;b=\"1", b"2\""]).is_err());
    assert!(read(&[b"a;b=", b"c"]).is_err());
    assert!(read(&[b"a", b"caf\xe9", b"b"]).is_err());
}

/// A text that the grammar has, and its meaning.
fn list() -> impl Strategy<Value = (String, Vec<Read>)> {
    let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,6}";
    let space = "[ \t]{0,2}";
    let value = (token, 0..3u8, space).prop_map(|(token, form, space)| {
        let text = match form {
            0 => token.clone(),
            1 => format!("\"{token}\""),
            _ => format!(
                "\"\\{}\"",
                token
                    .chars()
                    .map(String::from)
                    .collect::<Vec<_>>()
                    .join("\\")
            ),
        };
        (format!("={space}{text}{space}"), Some(token))
    });
    let value = prop_oneof![Just((String::new(), None)), value];
    let parameter =
        (space, token, space, value).prop_map(|(before, name, after, (text, value))| {
            (format!(";{before}{name}{after}{text}"), (name, value))
        });
    let element = (token, space, prop::collection::vec(parameter, 0..4)).prop_map(
        |(name, space, parameters)| {
            let (texts, parameters): (Vec<_>, Vec<_>) = parameters.into_iter().unzip();
            (
                format!("{name}{space}{}", texts.concat()),
                (name, parameters),
            )
        },
    );
    let comma = "[ \t]{0,2}(,[ \t]{0,2}){1,3}";
    let edge = "[ \t,]{0,3}";
    (edge, prop::collection::vec((element, comma), 0..4)).prop_map(|(edge, elements)| {
        let (texts, meaning): (Vec<_>, Vec<_>) = elements
            .into_iter()
            .map(|((text, meaning), comma)| (text + &comma, meaning))
            .unzip();
        (edge + &texts.concat(), meaning)
    })
}

proptest! {
    #[test]
    fn what_the_grammar_has_is_read_as_it_is_meant((text, meaning) in list()) {
        prop_assert_eq!(read(&text), Ok(meaning));
    }

    /// Reading is unambiguous: what was read, written in the plainest way, is read as the same.
    #[test]
    fn what_is_read_is_in_the_grammar(text in "[a,;=\" \\\\\t1\u{e9}\0]{0,12}") {
        if let Ok(elements) = read(&text) {
            let plain: Vec<_> = elements.iter().map(|(name, parameters)| {
                let parameters = parameters.iter().map(|(name, value)| match value {
                    Some(value) => format!(";{name}={value}"),
                    None => format!(";{name}"),
                });
                name.clone() + &parameters.collect::<String>()
            }).collect();
            let is_plain = |byte| is_token_byte(byte) || b";=".contains(&byte);
            prop_assert!(plain.iter().all(|element| element.bytes().all(is_plain)));
            prop_assert_eq!(read(&plain.join(",")), Ok(elements));
        }
    }
}
