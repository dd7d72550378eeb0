"""Real proxies in front of the example echo: HAProxy and nginx send PROXY headers, and the server must know the client.

The program starts the echo server, whose command is its arguments, and the proxies. It connects from other loopback addresses.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

DEADLINE = 20
BYTES = bytes(range(256)) * 512

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 10s
    timeout client 10s
    timeout server 10s
    unique-id-format %ci-%cp
{sections}
"""

HAPROXY_SECTION = """
frontend {name}
    bind {bind}
    default_backend {name}
backend {name}
    server echo {server} {options}
"""

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
{modules}
events {{ worker_connections 100; }}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass {server};
        proxy_protocol on;
    }}
}}
"""


class Echo:
    """The example echo, with a PROXY header expected, that prints the address of each client."""

    def __init__(self, command, arguments):
        self.process = subprocess.Popen(
            [*command, "--proxy-protocol", *arguments], stdout=subprocess.PIPE, text=True
        )
        self.address = self.line("listening on ")

    def line(self, beginning):
        line = self.process.stdout.readline().rstrip("\n")
        if not line.startswith(beginning):
            sys.exit(f"proxies: the echo server says {line!r} instead of {beginning!r}")
        return line[len(beginning):]

    def end(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(target, source):
    """Connects within the deadline: the proxy may not listen yet."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            if isinstance(target, str):
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(DEADLINE)
                client.connect(target)
                return client
            return socket.create_connection(("127.0.0.1", target), DEADLINE, (source, 0))
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def check(name, target, echo, source):
    """Echoes some bytes through a proxy. The server must have printed the client's address, or that of a proxy that hides it."""
    with connect(target, source) as client:
        client.sendall(BYTES)
        received = bytearray()
        while len(received) < len(BYTES):
            piece = client.recv(65536)
            if not piece:
                sys.exit(f"proxies: {name}: an end of stream after {len(received)} bytes")
            received += piece
        told = echo.line("client ")
        if received != BYTES:
            sys.exit(f"proxies: {name}: other bytes came back")
        if isinstance(target, str):
            ok, expected = told.startswith("127.0.0.1:"), "an address of the proxy"
        else:
            expected = "{}:{}".format(*client.getsockname())
            ok = told == expected
        if not ok:
            sys.exit(f"proxies: {name}: the server knows {told}, and not {expected}")
    print(f"proxies: {name}: the server knows {told}")


def haproxy(directory, tcp, unix):
    """Starts HAProxy. Returns its process, and each check with its target and its server."""
    command = shutil.which("haproxy") or "/usr/sbin/haproxy"
    facts = "send-proxy-v2 proxy-v2-options unique-id,crc32c"
    plan = [
        ("haproxy, version 1", free_port(), tcp, "send-proxy"),
        ("haproxy, version 2", free_port(), tcp, "send-proxy-v2"),
        ("haproxy, version 2 with ID and checksum", free_port(), tcp, facts),
        ("haproxy, version 2 to a Unix socket", free_port(), unix, "send-proxy-v2"),
        ("haproxy, version 1 for a client of a Unix socket", f"{directory}/1.sock", tcp, "send-proxy"),
        ("haproxy, version 2 for a client of a Unix socket", f"{directory}/2.sock", tcp, "send-proxy-v2"),
    ]
    sections = []
    for index, (_, target, server, options) in enumerate(plan):
        bind = f"unix@{target}" if isinstance(target, str) else f"127.0.0.1:{target}"
        address = server.address.replace("unix:", "unix@")
        sections.append(HAPROXY_SECTION.format(name=f"p{index}", bind=bind, server=address, options=options))
    path = f"{directory}/haproxy.cfg"
    with open(path, "w") as file:
        file.write(HAPROXY.format(sections="".join(sections)))
    process = subprocess.Popen([command, "-db", "-q", "-f", path])
    return process, [(name, target, server) for name, target, server, _ in plan]


def nginx(directory, tcp, unix):
    """Starts nginx, whose stream module sends version 1. Returns the same as `haproxy`."""
    command = shutil.which("nginx") or "/usr/sbin/nginx"
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    modules = f"load_module {module};" if os.path.exists(module) else ""
    port = free_port()
    path = f"{directory}/nginx.conf"
    with open(path, "w") as file:
        file.write(NGINX.format(directory=directory, modules=modules, port=port, server=tcp.address))
    process = subprocess.Popen([command, "-p", directory, "-c", path, "-e", f"{directory}/nginx.log"])
    return process, [("nginx, version 1", port, tcp)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proxy", choices=["haproxy", "nginx"])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command that starts the example echo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tcp = Echo(options.command, ["127.0.0.1:0"])
        unix = Echo(options.command, ["--unix", f"{directory}/echo.sock"])
        start = {"haproxy": haproxy, "nginx": nginx}[options.proxy]
        process, checks = start(directory, tcp, unix)
        try:
            for index, (name, target, echo) in enumerate(checks):
                check(name, target, echo, f"127.0.0.{index + 7}")
        finally:
            process.terminate()
            process.wait()
            tcp.end()
            unix.end()


main()
