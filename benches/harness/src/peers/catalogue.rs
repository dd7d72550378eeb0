//! The catalogue of peers that come with the harness.

use std::fmt;

use super::options::ServerOptions;
use crate::load::Framing;

/// A server that comes with the harness.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// The name in a report; unique.
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// The language, which decides how it is built.
    pub language: Language,
    /// The framings that it supports; the first one is the default.
    pub framings: &'static [Framing],
    /// True if it uses bare system calls and serves as a reference for the others. A floor echoes bytes without parsing
    /// them, whatever the framing.
    pub is_floor: bool,
    /// True if it can run several event loops or threads.
    pub many_workers: bool,
    /// True if it can keep further timers running.
    pub timers: bool,
    /// Its support for TLS.
    pub tls: Tls,
    /// True if it needs a kernel that permits io_uring.
    pub io_uring: bool,
    /// The program: a binary of `ringwheel-peers`, the folder of a command in `go`, a target of the makefile, or a
    /// script.
    pub(super) program: &'static str,
    /// The arguments before the options that every peer has.
    pub(super) arguments: &'static [&'static str],
    /// The source of its version: a crate, a Go module, a module of pkg-config or a package of npm.
    pub(super) library: Option<&'static str>,
}

/// A peer's support for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It speaks plain TCP only.
    Never,
    /// It speaks TLS only.
    Always,
    /// It speaks TLS if it is started with a certificate.
    Either,
}

/// The language of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Built by cargo.
    Rust,
    /// Built by go.
    Go,
    /// Built by make and a C compiler.
    C,
    /// Built by make and a C++ compiler; cargo brings the sources of its library.
    Cpp,
    /// Run by Node; npm brings its library.
    JavaScript,
}

impl Language {
    /// Every language, in the order of building.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Go, Self::C, Self::Cpp, Self::JavaScript];

    /// True if it is compiled to machine code without its own runtime, so that callgrind can follow it.
    pub fn is_native(self) -> bool {
        matches!(self, Self::Rust | Self::C | Self::Cpp)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rust => "Rust",
            Self::Go => "Go",
            Self::C => "C",
            Self::Cpp => "C++",
            Self::JavaScript => "JavaScript",
        })
    }
}

/// Bytes alone.
const RAW: &[Framing] = &[Framing::Raw];
/// The framings of all TCP peers; floors treat them alike.
const TCP: &[Framing] = &[Framing::Raw, Framing::LengthPrefixed, Framing::Lines];
/// WebSocket without compression.
const WEBSOCKET: &[Framing] = &[Framing::WebSocket];
/// WebSocket with and without compression.
const DEFLATE: &[Framing] = &[Framing::WebSocket, Framing::WebSocketDeflate];

/// The peer called `name`.
pub fn find(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

impl Peer {
    /// True if the peer supports `options`.
    pub fn can(&self, options: &ServerOptions) -> bool {
        self.framings.contains(&options.framing)
            && (options.workers <= 1 || self.many_workers)
            && (options.timers == 0 || self.timers)
            && (!options.broadcast || options.framing == Framing::WebSocket)
            && match self.tls {
                Tls::Never => options.tls.is_none(),
                Tls::Always => options.tls.is_some(),
                Tls::Either => true,
            }
    }

    /// The default options, with the peer's default framing.
    pub fn plainest(&self) -> ServerOptions {
        ServerOptions::framed(self.framings[0])
    }

    /// True if callgrind can count its instructions. Under valgrind a thread that waits for io_uring does not end.
    pub fn under_callgrind(&self) -> bool {
        self.language.is_native() && !self.io_uring
    }
}

/// Defaults that most entries share.
const DEFAULTS: Peer = Peer {
    name: "",
    about: "",
    language: Language::Rust,
    framings: TCP,
    is_floor: false,
    many_workers: false,
    timers: false,
    tls: Tls::Never,
    io_uring: false,
    program: "",
    arguments: &[],
    library: None,
};

const RUST_TLS_FLOOR: Peer = Peer {
    framings: RAW,
    is_floor: true,
    tls: Tls::Always,
    ..DEFAULTS
};

const GO: Peer = Peer {
    language: Language::Go,
    many_workers: true,
    ..DEFAULTS
};

const C: Peer = Peer {
    language: Language::C,
    ..DEFAULTS
};

/// Every peer that comes with the harness, in the order of a report.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "ringwheel",
        about: "this library",
        framings: &Framing::ALL,
        many_workers: true,
        timers: true,
        tls: Tls::Either,
        program: "peer-ringwheel",
        library: Some("ringwheel"),
        ..DEFAULTS
    },
    Peer {
        name: "mio",
        about: "floor: a bare mio loop",
        is_floor: true,
        program: "peer-mio",
        library: Some("mio"),
        ..DEFAULTS
    },
    Peer {
        name: "epoll",
        about: "floor: a bare epoll loop",
        is_floor: true,
        program: "peer-epoll",
        library: Some("libc"),
        ..DEFAULTS
    },
    Peer {
        name: "io-uring",
        about: "floor: a bare io_uring loop",
        is_floor: true,
        io_uring: true,
        program: "peer-io-uring",
        library: Some("io-uring"),
        ..DEFAULTS
    },
    Peer {
        name: "epoll-websocket",
        about: "floor: frames over a bare epoll loop",
        framings: WEBSOCKET,
        is_floor: true,
        program: "epoll-websocket",
        ..C
    },
    Peer {
        name: "mio-tls",
        about: "floor: a bare mio loop, rustls's buffered API",
        program: "peer-mio-tls",
        library: Some("rustls"),
        ..RUST_TLS_FLOOR
    },
    Peer {
        name: "mio-tls-unbuffered",
        about: "floor: a bare mio loop, rustls's unbuffered API",
        program: "peer-mio-tls-unbuffered",
        library: Some("rustls"),
        ..RUST_TLS_FLOOR
    },
    Peer {
        name: "epoll-openssl",
        about: "floor: a bare epoll loop, OpenSSL",
        framings: RAW,
        is_floor: true,
        tls: Tls::Always,
        program: "epoll-openssl",
        library: Some("openssl"),
        ..C
    },
    Peer {
        name: "tokio",
        about: "tokio, current-thread runtime",
        timers: true,
        program: "peer-tokio",
        library: Some("tokio"),
        ..DEFAULTS
    },
    Peer {
        name: "tokio-mt",
        about: "tokio, multi-thread runtime",
        many_workers: true,
        timers: true,
        program: "peer-tokio",
        arguments: &["--multi-thread"],
        library: Some("tokio"),
        ..DEFAULTS
    },
    Peer {
        name: "tokio-tls",
        about: "tokio-rustls, current-thread runtime",
        framings: RAW,
        tls: Tls::Always,
        program: "peer-tokio-tls",
        library: Some("tokio-rustls"),
        ..DEFAULTS
    },
    Peer {
        name: "monoio",
        about: "monoio over io_uring",
        io_uring: true,
        program: "peer-monoio",
        library: Some("monoio"),
        ..DEFAULTS
    },
    Peer {
        name: "gev",
        about: "gev event loops",
        timers: true,
        program: "gev/cmd/gev",
        library: Some("github.com/Allenxuxu/gev"),
        ..GO
    },
    Peer {
        name: "gnet",
        about: "gnet event loops",
        program: "gnet/cmd/gnet",
        library: Some("github.com/panjf2000/gnet/v2"),
        ..GO
    },
    Peer {
        name: "nbio",
        about: "nbio event loops",
        timers: true,
        program: "nbio/cmd/nbio",
        library: Some("github.com/lesismal/nbio"),
        ..GO
    },
    Peer {
        name: "getty",
        about: "getty sessions, a goroutine a connection",
        program: "getty/cmd/getty",
        library: Some("github.com/apache/dubbo-getty"),
        ..GO
    },
    Peer {
        name: "go-net",
        about: "Go's net package, a goroutine a connection",
        timers: true,
        program: "cmd/net",
        ..GO
    },
    Peer {
        name: "go-tls",
        about: "Go's crypto/tls, a goroutine a connection",
        framings: RAW,
        tls: Tls::Always,
        program: "cmd/tls",
        ..GO
    },
    Peer {
        name: "libuv",
        about: "a libuv loop",
        timers: true,
        program: "libuv",
        library: Some("libuv"),
        ..C
    },
    Peer {
        name: "libevent",
        about: "libevent's bufferevents",
        timers: true,
        program: "libevent",
        library: Some("libevent_core"),
        ..C
    },
    Peer {
        name: "uwebsockets",
        about: "uWebSockets on its own event loop",
        language: Language::Cpp,
        framings: DEFLATE,
        program: "uwebsockets",
        library: Some("libuwebsockets-sys"),
        ..DEFAULTS
    },
    Peer {
        name: "uwebsockets-tls",
        about: "uWebSockets with OpenSSL",
        language: Language::Cpp,
        framings: DEFLATE,
        tls: Tls::Always,
        program: "uwebsockets-tls",
        library: Some("libuwebsockets-sys"),
        ..DEFAULTS
    },
    Peer {
        name: "tokio-tungstenite",
        about: "tungstenite over tokio",
        framings: WEBSOCKET,
        many_workers: true,
        program: "peer-tokio-tungstenite",
        library: Some("tokio-tungstenite"),
        ..DEFAULTS
    },
    Peer {
        name: "fastwebsockets",
        about: "fastwebsockets over tokio",
        framings: WEBSOCKET,
        many_workers: true,
        program: "peer-fastwebsockets",
        library: Some("fastwebsockets"),
        ..DEFAULTS
    },
    Peer {
        name: "gws",
        about: "gws, a goroutine a connection",
        framings: DEFLATE,
        program: "cmd/gws",
        library: Some("github.com/lxzan/gws"),
        ..GO
    },
    Peer {
        name: "nbio-websocket",
        about: "nbio's WebSocket over its event loops",
        framings: DEFLATE,
        program: "nbio/cmd/nbio-websocket",
        library: Some("github.com/lesismal/nbio"),
        ..GO
    },
    Peer {
        name: "gorilla",
        about: "gorilla/websocket, a goroutine a connection",
        framings: DEFLATE,
        program: "cmd/gorilla",
        library: Some("github.com/gorilla/websocket"),
        ..GO
    },
    Peer {
        name: "gev-websocket",
        about: "gev's WebSocket plugin over its event loops",
        framings: WEBSOCKET,
        program: "gev/cmd/gev-websocket",
        library: Some("github.com/Allenxuxu/gev"),
        ..GO
    },
    Peer {
        name: "ws",
        about: "ws on Node",
        language: Language::JavaScript,
        framings: DEFLATE,
        program: "ws.js",
        library: Some("ws"),
        ..DEFAULTS
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Path, PathBuf};

    use super::super::versions;
    use super::*;
    use crate::certificates::Key;

    fn in_tree(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(path)
    }

    fn exists(path: &str) -> bool {
        in_tree(path).exists()
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(in_tree(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = PEERS.iter().map(|peer| peer.name).collect();
        assert_eq!(names.len(), PEERS.len());
    }

    #[test]
    fn every_peer_has_a_source_that_starts_a_program() {
        for peer in PEERS {
            let (path, sign) = match peer.language {
                Language::Rust => {
                    let file = format!("benches/peers/rust/src/bin/{}.rs", peer.program);
                    let folder = format!("benches/peers/rust/src/bin/{}/main.rs", peer.program);
                    let path = if exists(&file) { file } else { folder };
                    (path, "fn main()".to_owned())
                }
                Language::Go => {
                    let path = format!("benches/peers/go/{}/main.go", peer.program);
                    (path, "func main()".to_owned())
                }
                Language::C => {
                    let target = format!("$(OUT)/{}:", peer.program);
                    ("benches/peers/c/Makefile".to_owned(), target)
                }
                Language::Cpp => {
                    let target = format!("$(OUT)/{}:", peer.program);
                    ("benches/peers/cpp/Makefile".to_owned(), target)
                }
                Language::JavaScript => {
                    let path = format!("benches/peers/node/{}", peer.program);
                    (path, "--addr".to_owned())
                }
            };
            assert!(read(&path).contains(&sign), "{}: {path}", peer.name);
        }
    }

    #[test]
    fn every_library_is_pinned() {
        for peer in PEERS {
            let Some(library) = peer.library else {
                continue;
            };
            let pinned = match peer.language {
                Language::Rust => {
                    versions::in_cargo_lock(&read("Cargo.lock"), "ringwheel-peers", library)
                }
                Language::Go => {
                    let module = peer.program.split("cmd/").next().unwrap();
                    versions::in_go_mod(&read(&format!("benches/peers/go/{module}go.mod")), library)
                }
                Language::JavaScript => versions::in_package_lock(
                    &read("benches/peers/node/package-lock.json"),
                    library,
                ),
                Language::Cpp => versions::in_cargo_lock(
                    &read("benches/peers/cpp/Cargo.lock"),
                    "ringwheel-peers-cpp",
                    library,
                ),
                // The system's libraries have no pinned version.
                Language::C => continue,
            };
            assert!(pinned.is_some(), "{}: no version of {library}", peer.name);
        }
    }

    #[test]
    fn a_peer_is_only_started_with_options_it_supports() {
        let defaults = ServerOptions::default();
        let websocket = ServerOptions {
            framing: Framing::WebSocket,
            ..defaults
        };
        let deflate = ServerOptions {
            framing: Framing::WebSocketDeflate,
            ..defaults
        };
        let broadcast = ServerOptions {
            broadcast: true,
            ..websocket
        };
        let many = ServerOptions {
            workers: 2,
            ..defaults
        };
        let timers = ServerOptions {
            timers: 1,
            ..defaults
        };
        let can = |name: &str| {
            let peer = find(name).unwrap();
            [defaults, websocket, deflate, broadcast, many, timers]
                .map(|options| peer.can(&options))
        };
        let tls = ServerOptions {
            tls: Some(Key::Ecdsa),
            ..defaults
        };
        assert!(find("mio-tls").unwrap().can(&tls));
        assert!(!find("mio").unwrap().can(&tls));
        assert_eq!(can("mio-tls"), [false; 6]);
        assert_eq!(can("ringwheel"), [true; 6]);
        assert_eq!(can("mio"), [true, false, false, false, false, false]);
        assert_eq!(can("libuv"), [true, false, false, false, false, true]);
        let plain = [false, true, false, true, false, false];
        assert_eq!(can("fastwebsockets"), plain);
        assert_eq!(can("ws"), [false, true, true, true, false, false]);
    }
}
