"""TLS clients that others wrote, against the server tls_echo: openssl, GnuTLS, Python's ssl, Go, Java and curl; and two scanners
that look for weaknesses, testssl.sh and sslyze.

The program starts the server, whose command is its arguments, and runs the checks of one client.
"""

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile

DEADLINE = 30
SCAN_DEADLINE = 900
# The scanner's command, which a user installs into a place of his own.
SSLYZE = os.environ.get("SSLYZE", "sslyze")
HERE = os.path.dirname(os.path.abspath(__file__))


class Server:
    """tls_echo with its certificates, and its addresses: an echo, one that demands certificates, and one of WebSocket."""

    def __init__(self, command, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [*command, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"tls: the server says {line!r}")
        self.echo, self.demanding, self.websocket = line.split()[2:]

    def file(self, name):
        return os.path.join(self.folder, name)

    def end(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE)


def run(command, words="", fails=False, deadline=DEADLINE):
    """Runs a client until it ends by itself, and returns what it prints. `fails` is None if its exit status does not matter."""
    result = subprocess.run(
        command, input=words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=deadline
    )
    if fails is not None and (result.returncode != 0) != fails:
        raise AssertionError(f"exit status {result.returncode}: {result.stdout[-600:]}")
    return result.stdout


def expect(output, *parts, without=None):
    if without and without in output:
        raise AssertionError(f"{without!r} in {output[-600:]!r}")
    for part in parts:
        if part not in output:
            raise AssertionError(f"no {part!r} in {output[-600:]!r}")


def port(address):
    return address.rsplit(":", 1)[1]


# Each line is answered, and the server closes behind the last: so the client ends by itself.
WORDS = "session\nhello\nbye\n"


def openssl(server):
    """Yields the names of checks and the checks."""
    verified = ["-CAfile", server.file("root.pem"), "-verify_return_error", "-ign_eof"]

    def client(*options, address=server.echo, fails=False):
        return run(["openssl", "s_client", "-connect", address, *verified, *options], WORDS, fails)

    def version(option, name):
        expect(client(option, "-servername", "localhost"), "Verify return code: 0", f"version={name} name=localhost", "hello", "bye")

    def alpn():
        output = client("-alpn", "unknown,echo/1", "-servername", "localhost")
        expect(output, "ALPN protocol: echo/1", "alpn=echo/1")
        expect(client("-alpn", "unknown", fails=True), "no application protocol")

    def names():
        output = client("-servername", "OTHER.test", "-verify_hostname", "other.test")
        expect(output, "Verify return code: 0", "name=other.test")
        # Without a name the default certificate is presented.
        expect(client("-noservername", "-verify_hostname", "ringwheel.test"), "name=-")

    def certificates(option):
        def with_identity(name):
            return ["-cert", server.file(f"{name}.pem"), "-key", server.file(f"{name}-key.pem")]

        expect(client(option, *with_identity("client"), address=server.demanding), "certificates=", without="certificates=0")
        for options in ([], with_identity("stranger")):
            # In TLS 1.3 the client is done before the alert comes, so its exit status says nothing.
            output = client(option, *options, address=server.demanding, fails=None)
            expect(output, "alert")
            if "certificates=" in output:
                raise AssertionError("it was served")

    def resumption(option):
        session = server.file("session.pem")
        expect(client(option, "-sess_out", session), "resumed=false")
        expect(client(option, "-sess_in", session), "Reused, TLSv1", "resumed=true")

    def old(option):
        expect(client(option, "-cipher", "ALL:@SECLEVEL=0", fails=True), "alert")

    yield "tls-1.2", lambda: version("-tls1_2", "TLSv1_2")
    yield "tls-1.3", lambda: version("-tls1_3", "TLSv1_3")
    yield "alpn", alpn
    yield "server-names", names
    yield "client-certificates-1.2", lambda: certificates("-tls1_2")
    yield "client-certificates-1.3", lambda: certificates("-tls1_3")
    yield "resumption-1.2", lambda: resumption("-tls1_2")
    yield "resumption-1.3", lambda: resumption("-tls1_3")
    yield "tls-1.1-is-refused", lambda: old("-tls1_1")
    yield "tls-1.0-is-refused", lambda: old("-tls1")


def gnutls(server):
    def client(priority, *options, address=server.echo, fails=False):
        command = ["gnutls-cli", f"--x509cafile={server.file('root.pem')}", f"--priority={priority}", f"--port={port(address)}"]
        return run([*command, *options, "localhost"], WORDS, fails)

    def version(priority, name):
        expect(client(priority), f"version={name} name=localhost", "hello", "bye")

    def alpn():
        expect(client("NORMAL", "--alpn=echo/1"), "alpn=echo/1")

    def certificate():
        identity = [f"--x509certfile={server.file('client.pem')}", f"--x509keyfile={server.file('client-key.pem')}"]
        expect(client("NORMAL", *identity, address=server.demanding), "certificates=", without="certificates=0")

    yield "tls-1.2", lambda: version("NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLSv1_2")
    yield "tls-1.3", lambda: version("NORMAL:-VERS-ALL:+VERS-TLS1.3", "TLSv1_3")
    yield "alpn", alpn
    yield "client-certificate", certificate
    yield "tls-1.1-is-refused", lambda: client("NORMAL:-VERS-ALL:+VERS-TLS1.1", fails=True)


def python(server):
    def connect(version, session=None, name="localhost", identity=None, address=server.echo, context=None):
        context = context or settings(version, identity)
        host, number = address.rsplit(":", 1)
        plain = socket.create_connection((host, int(number)), DEADLINE)
        return context.wrap_socket(plain, server_hostname=name, session=session, suppress_ragged_eofs=False)

    def settings(version, identity=None):
        context = ssl.create_default_context(cafile=server.file("root.pem"))
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["echo/1"])
        if identity:
            context.load_cert_chain(server.file(f"{identity}.pem"), server.file(f"{identity}-key.pem"))
        return context

    def talk(connection, *parts, without=None):
        with connection, connection.makefile("rwb") as lines:
            lines.write(b"session\n")
            lines.flush()
            expect(lines.readline().decode(), *parts, without=without)
            long = b"x" * 60_000 + b"\n"
            for _ in range(20):
                lines.write(long)
                lines.flush()
                if lines.readline() != long:
                    raise AssertionError("another line")
            session = connection.session
            lines.write(b"bye\n")
            lines.flush()
            if lines.read() != b"bye\n":
                raise AssertionError("no end behind the last line")
            return session

    def echo(version, name):
        talk(connect(version), f"version={name} name=localhost alpn=echo/1", "resumed=false")

    def resumption(version):
        context = settings(version)
        session = talk(connect(version, context=context), "resumed=false")
        talk(connect(version, session, context=context), "resumed=true")

    def certificate(version):
        talk(connect(version, identity="client", address=server.demanding), "certificates=", without="certificates=0")
        try:
            talk(connect(version, address=server.demanding))
        except ssl.SSLError as error:
            expect(str(error).upper(), "ALERT")
        else:
            raise AssertionError("it was served")

    for number, version in (("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3)):
        told = f"TLSv{number}".replace(".", "_")
        yield f"echo-{number}", lambda version=version, told=told: echo(version, told)
        yield f"resumption-{number}", lambda version=version: resumption(version)
        yield f"client-certificate-{number}", lambda version=version: certificate(version)


def go(server):
    program = server.file("tls_client")
    environment = dict(os.environ, GOFLAGS="-mod=mod", GO111MODULE="off", CGO_ENABLED="0")
    subprocess.run(["go", "build", "-o", program, os.path.join(HERE, "tls_client.go")], env=environment, check=True)

    def echo(version, name):
        output = run([program, server.echo, server.file("root.pem"), version])
        expect(output, f"version={name} name=localhost alpn=echo/1 certificates=0 resumed=false", "resumed=true")

    yield "tls-1.2", lambda: echo("1.2", "TLSv1_2")
    yield "tls-1.3", lambda: echo("1.3", "TLSv1_3")


def java(server):
    def echo(version, name):
        output = run(["java", os.path.join(HERE, "TlsClient.java"), port(server.echo), server.file("root.pem"), version])
        expect(output, f"version={name} name=localhost alpn=echo/1 certificates=0 resumed=false", "resumed=true")

    yield "tls-1.2", lambda: echo("TLSv1.2", "TLSv1_2")
    yield "tls-1.3", lambda: echo("TLSv1.3", "TLSv1_3")


def curl(server):
    def get(*options, fails=False, root="root.pem"):
        url = f"https://localhost:{port(server.websocket)}/"
        ours = ["--cacert", server.file(root), "--silent", "--show-error", "--include", "--max-time", str(DEADLINE)]
        return run(["curl", "--noproxy", "*", *ours, *options, url], fails=fails)

    # The server of WebSocket tells a client of plain HTTP what it wants.
    yield "tls-1.2", lambda: expect(get("--tls-max", "1.2"), "HTTP/1.1 4")
    yield "tls-1.3", lambda: expect(get("--tlsv1.3"), "HTTP/1.1 4")
    yield "a-stranger-is-not-trusted", lambda: get(fails=True, root="stranger.pem")


def testssl(server):
    def scan():
        report = server.file("testssl.json")
        ours = ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"]
        ours += ["--add-ca", server.file("root.pem"), "--jsonfile", report]
        # The exit status counts findings.
        run(["testssl", *ours, f"localhost:{port(server.echo)}"], fails=None, deadline=SCAN_DEADLINE)
        with open(report, encoding="utf-8") as file:
            findings = {it["id"]: it for it in json.load(file)}
        for version, offered in (("SSLv2", False), ("SSLv3", False), ("TLS1", False), ("TLS1_1", False), ("TLS1_2", True), ("TLS1_3", True)):
            if findings[version]["finding"].startswith("offered") != offered:
                raise AssertionError(f"{version}: {findings[version]['finding']}")
        tolerated = {
            # All suites are strong, so the client chooses: one without AES in hardware takes ChaCha20.
            "cipher_order",
            # These are about the certificate of the test.
            "cert_validityPeriod",
            "cert_revocation",
        }
        grave = [it for it in findings.values() if it["severity"] in ("MEDIUM", "HIGH", "CRITICAL") and it["id"] not in tolerated]
        if grave:
            raise AssertionError(grave)

    yield "no-finding-above-low", scan


def sslyze(server):
    def scan():
        command = [SSLYZE, "--mozilla_config=intermediate", "--certinfo_ca_file", server.file("root.pem")]
        output = run([*command, f"localhost:{port(server.echo)}"], fails=None, deadline=SCAN_DEADLINE)
        expect(output, "Not vulnerable to Heartbleed", "Client Renegotiation DoS Attack:   OK", "SCANS COMPLETED")
        verdict = output.split("COMPLIANCE AGAINST TLS CONFIGURATION")[1]
        faults = [line.strip() for line in verdict.splitlines() if line.startswith("        * ")]
        # The certificate of the test is valid for long.
        if [it for it in faults if not it.startswith("* maximum_certificate_lifespan:")]:
            raise AssertionError(faults)

    yield "complies-with-mozilla-intermediate", scan


def websocket(server, client):
    """The checks of a client of WebSocket, which finds the server's root in the environment."""
    root = server.file("root.pem")
    environment = dict(os.environ, SSL_CERT_FILE=root, NODE_EXTRA_CA_CERTS=root)

    def checks():
        command = [*client, "--url", f"wss://localhost:{port(server.websocket)}"]
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=600)
        if result.returncode:
            raise AssertionError(result.stdout[-600:])

    yield "all-checks", checks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    clients = {it.__name__: it for it in (openssl, gnutls, python, go, java, curl, testssl, sslyze)}
    parser.add_argument("client", choices=[*clients, "websocket"])
    parser.add_argument("--websocket", default="", help="the command of the client of WebSocket")
    parser.add_argument("command", nargs="+", help="the command of the server tls_echo")
    options = parser.parse_args()
    failed = passed = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options.command, folder)
        words = options.websocket.split()
        checks = websocket(server, words) if options.client == "websocket" else clients[options.client](server)
        for name, check in checks:
            try:
                check()
            except Exception as error:
                failed += 1
                print(f"FAIL {options.client} {name}: {type(error).__name__}: {error}", flush=True)
            else:
                passed += 1
                print(f"PASS {options.client} {name}", flush=True)
        server.end()
    print(f"{options.client}: {passed} passed, {failed} failed")
    return 1 if failed or server.process.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
