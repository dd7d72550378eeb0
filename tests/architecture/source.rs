//! Reads source files for the rules: their code without comments and tests, and the paths in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of Rust.
pub(crate) struct Source {
    /// The path below the folder that was read, with `/` as the separator.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A path in the code that starts at the crate's root: `crate::a::b`, or `super::a` at the top of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RootPath {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

/// Reads all files below `src/`, except those that only test builds compile.
pub(crate) fn read_all(src: &Path) -> Vec<Source> {
    let mut sources = read_with_tests(src);
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    sources.retain(|source| {
        let is_test = |module: &String| {
            source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
        };
        !tests.iter().any(is_test)
    });
    sources
}

/// Reads all files below a folder, with their paths below it.
pub(crate) fn read_with_tests(folder: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(folder, &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| Source {
            path: below(folder, path),
            text: fs::read_to_string(path).expect("a source file is text"),
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn below(folder: &Path, path: &Path) -> String {
    let path = path
        .strip_prefix(folder)
        .expect("the path is below the folder");
    path.to_string_lossy().replace('\\', "/")
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The folder at the top level of `src/` that contains the file, or the name of a file at the top level.
    pub(crate) fn folder(&self) -> &str {
        let (top, _) = self.path.split_once('/').unwrap_or((&self.path, ""));
        top.strip_suffix(".rs").unwrap_or(top)
    }

    /// The folders and the file name that lead to this module, without `mod`. Their number is the module's depth.
    fn module(&self) -> Vec<&str> {
        let path = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        path.split('/')
            .filter(|part| !matches!(*part, "mod" | "lib"))
            .collect()
    }

    /// The modules that the file declares for test builds only, as paths below `src/` without an extension.
    fn test_modules(&self) -> Vec<String> {
        let mut lines = self.text.lines();
        let mut modules = Vec::new();
        while let Some(line) = lines.next() {
            if !is_test_attribute(line) {
                continue;
            }
            let item = lines.next().unwrap_or_default().trim();
            if let Some(name) = item
                .strip_prefix("mod ")
                .and_then(|item| item.strip_suffix(';'))
            {
                let mut path = self.module();
                path.push(name);
                modules.push(path.join("/"));
            }
        }
        modules
    }

    /// The lines of code with their numbers, without the items that only test builds compile.
    pub(crate) fn product_lines(&self) -> Vec<(usize, &str)> {
        let mut product = Vec::new();
        let mut lines = (1..).zip(self.text.lines());
        while let Some((number, line)) = lines.next() {
            if !is_test_attribute(line) {
                product.push((number, line));
                continue;
            }
            let indent = indentation(line);
            let is_last = |line: &str| {
                indentation(line) == indent
                    && (line.trim_start().starts_with('}') || line.ends_with([';', ',']))
            };
            let _last = lines.by_ref().find(|(_, line)| is_last(line));
        }
        product
    }

    /// The first sentence of the documentation.
    pub(crate) fn first_sentence(&self) -> Option<String> {
        let lines = self.text.lines();
        let lines = lines.map_while(|line| line.strip_prefix("//! "));
        let text = lines.collect::<Vec<_>>().join(" ");
        let (sentence, _) = text
            .split_once(". ")
            .unwrap_or((text.strip_suffix('.')?, ""));
        Some(format!("{sentence}."))
    }

    /// The names of the public items at the top level of the file.
    pub(crate) fn public_items(&self) -> Vec<String> {
        let kinds = [
            "mod", "struct", "enum", "trait", "type", "fn", "const", "static",
        ];
        let name = |(_, line): (usize, &str)| {
            let item = line.strip_prefix("pub ")?;
            let (kind, rest) = item.split_once(' ')?;
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            kinds
                .contains(&kind)
                .then(|| rest[..end.unwrap_or(rest.len())].to_owned())
        };
        self.product_lines().into_iter().filter_map(name).collect()
    }

    /// The names that `pub use` exports at the top level of the file, each with the first segment of its path.
    pub(crate) fn public_uses(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        let code: Vec<&str> = self
            .product_lines()
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        for item in code.join("\n").split("\npub use ").skip(1) {
            let tree = item.split(';').next().unwrap_or(item);
            // An alias is the exported name.
            let (tree, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
            for path in expand(tree) {
                let last = path.last().cloned().unwrap_or_default();
                let name = if alias.is_empty() {
                    last
                } else {
                    alias.to_owned()
                };
                names.push((path[0].clone(), name));
            }
        }
        names
    }

    /// The paths in product code that start at the crate's root.
    pub(crate) fn root_paths(&self) -> Vec<RootPath> {
        let lines = self.product_lines();
        let code: Vec<&str> = lines
            .iter()
            .map(|(_, line)| without_comment(line))
            .collect();
        let code = code.join("\n");
        let line_at = |offset: usize| lines[code[..offset].matches('\n').count()].0;
        let mut paths = Vec::new();
        // At the top of a folder, `super` is the crate's root too.
        let depth = self.module().len();
        for to_root in ["crate::".to_owned(), "super::".repeat(depth)] {
            for (offset, _) in code.match_indices(&to_root) {
                let is_within = code[..offset].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if is_within || depth == 0 {
                    continue;
                }
                let tree = expand(&code[offset + to_root.len()..]);
                let line = line_at(offset);
                paths.extend(tree.into_iter().map(|segments| RootPath { line, segments }));
            }
        }
        paths
    }
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The line up to its comment. Two slashes in a string are also taken for a comment, which hides no import.
fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim_start();
    if let Some(group) = tree.strip_prefix('{') {
        return elements(group).into_iter().flat_map(expand).collect();
    }
    let end = tree
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'))
        .unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    if name.is_empty() {
        return Vec::new();
    }
    let below = rest.strip_prefix("::").map(expand).unwrap_or_default();
    if below.is_empty() {
        return vec![vec![name.to_owned()]];
    }
    let prefixed = |mut segments: Vec<String>| {
        segments.insert(0, name.to_owned());
        segments
    };
    below.into_iter().map(prefixed).collect()
}

/// The elements of a group up to its closing brace. The opening brace was removed by the caller.
fn elements(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                found.push(&group[start..offset]);
                start = offset + 1;
            }
            '}' if depth == 0 => {
                found.push(&group[start..offset]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}
