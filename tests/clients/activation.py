"""A service manager that passes its listening socket: systemd-socket-activate starts the application hot_restart at the first connection.

The program's arguments are the command of hot_restart.
"""

import signal
import socket
import subprocess
import sys
import time

DEADLINE = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    """Connects within the deadline: the service manager may not listen yet."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), DEADLINE)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def echo(client, line):
    client.sendall(line)
    received = b""
    while not received.endswith(b"\n"):
        piece = client.recv(1000)
        if not piece:
            sys.exit(f"activation: an end of stream after {received!r}")
        received += piece
    if received != line:
        sys.exit(f"activation: {received!r} came back instead of {line!r}")


def main(command):
    port = free_port()
    activate = ["systemd-socket-activate", "--listen", f"127.0.0.1:{port}", "--fdname", "echo"]
    process = subprocess.Popen([*activate, *command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        with connect(port) as client:
            echo(client, b"first\n")
            # A client that waits in the backlog is served, too.
            with connect(port) as other:
                echo(other, b"second\n")
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE)
    finally:
        process.kill()
    if status != 0:
        sys.exit(f"activation: the server ended with status {status}")
    print("activation: passed")


if __name__ == "__main__":
    main(sys.argv[1:])
