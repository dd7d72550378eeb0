//! The floor plan: the folders of `src/`, and the imports between them that are allowed and exist.

/// One folder of `src/` (or one file at its top level), and the folders that it imports.
pub(crate) struct Folder {
    pub(crate) name: &'static str,
    pub(crate) imports: &'static [&'static str],
    /// True if the folder may use only the public interface, like a protocol in another crate: from the folders in
    /// [`INTERNAL`] it may import only what `src/lib.rs` exports.
    pub(crate) public_only: bool,
}

const fn folder(name: &'static str, imports: &'static [&'static str]) -> Folder {
    Folder {
        name,
        imports,
        public_only: false,
    }
}

const fn on_public_items(name: &'static str, imports: &'static [&'static str]) -> Folder {
    Folder {
        name,
        imports,
        public_only: true,
    }
}

/// Every folder of `src/`, from the bottom up.
#[rustfmt::skip]
pub(crate) const PLAN: &[Folder] = &[
    folder("panics", &[]),
    folder("wheel", &[]),
    folder("io", &[]),
    folder("shared", &["panics", "io"]),
    on_public_items("http", &["io"]),
    folder("protocol", &["io"]),
    folder("accept", &["panics", "io", "shared"]),
    folder("connection", &["wheel", "io", "shared", "protocol"]),
    folder("handler", &["panics", "io", "shared", "protocol", "connection"]),
    on_public_items("websocket", &["io", "http", "protocol", "connection", "handler"]),
    folder("service", &["panics", "io", "shared", "protocol", "connection", "handler"]),
    folder("reactor", &["panics", "wheel", "io", "shared", "connection", "handler", "service"]),
    folder("opening", &["panics", "wheel", "io", "shared", "accept"]),
    folder("event_loop", &["panics", "io", "shared", "accept", "opening", "connection", "reactor"]),
    folder("server", &["panics", "wheel", "io", "shared", "protocol", "accept", "opening", "connection", "handler", "service", "reactor", "event_loop"]),
];

/// True for folders whose items are internal unless `src/lib.rs` exports them: all folders except the `public_only`
/// ones.
pub(crate) fn is_internal(name: &str) -> bool {
    PLAN.iter()
        .any(|folder| folder.name == name && !folder.public_only)
}

pub(crate) fn find(name: &str) -> Option<&'static Folder> {
    PLAN.iter().find(|folder| folder.name == name)
}

/// The floor of a folder: one above the highest folder that it imports.
///
/// # Panics
/// If the plan has a cycle, or a folder imports one that the plan does not list.
pub(crate) fn floor(name: &str) -> usize {
    floor_within(name, PLAN.len())
}

fn floor_within(name: &str, floors: usize) -> usize {
    assert!(floors > 0, "the plan has a cycle through {name}");
    let folder = find(name).unwrap_or_else(|| panic!("the plan has no folder {name}"));
    let below = folder.imports.iter();
    below
        .map(|import| floor_within(import, floors - 1) + 1)
        .max()
        .unwrap_or(0)
}
