"""Runs the Autobahn test suite's fuzzing client against a WebSocket echo server, and compares every case with expected.txt.

It first starts the example websocket_deflate, or websocket_echo with TLS, unless it is told of a server that runs already. The
suite is not part of this repository: it is Python 2.7 code (`pip install autobahntestsuite` there), or the image
crossbario/autobahn-testsuite. Where there is no wstest, nothing is tested and a line says so."""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# All cases except the 216 about compression (groups 12 and 13), which take most of the time.
QUICK = "1.* 2.* 3.* 4.* 5.* 6.* 7.* 9.* 10.*"
# Cases with messages of more than 1 MiB, the default limit, which the example with TLS keeps.
LARGE = "9.1.[456] 9.2.[456] 9.3.* 9.4.*"
QUICK_TIMEOUT = 600
FULL_TIMEOUT = 3600

START_TIMEOUT = 30  # seconds until the server prints its address
END_TIMEOUT = 10  # seconds between asking a process to end and killing it
PAUSE = 0.1  # seconds between two checks of the processes

ENVIRONMENT = """environment:
  WSTEST         the command that runs wstest, with its arguments (default: wstest, from the PATH)
  AUTOBAHN_WORK  a directory that this script and wstest share (default: target). If wstest has its own file system and
                 another path to the directory, append that path after a colon, as in
                   WSTEST="docker run --rm --network host -v $HOME/suite:/suite crossbario/autobahn-testsuite wstest"
                   AUTOBAHN_WORK=$HOME/suite:/suite
                 Reports are written to autobahn-reports in it.

exit status: 0 if every chosen case behaved as expected, or if there is no wstest (then "skipped" is printed); 1 if a case
did not or had no result, the server ended, or time ran out; 2 if the options make no sense."""

Verdict = namedtuple("Verdict", "behavior close")  # of a case, and of the end of its connection
Example = namedtuple("Example", "name features arguments scheme")
PLAIN = Example("websocket_deflate", "deflate", ["--addr", "127.0.0.1:0"], "ws")
TLS = Example("websocket_echo", "websocket,tls", ["--self-signed", "127.0.0.1:0"], "wss")

# The columns of the summary.
KINDS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")


class Failure(Exception):
    """An error that prevents a verdict."""


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wstest = find_wstest()
    if wstest is None:
        print("autobahn: skipped: there is no wstest in the PATH, and WSTEST is not set")
        return 1 if options.require else 0
    processes = Processes()
    try:
        return test(options, wstest, processes)
    except Failure as failure:
        print(f"autobahn: FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        processes.end()


def test(options, wstest, processes):
    expected = read_expected()
    cases = choose(expected, options.cases)
    if options.tls:
        large = choose(expected, LARGE)
        cases = [case for case in cases if case not in large]
    server, url = None, options.url
    work = Work()
    if url is None:
        example = TLS if options.tls else PLAIN
        server, url = start_server(example, build(example, options.profile), work, processes)
    jobs = [
        Job(number, cases[number :: options.jobs], work)
        for number in range(min(options.jobs, len(cases)))
    ]
    print(f"autobahn: {len(cases)} cases against {url}, reports in {work.here}", flush=True)
    began = time.monotonic()
    for job in jobs:
        job.start(wstest, url, processes)
    wait(jobs, server, began + options.timeout)
    results = {}
    for job in jobs:
        results.update(job.results())
    print(f"autobahn: that took {time.monotonic() - began:.0f} s")
    return compare(cases, expected, results)


def read_options():
    parser = argparse.ArgumentParser(
        prog="tests/autobahn/run",
        description=__doc__,
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(cases=QUICK)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_const", dest="cases", const="*", help="all 517 cases, compression too")
    which.add_argument(
        "--cases", metavar="PATTERNS", help='such as "1.* 9.3.*" (default: groups 1 to 10, 301 cases)'
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", help="test the server at ws://… or wss://… and start none")
    server.add_argument("--tls", action="store_true", help="test the example websocket_echo over TLS, without the cases of more than 1 MiB")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="fuzzing clients at the same time (default: 1)")
    parser.add_argument(
        "--profile", default="release", help="cargo profile of the example (default: release; dev has debug assertions)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help=f"give up after this time (default: {QUICK_TIMEOUT}; with --all or --cases {FULL_TIMEOUT})",
    )
    parser.add_argument("--require", action="store_true", help="fail if there is no wstest")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs: at least one is needed")
    if options.timeout is None:
        options.timeout = QUICK_TIMEOUT if options.cases == QUICK else FULL_TIMEOUT
    return options


def find_wstest():
    """The command line of wstest, if there is one."""
    if command := os.environ.get("WSTEST"):
        return shlex.split(command)
    found = shutil.which("wstest")
    return [found] if found else None


def read_expected():
    """The verdicts of all cases, in the suite's order."""
    lines = (HERE / "expected.txt").read_text().splitlines()
    return {case: Verdict(*verdict) for case, *verdict in map(str.split, lines)}


def choose(expected, patterns):
    chosen = set()
    for pattern in patterns.split():
        matching = fnmatch.filter(expected, pattern)
        if not matching:
            raise Failure(f"no case matches {pattern}")
        chosen.update(matching)
    if not chosen:
        raise Failure("no case is chosen")
    return [case for case in expected if case in chosen]


def build(example, profile):
    """Builds the example and returns the path of the executable."""
    command = ["cargo", "build", "--profile", profile, "--features", example.features, "--example", example.name]
    command.append("--message-format=json-render-diagnostics")
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Failure(f"the example {example.name} does not build")
    for message in map(json.loads, built.stdout.splitlines()):
        if message.get("executable") and message["target"]["name"] == example.name:
            return message["executable"]
    raise Failure(f"cargo names no executable of the example {example.name}")


def start_server(example, executable, work, processes):
    """Starts the example on a free port; returns it and its URL once it listens."""
    log = work.here / "server.log"
    server = processes.start([executable, *example.arguments], log)
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        running = server.poll() is None
        for line in log.read_text().splitlines(keepends=True):
            if line.startswith("listening on ") and line.endswith("\n"):
                return server, f"{example.scheme}://{line.split()[2]}"
        if not running or time.monotonic() > deadline:
            raise Failure(f"the server does not listen:\n{log.read_text()}")
        time.sleep(PAUSE)


def wait(jobs, server, deadline):
    """Waits for the fuzzing clients. Fails if the server ends or time runs out."""
    while True:
        running = [job for job in jobs if job.process.poll() is None]
        if server is not None and server.poll() is not None:
            at = ", ".join(job.place() for job in running or jobs)
            raise Failure(f"the server ended with status {server.returncode}, at: {at}")
        if not running:
            return
        if time.monotonic() > deadline:
            raise Failure(f"out of time, at: {', '.join(job.place() for job in running)}")
        time.sleep(PAUSE)


def compare(cases, expected, results):
    """Prints the counts of each group and the cases that are not as expected. Returns the exit status."""
    groups = {}
    different = []
    for case in cases:
        result = results.get(case)
        verdict = Verdict(result["behavior"], result["behaviorClose"]) if result else None
        kind = kind_of(verdict)
        counts = groups.setdefault(case.split(".")[0], dict.fromkeys(KINDS, 0))
        counts[kind] += 1
        if verdict != expected[case]:
            code = f" (code {result['remoteCloseCode']})" if result else ""
            different.append(f"{case}: {tell(verdict)}{code}; expected: {tell(expected[case])}")
    print_row("group", "cases", *map(str.lower, KINDS))
    for group, counts in groups.items():
        print_row(group, sum(counts.values()), *counts.values())
    print_row("all", len(cases), *(sum(counts[kind] for counts in groups.values()) for kind in KINDS))
    for line in different:
        print(line)
    if different:
        print(f"autobahn: FAILED: {len(different)} of {len(cases)} cases are not as expected")
        return 1
    print(f"autobahn: passed: {len(cases)} cases, all as expected")
    return 0


def kind_of(verdict):
    """The column in which a verdict counts: a case with a bad end or without a result has failed."""
    if verdict is None or verdict.close not in ("OK", "INFORMATIONAL") or verdict.behavior not in KINDS:
        return "FAILED"
    return verdict.behavior


def tell(verdict):
    return f"{verdict.behavior}, close {verdict.close}" if verdict else "no result"


def print_row(*cells):
    print(" ".join(f"{cell:>13}" if column > 1 else f"{cell:>5}" for column, cell in enumerate(cells)))


class Work:
    """The directory of a run, empty at first: `here` is its path for this script, `there` its path for wstest."""

    def __init__(self):
        here, _, there = os.environ.get("AUTOBAHN_WORK", "").partition(":")
        here = Path(here or ROOT / "target").resolve()
        self.here = here / "autobahn-reports"
        self.there = Path(there or here) / "autobahn-reports"
        try:
            if self.here.exists():
                shutil.rmtree(self.here)
            self.here.mkdir(parents=True)
        except OSError as error:
            raise Failure(f"AUTOBAHN_WORK: {error}") from error


class Job:
    """One fuzzing client, and its share of the cases."""

    def __init__(self, number, cases, work):
        self.cases = cases
        self.here = work.here / str(number)
        self.there = work.there / str(number)
        self.log = self.here / "wstest.log"
        self.process = None

    def start(self, wstest, url, processes):
        specification = json.loads((HERE / "fuzzingclient.json").read_text())
        specification["outdir"] = str(self.there)
        specification["servers"][0]["url"] = url
        specification["cases"] = self.cases
        self.here.mkdir()
        (self.here / "fuzzingclient.json").write_text(json.dumps(specification))
        arguments = ["-m", "fuzzingclient", "-s", str(self.there / "fuzzingclient.json")]
        self.process = processes.start([*wstest, *arguments], self.log)

    def results(self):
        """The results of all cases in the client's report."""
        try:
            report = json.loads((self.here / "index.json").read_text())
        except FileNotFoundError:
            status = self.process.returncode
            raise Failure(f"wstest ended with status {status} and left no report:\n{self.output()}") from None
        return report.get("server", {})

    def place(self):
        """The case that the client is running."""
        begun = re.findall(r"Running test case ID (\S+)", self.output())
        return f"case {begun[-1]}" if begun else "the start"

    def output(self):
        return self.log.read_text(errors="replace")


class Processes:
    """The processes that this script has started: each leads its own group, so that its children end with it."""

    def __init__(self):
        self.started = []

    def start(self, command, log):
        try:
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise Failure(f"{command[0]} does not start: {error}") from error
        self.started.append(process)
        return process

    def end(self):
        for process in self.started:
            signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + END_TIMEOUT
        for process in self.started:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                signal_group(process, signal.SIGKILL)
                process.wait()


def signal_group(process, number):
    """Signals a process and its children, unless it was waited for: then its number may belong to another process."""
    if process.poll() is None:
        os.killpg(process.pid, number)


if __name__ == "__main__":
    sys.exit(main())
