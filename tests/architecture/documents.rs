//! Checks the documents: the files, functions and tests that they name must exist.

use std::fs;
use std::path::Path;

use super::source::{Source, read_with_tests};
use super::sources;

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/ARCHITECTURE.md",
    "docs/FIGURES.md",
    "docs/RELIABILITY.md",
];

#[test]
fn documents_name_files_that_are_there() {
    for document in DOCUMENTS {
        for name in names_in(&read(document)) {
            assert!(
                !is_path(&name) || exists(&name),
                "{document}: there is no {name}"
            );
        }
    }
}

#[test]
fn the_architecture_names_functions_that_are_there() {
    let sources = sources();
    for name in names_in(&read("docs/ARCHITECTURE.md")) {
        if !is_function(&name) {
            continue;
        }
        let begins = [format!("fn {name}("), format!("fn {name}<")];
        let is_there = sources
            .iter()
            .any(|source| begins.iter().any(|begin| source.text.contains(begin)));
        assert!(is_there, "there is no function {name}");
    }
}

#[test]
fn the_tests_that_show_reliability_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = read_with_tests(&root.join("tests"));
    sources.extend(read_with_tests(&root.join("src")));
    for name in names_in(&read("docs/RELIABILITY.md")) {
        assert!(
            !is_test(&name) || has_test(&sources, &name),
            "there is no test {name}"
        );
    }
}

#[test]
fn a_test_that_is_missing_is_found() {
    let source = Source::new("faults/resets.rs", "fn storms_are_survived() {}");
    let sources = [source];
    for name in [
        "resets::storms_are_survived",
        "resets::storms_*",
        "resets::*",
    ] {
        assert!(has_test(&sources, name));
    }
    assert!(!has_test(&sources, "resets::storms") && !has_test(&sources, "storms::*"));
    assert!(is_test("resets::storms_are_survived") && is_test("resets::*"));
    assert!(!is_test("u16::MAX") && !is_test("websocket::Deflate") && !is_test("a_word"));
}

#[test]
fn a_file_that_is_missing_is_found() {
    assert!(is_path("reactor/flush.rs") && exists("reactor/flush.rs"));
    assert!(is_path("reactor/settle.rs") && !exists("reactor/settle.rs"));
    assert!(is_path("io/") && exists("io/"));
    assert!(is_path("tests/nowhere/") && !exists("tests/nowhere/"));
    assert!(!is_path("Handler::on_open") && !is_path("text/html; charset=utf-8"));
    assert!(is_function("fire_timers") && !is_function("Conn"));
}

fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    fs::read_to_string(path).expect("the document is there")
}

/// The texts between backticks on one line, outside of code blocks.
fn names_in(document: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_code = false;
    for line in document.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            names.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

/// True for a file with a folder before it, or a folder with a slash behind it.
fn is_path(name: &str) -> bool {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    is_plain && name.contains('/') && (name.ends_with(".rs") || name.ends_with('/'))
}

fn exists(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("src").join(name).exists() || root.join(name).exists()
}

/// True for the path of a test, or of a module of tests with `*` behind it.
fn is_test(name: &str) -> bool {
    let is_lower =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:*".contains(&byte);
    name.contains("::") && name.bytes().all(is_lower)
}

/// True if a file has a test with this name, or if the last part of the path is a module. `*` stands for all tests of a module, or for
/// the end of a test's name.
fn has_test(sources: &[Source], name: &str) -> bool {
    let (path, last) = name.rsplit_once("::").unwrap_or(("", name));
    let module = match last {
        "*" => path.rsplit("::").next().unwrap_or(path),
        _ => last,
    };
    let function = match last.strip_suffix('*') {
        Some(begin) => format!("fn {begin}"),
        None => format!("fn {last}("),
    };
    sources.iter().any(|source| {
        (last != "*" && source.text.contains(&function))
            || source.path.ends_with(&format!("/{module}.rs"))
            || source.path.contains(&format!("/{module}/"))
    })
}

/// True for a lower-case name that no folder, crate or peer has: a function, by the manners of the documents.
fn is_function(name: &str) -> bool {
    name.contains('_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
