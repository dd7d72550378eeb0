//! The documents, checked: the files and functions that they name are there.

use std::fs;
use std::path::Path;

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

/// True for a lower-case name that no folder, crate or peer has: a function, by the manners of the documents.
fn is_function(name: &str) -> bool {
    name.contains('_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
