//! Builds the peers, one toolchain at a time.
//!
//! A missing tool or library skips the peers that need it; any other build error is a failure.

mod cargo;
mod cpp;
mod go;
mod make;
mod npm;
mod toolkit;

use std::io;
use std::path::PathBuf;

use super::catalogue::{Language, Peer};
use super::prepared::{Absence, Failure, Prepared};
use toolkit::{Tell, Workshop};

/// Builds everything that `peers` need, one toolchain at a time, and finds out their versions. Up-to-date programs are
/// not built again. `tell` gets a line about each build that takes longer than a few seconds. Each toolchain may take
/// 20 minutes. Waits for another process that builds in the same folder.
///
/// The result has the order of `peers`. A peer whose toolchain or C library is missing is skipped with a reason
/// ([`Prepared::skipped`]); one that could not be built for another reason has failed ([`Prepared::failed`]).
pub fn prepare(peers: &[&'static Peer], tell: &mut dyn FnMut(&str)) -> Vec<Prepared> {
    let prepared = Workshop::here().and_then(|workshop| {
        let _lock = workshop.lock(tell)?;
        Ok(prepare_in(&workshop, peers, tell))
    });
    prepared.unwrap_or_else(|error| {
        let failure = Failure {
            reason: format!("the peers cannot be built: {error}"),
            output: String::new(),
        };
        peers
            .iter()
            .map(|&peer| Prepared {
                peer,
                version: None,
                outcome: Err(Absence::Failed(failure.clone())),
            })
            .collect()
    })
}

/// Cargo's target folder: the one of this program, or the one that the environment or the tree sets.
///
/// # Errors
/// Fails if the source tree of this program no longer exists.
pub fn target_folder() -> io::Result<PathBuf> {
    Ok(Workshop::here()?.target)
}

fn prepare_in(workshop: &Workshop, peers: &[&'static Peer], tell: Tell<'_>) -> Vec<Prepared> {
    let mut prepared = Vec::new();
    for language in Language::ALL {
        let mut group: Vec<&'static Peer> = Vec::new();
        for &peer in peers {
            if peer.language == language && !group.contains(&peer) {
                group.push(peer);
            }
        }
        if group.is_empty() {
            continue;
        }
        prepared.extend(match language {
            Language::Rust => cargo::prepare(workshop, &group, tell),
            Language::Go => go::prepare(workshop, &group, tell),
            Language::C => make::prepare(workshop, &group, tell),
            Language::Cpp => cpp::prepare(workshop, &group, tell),
            Language::JavaScript => npm::prepare(workshop, &group, tell),
        });
    }
    let of = |peer: &&'static Peer| prepared.iter().find(|prepared| prepared.peer == *peer);
    peers.iter().filter_map(of).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::super::catalogue::{PEERS, find};
    use super::super::tool::SearchPath;
    use super::toolkit::target_of;
    use super::*;

    /// A workshop in its own folder, with `scripts` as its only tools.
    struct Mock {
        workshop: Workshop,
        folder: PathBuf,
    }

    impl Mock {
        fn new(test: &str, scripts: &[(&str, &str)]) -> Self {
            let name = format!("ringwheel-workshop-{}-{test}", std::process::id());
            let folder = env::temp_dir().join(name);
            let (tree, programs) = (folder.join("tree"), folder.join("programs"));
            for folder in [&tree, &programs] {
                fs::create_dir_all(folder).unwrap();
            }
            for language in ["go/gnet", "c", "cpp", "node"] {
                fs::create_dir_all(tree.join("benches/peers").join(language)).unwrap();
            }
            for (name, script) in scripts {
                write_script(&programs.join(name), script);
            }
            let workshop = Workshop {
                tree,
                target: folder.join("target"),
                programs: SearchPath::from_iter([programs]),
                cargo: "cargo".into(),
            };
            Self { workshop, folder }
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.workshop.tree.join(path), text).unwrap();
        }

        fn prepare(&self, names: &[&str]) -> Vec<Prepared> {
            let peers: Vec<_> = names.iter().map(|name| find(name).unwrap()).collect();
            prepare_in(&self.workshop, &peers, &mut |_| {})
        }

        /// The number of lines that scripts have written to the file `calls`.
        fn calls(&self) -> usize {
            let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
            calls.lines().count()
        }
    }

    impl Drop for Mock {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    /// Writes the script in another process. If this process had the file open for writing, a process that another test
    /// starts at the same time would inherit that for a moment, and the script could not be executed meanwhile.
    fn write_script(file: &Path, script: &str) {
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let status = Command::new("/bin/sh")
            .args(["-c", write, "sh", script])
            .arg(file)
            .status();
        assert!(status.unwrap().success());
    }

    fn command(prepared: &Prepared) -> String {
        let options = prepared.peer.plainest();
        let problem = || panic!("{:?}", prepared.outcome);
        prepared.server(&options).unwrap_or_else(problem).command
    }

    #[test]
    fn without_tools_every_peer_is_skipped_with_a_remedy_and_none_fails() {
        let mock = Mock::new("no-tools", &[]);
        let peers: Vec<_> = PEERS.iter().collect();
        let prepared = prepare_in(&mock.workshop, &peers, &mut |_| {});
        let names: Vec<_> = prepared.iter().map(|prepared| prepared.peer.name).collect();
        let expected: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
        assert_eq!(names, expected);
        for prepared in prepared {
            let reason = match prepared.peer.language {
                Language::Rust => "cargo is not installed (https://rustup.rs)",
                Language::Go => "go is not installed (https://go.dev/dl)",
                Language::C | Language::Cpp => "make is not installed (Debian: make)",
                Language::JavaScript => "node is not installed (https://nodejs.org)",
            };
            assert_eq!(prepared.skipped(), Some(reason));
            assert_eq!(prepared.failed(), None);
            let options = prepared.peer.plainest();
            assert_eq!(prepared.server(&options), None);
            assert_eq!(prepared.contestant().skipped.as_deref(), Some(reason));
        }
    }

    #[test]
    fn a_build_that_fails_is_a_failure_with_its_output() {
        let mock = Mock::new(
            "failing",
            &[("go", "echo 'main.go:7: undefined: x' >&2; exit 1")],
        );
        let prepared = mock.prepare(&["gnet", "go-net"]);
        for prepared in prepared {
            let reason = format!(
                "building {} failed: go ended with exit code 1",
                prepared.peer.name
            );
            let reason = reason.as_str();
            assert_eq!(prepared.skipped(), Some(reason));
            let failed = prepared.failed().unwrap();
            assert_eq!(failed, format!("{reason}\nmain.go:7: undefined: x"));
        }
    }

    #[test]
    fn the_program_that_cargo_reports_is_started() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"peer-tokio"},"executable":"/built here/peer-tokio"}"#;
        let script = format!("echo 'noise'; echo '{message}'");
        let mock = Mock::new("cargo", &[("cargo", &script)]);
        mock.write(
            "Cargo.lock",
            "[[package]]\nname = \"ringwheel-peers\"\ndependencies = [\n \"tokio\",\n]\n\n[[package]]\nname = \"tokio\"\nversion = \"1.2.3\"\n",
        );
        let prepared = mock.prepare(&["tokio-mt", "tokio", "mio"]);
        assert_eq!(
            command(&prepared[0]),
            "'/built here/peer-tokio' --multi-thread --addr {addr}"
        );
        assert_eq!(
            command(&prepared[1]),
            "'/built here/peer-tokio' --addr {addr}"
        );
        assert_eq!(prepared[1].version.as_deref(), Some("tokio 1.2.3"));
        let problem = prepared[2].failed().unwrap();
        assert_eq!(problem, "cargo has not built peer-mio");
    }

    #[test]
    fn a_go_peer_has_the_versions_of_its_module_and_of_go() {
        let script = "if [ $1 = env ]; then echo go1.2.3; fi";
        let mock = Mock::new("go", &[("go", script)]);
        mock.write(
            "benches/peers/go/gnet/go.mod",
            "require github.com/panjf2000/gnet/v2 v2.9.5\n",
        );
        let prepared = mock.prepare(&["gnet", "go-net"]);
        assert_eq!(
            prepared[0].version.as_deref(),
            Some("gnet v2.9.5 (go1.2.3)")
        );
        assert_eq!(prepared[1].version.as_deref(), Some("go1.2.3"));
        let expected = format!(
            "{}/peers/go/net --addr {{addr}}",
            mock.workshop.target.display()
        );
        assert_eq!(command(&prepared[1]), expected);
    }

    #[test]
    fn a_c_library_that_is_missing_skips_its_peer_only() {
        let pkg_config = "case $2 in libuv) echo 1.44.2;; *) exit 1;; esac";
        let tools = [("make", "exit 0"), ("cc", ""), ("pkg-config", pkg_config)];
        let mock = Mock::new("c", &tools);
        let prepared = mock.prepare(&["libuv", "libevent", "epoll-websocket"]);
        assert_eq!(prepared[0].version.as_deref(), Some("libuv 1.44.2"));
        assert!(command(&prepared[0]).ends_with("/peers/c/libuv --addr {addr}"));
        assert_eq!(
            prepared[1].skipped(),
            Some("pkg-config does not know libevent_core (Debian: libevent-dev)")
        );
        assert_eq!(prepared[1].failed(), None);
        assert_eq!(prepared[2].version, None);
        assert!(command(&prepared[2]).ends_with("/peers/c/epoll-websocket --addr {addr}"));
    }

    #[test]
    fn without_pkg_config_peers_without_a_library_are_still_built() {
        let mock = Mock::new("no-pkg-config", &[("make", ""), ("cc", "")]);
        let prepared = mock.prepare(&["libuv", "epoll-websocket"]);
        assert_eq!(
            prepared[0].skipped(),
            Some("pkg-config is not installed (Debian: pkg-config)")
        );
        assert_eq!(prepared[1].skipped(), None);
    }

    #[test]
    fn a_cpp_peer_is_made_with_the_sources_that_cargo_has_fetched() {
        let metadata = r#"{"packages":[
            {"name":"other","manifest_path":"/elsewhere/Cargo.toml"},
            {"name":"libuwebsockets-sys","manifest_path":"/registry/uws-1/Cargo.toml"}
        ]}"#;
        let cargo = format!("echo '{}'", metadata.replace('\n', " "));
        let mock = Mock::new("cpp", &[("cargo", &cargo), ("g++", "")]);
        let calls = mock.folder.join("calls");
        let make = format!("echo \"$*\" >> '{}'", calls.display());
        write_script(&mock.folder.join("programs/make"), &make);
        mock.write(
            "benches/peers/cpp/Cargo.lock",
            "[[package]]\nname = \"libuwebsockets-sys\"\nversion = \"0.1.2\"\n\n[[package]]\nname = \"ringwheel-peers-cpp\"\ndependencies = [\n \"libuwebsockets-sys\",\n]\n",
        );
        let prepared = mock.prepare(&["uwebsockets"]).remove(0);
        let expected = Some("libuwebsockets-sys 0.1.2");
        assert_eq!(prepared.version.as_deref(), expected);
        assert!(command(&prepared).ends_with("/peers/cpp/uwebsockets --addr {addr}"));
        let calls = fs::read_to_string(calls).unwrap();
        assert!(calls.contains("LIBRARY=/registry/uws-1"), "{calls}");
    }

    #[test]
    fn without_a_cpp_compiler_or_zlib_its_peer_is_skipped() {
        let mock = Mock::new("no-cpp", &[("make", ""), ("cargo", "")]);
        let prepared = mock.prepare(&["uwebsockets"]).remove(0);
        assert_eq!(
            prepared.skipped(),
            Some("g++ is not installed (Debian: g++)")
        );
        assert_eq!(prepared.failed(), None);

        let mock = Mock::new("no-zlib", &[("make", ""), ("cargo", ""), ("g++", "exit 1")]);
        let prepared = mock.prepare(&["uwebsockets"]).remove(0);
        let reason = "g++ finds no zlib.h (Debian: zlib1g-dev)";
        assert_eq!(prepared.skipped(), Some(reason));
        assert_eq!(prepared.failed(), None);
    }

    #[test]
    fn npm_installs_once_for_a_lock_file_and_again_after_a_failure() {
        let mock = Mock::new("npm", &[("node", "echo v20.1.0")]);
        let calls = mock.folder.join("calls");
        let npm = |status: u8| {
            let script = format!("echo \"$*\" >> '{}'; exit {status}", calls.display());
            write_script(&mock.folder.join("programs/npm"), &script);
        };
        let lock = |version: &str| {
            let lock = format!(r#"{{"packages":{{"node_modules/ws":{{"version":"{version}"}}}}}}"#);
            mock.write("benches/peers/node/package-lock.json", &lock);
        };
        mock.write("benches/peers/node/package.json", "{}");
        mock.write("benches/peers/node/ws.js", "first");

        npm(1);
        lock("8.0.0");
        assert!(mock.prepare(&["ws"])[0].failed().is_some());
        npm(0);
        let prepared = mock.prepare(&["ws"]).remove(0);
        assert_eq!(prepared.version.as_deref(), Some("ws 8.0.0 (node v20.1.0)"));
        assert_eq!(mock.calls(), 2);
        let script = mock.workshop.target.join("peers/node/ws.js");
        assert!(command(&prepared).contains(script.to_str().unwrap()));

        // The script is always the current one of the tree.
        mock.write("benches/peers/node/ws.js", "second");
        assert_eq!(mock.prepare(&["ws"])[0].skipped(), None);
        assert_eq!(mock.calls(), 2);
        assert_eq!(fs::read_to_string(script).unwrap(), "second");

        lock("9.0.0");
        let prepared = mock.prepare(&["ws"]).remove(0);
        assert_eq!(prepared.version.as_deref(), Some("ws 9.0.0 (node v20.1.0)"));
        assert_eq!(mock.calls(), 3);
    }

    #[test]
    fn the_target_folder_is_that_of_the_program() {
        let mock = Mock::new("target", &[]);
        let target = mock.folder.join("elsewhere");
        fs::create_dir_all(&target).unwrap();
        let program = target.join("debug/deps/harness");
        assert_eq!(target_of(&program), None);
        fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        assert_eq!(target_of(&program), Some(target));
    }
}
