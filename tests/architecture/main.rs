//! Checks the architecture of `src/`: each folder stands on a floor, and imports only folders below it.
//!
//! `cargo test --test architecture -- --nocapture` prints the floors. A new import between two folders must be added to
//! [`plan::PLAN`], where a reviewer sees it.

mod documents;
mod plan;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plan::{PLAN, find, floor, is_internal};
use source::{RootPath, Source, read_all};

/// Highest number of lines of a file, not counting its tests.
const MAX_LINES: usize = 500;

/// The violations that a rule found, one sentence each.
type Violations = Vec<String>;

/// The names that `src/lib.rs` and the public modules export.
struct Exports {
    /// The folder that the crate's root re-exports a name from, by that name.
    at_root: BTreeMap<String, String>,
    /// The public items at the top level of each public module.
    in_modules: BTreeMap<String, BTreeSet<String>>,
}

#[test]
fn every_import_points_down() {
    let sources = sources();
    let exports = Exports::read(&sources);
    let violations: Violations = sources
        .iter()
        .flat_map(|source| check_imports(source, &exports))
        .collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// Keeps the plan honest: an arrow without an import in the code would mislead its readers.
#[test]
fn every_arrow_of_the_plan_is_in_the_code() {
    let sources = sources();
    let exports = Exports::read(&sources);
    for folder in PLAN {
        let mut imported = BTreeSet::new();
        for source in sources
            .iter()
            .filter(|source| source.folder() == folder.name)
        {
            let paths = source.root_paths();
            imported.extend(paths.iter().filter_map(|path| exports.folder_of(path)));
        }
        for import in folder.imports {
            assert!(
                imported.contains(*import),
                "{} does not import {import}: remove the arrow from the plan",
                folder.name
            );
        }
    }
}

#[test]
fn every_folder_begins_with_a_sentence_about_it() {
    let sources = sources();
    let violations: Violations = sources.iter().filter_map(check_first_sentence).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let sources = sources();
    let violations: Violations = sources.iter().filter_map(check_length).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_folder_has_a_floor() {
    let sources = sources();
    let folders: BTreeSet<&str> = sources.iter().map(Source::folder).collect();
    for folder in folders.into_iter().filter(|folder| *folder != "lib") {
        assert!(find(folder).is_some(), "{folder} is not in the plan");
    }
    let highest = PLAN.iter().map(|folder| floor(folder.name)).max();
    for level in (0..=highest.expect("the plan has folders")).rev() {
        println!();
        for folder in PLAN.iter().filter(|folder| floor(folder.name) == level) {
            println!(
                "{level:2}  {:11} {}",
                folder.name,
                summary(&sources, folder.name)
            );
        }
    }
}

/// Plants faults, because a check that never fails proves nothing.
#[test]
fn planted_faults_are_found() {
    let exports = Exports::read(&sources());
    let faults = [
        (
            "wheel/mod.rs",
            "use crate::server::Server;\n",
            "wheel must not import server",
        ),
        (
            "connection/gate.rs",
            "fn f() { crate::reactor::g() }\n",
            "must not import reactor",
        ),
        (
            "io/mod.rs",
            "use crate::{\n    Address,\n    shared::task::Task,\n};\n",
            "io must not import shared",
        ),
        (
            "panics.rs",
            "use super::accept::spare::Spare;\n",
            "must not import accept",
        ),
        (
            "protocol/lines.rs",
            "use super::super::Handler;\n",
            "must not import handler",
        ),
        (
            "shared/mod.rs",
            "use crate::Nothing;\n",
            "knows no crate::Nothing",
        ),
        (
            "websocket/conn.rs",
            "use crate::io::output::Writer;\n",
            "is not public",
        ),
        (
            "websocket/conn.rs",
            "use crate::protocol::raw::RawDecoder;\n",
            "is not public",
        ),
        (
            "newcomer/mod.rs",
            "use crate::Address;\n",
            "newcomer is not in the plan",
        ),
    ];
    for (path, text, expected) in faults {
        let violations = check_imports(&Source::new(path, text), &exports);
        let [violation] = &violations[..] else {
            panic!("{path}: {text}: {violations:?}");
        };
        assert!(violation.contains(expected), "{violation}");
    }
}

#[test]
fn imports_that_the_plan_allows_pass() {
    let exports = Exports::read(&sources());
    let faultless = [
        ("server/mod.rs", "use crate::{Address, wheel::TickClock};\n"),
        (
            "wheel/mod.rs",
            "//! As [`crate::server`].\n// use crate::server::Server;\n",
        ),
        (
            "wheel/mod.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::server::Server;\n}\n",
        ),
        ("protocol/lines.rs", "use super::Protocol;\n"),
        (
            "websocket/conn.rs",
            "use crate::protocol::{Decode, Encode};\nuse crate::Conn;\n",
        ),
    ];
    for (path, text) in faultless {
        assert_eq!(check_imports(&Source::new(path, text), &exports), [""; 0]);
    }
}

#[test]
fn planted_long_files_and_undocumented_folders_are_found() {
    let long = "fn f() {}\n".repeat(MAX_LINES + 1);
    assert!(check_length(&Source::new("io/long.rs", &long)).is_some());
    let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n    {long}}}\n");
    assert_eq!(check_length(&Source::new("io/tested.rs", &tests)), None);
    assert!(check_first_sentence(&Source::new("io/mod.rs", "mod output;\n")).is_some());
    assert!(check_first_sentence(&Source::new("io/mod.rs", "//! Bytes\n")).is_some());
}

fn sources() -> Vec<Source> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Checks that a file imports only folders that the plan allows.
fn check_imports(source: &Source, exports: &Exports) -> Violations {
    if source.folder() == "lib" {
        return Violations::new();
    }
    let Some(folder) = find(source.folder()) else {
        return vec![format!("{} is not in the plan", source.folder())];
    };
    let check = |path: RootPath| {
        let at = format!("{}:{}", source.path, path.line);
        let Some(target) = exports.folder_of(&path) else {
            let name = path.segments.join("::");
            return Some(format!("{at}: the plan knows no crate::{name}"));
        };
        if target != folder.name && !folder.imports.contains(&target.as_str()) {
            return Some(format!("{at}: {} must not import {target}", folder.name));
        }
        if folder.public_only && is_internal(&target) && !exports.is_public(&path) {
            let name = path.segments.join("::");
            return Some(format!("{at}: crate::{name} is not public"));
        }
        None
    };
    source.root_paths().into_iter().filter_map(check).collect()
}

/// Checks that a `mod.rs` begins with a sentence of documentation.
fn check_first_sentence(source: &Source) -> Option<String> {
    let is_folder = source.path.ends_with("mod.rs") || !source.path.contains('/');
    let is_silent = || source.first_sentence().is_none();
    (is_folder && source.folder() != "lib" && is_silent())
        .then(|| format!("{} does not begin with a sentence in `//!`", source.path))
}

fn check_length(source: &Source) -> Option<String> {
    let lines = source.product_lines().len();
    (lines > MAX_LINES).then(|| format!("{} has {lines} lines without its tests", source.path))
}

/// The first sentence of a folder's documentation.
fn summary(sources: &[Source], folder: &str) -> String {
    let paths = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
    let source = sources.iter().find(|source| paths.contains(&source.path));
    source.and_then(Source::first_sentence).unwrap_or_default()
}

impl Exports {
    fn read(sources: &[Source]) -> Self {
        let text_of = |path: &str| sources.iter().find(|source| source.path == path);
        let root = text_of("lib.rs").expect("src/lib.rs exists");
        let mut exports = Exports {
            at_root: BTreeMap::new(),
            in_modules: BTreeMap::new(),
        };
        for (folder, name) in root.public_uses() {
            exports.at_root.insert(name, folder);
        }
        for module in root.public_items() {
            if let Some(source) = text_of(&format!("{module}/mod.rs")) {
                let uses = source.public_uses().into_iter().map(|(_, name)| name);
                let items = source.public_items().into_iter().chain(uses).collect();
                exports.in_modules.insert(module, items);
            }
        }
        exports
    }

    /// The folder from which a path imports; `None` if the root has no such name.
    fn folder_of(&self, path: &RootPath) -> Option<String> {
        let first = &path.segments[0];
        match find(first) {
            Some(folder) => Some(folder.name.to_owned()),
            None => self.at_root.get(first).cloned(),
        }
    }

    fn is_public(&self, path: &RootPath) -> bool {
        match &path.segments[..] {
            [module, item, ..] => self
                .in_modules
                .get(module)
                .is_some_and(|items| items.contains(item)),
            [name] => self.at_root.contains_key(name),
            [] => false,
        }
    }
}
