//! The typed frames server and its client.

use std::process::Output;

use support::{Client, Example};

const SERVER: &str = env!("CARGO_BIN_EXE_typed_frames_server");
const CLIENT: &str = env!("CARGO_BIN_EXE_typed_frames_client");

#[test]
fn typed_frames_server_and_client_understand_each_other() {
    let (_server, addr) = Example::serve(SERVER, &["--workers=2"]);
    let addr = format!("--addr={addr}");
    let arguments = [&addr, "--name=Ada", "40", "-5", "7"];
    let Output { status, stdout, .. } = Example::run_to_end(CLIENT, &arguments);
    assert!(status.success(), "{status}");
    let stdout = String::from_utf8_lossy(&stdout).replace("\r\n", "\n");
    assert_eq!(stdout, "Hello, Ada!\nthe sum is 42\n");
}

#[test]
fn typed_frames_server_answers_what_it_does_not_understand() {
    let (_server, addr) = Example::serve(SERVER, &["--workers=1"]);
    let mut client = Client::connect(addr);
    // Frames of the types Nope, and Hello with a field that is cut short.
    for request in ["\0\0\0\x06\0\x04Nope", "\0\0\0\x08\0\x05Hello\n"] {
        client.send(request.as_bytes());
        let length = client.receive(4).try_into().expect("four bytes");
        let answer = client.receive(u32::from_be_bytes(length) as usize);
        assert!(answer.starts_with(b"\0\x07Failure"), "{answer:?}");
    }
}
