"""Tests a WebSocket echo server with the client of Python's `websockets`, with and without compression."""

import argparse
import asyncio
import random
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

TIMEOUT = 30  # seconds for each check
MEBIBYTE = 1024 * 1024
CONNECTIONS = 64
IN_FLIGHT = 500
UNICODE = "Grüße, κόσμε, мир, 世界, \N{ROCKET}\N{ZERO WIDTH JOINER}\U0010ffff\x00"

# The client's offers of compression. `None` is none.
OFFERS = {
    "plain": None,
    "deflate": Deflate(client_max_window_bits=True),
    "deflate-without-context": Deflate(server_no_context_takeover=True, client_no_context_takeover=True),
    "deflate-small-window": Deflate(server_max_window_bits=10, client_max_window_bits=10),
}


class Client:
    """The settings that all connections of a run share."""

    def __init__(self, url, offer):
        self.url = url
        self.extensions = None if offer is None else [offer]

    def connect(self, **options):
        return connect(
            self.url, extensions=self.extensions, compression=None, max_size=None, proxy=None, ping_interval=None, **options
        )


def same(got, wanted):
    if got != wanted or type(got) is not type(wanted):
        raise AssertionError(f"{got!r:.80} is not {wanted!r:.80}")


async def echo(client, message, sent=None):
    """Sends the message, or `sent` in its place, and expects the message back."""
    async with client.connect() as connection:
        await connection.send(message if sent is None else sent)
        same(await connection.recv(), message)


async def check_offer(client):
    async with client.connect() as connection:
        agreed = [extension.name for extension in connection.protocol.extensions]
        same(agreed, ["permessage-deflate"] if client.extensions else [])


async def check_text(client):
    await echo(client, "Hello, hello, hello")


async def check_binary(client):
    await echo(client, bytes(range(256)))


async def check_unicode(client):
    await echo(client, UNICODE)


async def check_empty(client):
    await echo(client, "")
    await echo(client, b"")


async def check_mebibyte_of_text(client):
    # Numbered, as a text that only repeats itself inflates by a larger factor than a server allows.
    lines = "".join(f"{number}: the quick brown fox\n" for number in range(MEBIBYTE // 20))
    await echo(client, lines[:MEBIBYTE])


async def check_mebibyte_of_noise(client):
    await echo(client, random.Random(1).randbytes(MEBIBYTE))


async def check_many_in_flight(client):
    messages = [f"{number}: {UNICODE * (number % 50)}" for number in range(IN_FLIGHT)]
    async with client.connect() as connection:

        async def send():
            for message in messages:
                await connection.send(message)

        sending = asyncio.create_task(send())
        for message in messages:
            same(await connection.recv(), message)
        await sending


async def check_fragments_of_text(client):
    await echo(client, UNICODE * 100, sent=[UNICODE] * 100)


async def check_fragments_of_noise(client):
    pieces = [random.Random(number).randbytes(number * 37) for number in range(100)]
    await echo(client, b"".join(pieces), sent=pieces)


async def check_ping_between_fragments(client):
    async with client.connect() as connection:

        async def pieces():
            yield "first, "
            await (await connection.ping(b"between"))
            yield "second"

        await connection.send(pieces())
        same(await connection.recv(), "first, second")


async def check_ping(client):
    async with client.connect() as connection:
        for payload in (b"", b"ping", bytes(125)):
            await (await connection.ping(payload))


async def check_close(client):
    """The server answers a close frame with the same code, and with the same reason or none."""
    for code, reason in ((1000, ""), (1000, "done"), (1001, "Grüße"), (3000, "r" * 123), (4999, "")):
        async with client.connect() as connection:
            await connection.close(code, reason)
            same(connection.close_code, code)
            if connection.close_reason not in ("", reason):
                raise AssertionError(f"reason {connection.close_reason!r}")


async def check_close_after_messages(client):
    """All messages sent before the close frame are echoed before its answer."""
    async with client.connect() as connection:
        for number in range(100):
            await connection.send(str(number))
        closing = asyncio.create_task(connection.close())
        same([message async for message in connection], [str(number) for number in range(100)])
        await closing


async def check_closed_by_server(client):
    """Invalid UTF-8 in a text: the server closes with 1007 (RFC 6455, section 8.1)."""
    async with client.connect() as connection:
        await connection.send(b"\xc3\x28", text=True)
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            same(closed.rcvd and closed.rcvd.code, 1007)
        else:
            raise AssertionError("not closed")


async def check_connections(client):
    async def talk(number):
        async with client.connect() as connection:
            await everyone.wait()
            for round_ in range(20):
                message = f"{number} in round {round_}"
                await connection.send(message)
                same(await connection.recv(), message)

    everyone = asyncio.Barrier(CONNECTIONS)
    await asyncio.gather(*(talk(number) for number in range(CONNECTIONS)))


async def check_subprotocol(client, subprotocol):
    """Of two subprotocols offered, the server chooses the one that it knows, or none."""
    offered = ["unknown.invalid", subprotocol or "also-unknown.invalid"]
    async with client.connect(subprotocols=offered) as connection:
        same(connection.subprotocol, subprotocol)


CHECKS = [
    check_offer,
    check_text,
    check_binary,
    check_unicode,
    check_empty,
    check_mebibyte_of_text,
    check_mebibyte_of_noise,
    check_many_in_flight,
    check_fragments_of_text,
    check_fragments_of_noise,
    check_ping_between_fragments,
    check_ping,
    check_close,
    check_close_after_messages,
    check_closed_by_server,
    check_connections,
]


async def verdict(name, check):
    """Runs a check and prints its result."""
    try:
        await asyncio.wait_for(check, TIMEOUT)
    except Exception as error:
        print(f"FAIL python {name}: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"PASS python {name}", flush=True)
    return True


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="ws://… of an echo server that compresses when it is asked to")
    parser.add_argument("--subprotocol", help="one that the server chooses (default: it knows none)")
    options = parser.parse_args()
    verdicts = []
    for offer_name, offer in OFFERS.items():
        client = Client(options.url, offer)
        for check in CHECKS:
            name = check.__name__.removeprefix("check_").replace("_", "-")
            verdicts.append(await verdict(f"{offer_name}/{name}", check(client)))
    subprotocol = check_subprotocol(Client(options.url, None), options.subprotocol)
    verdicts.append(await verdict("subprotocol", subprotocol))
    print(f"python: {verdicts.count(True)} passed, {verdicts.count(False)} failed")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
