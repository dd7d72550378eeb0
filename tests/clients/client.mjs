// Tests a WebSocket echo server with the client of Node's `ws`, with and without compression.

import { once } from 'node:events';
import { deepStrictEqual as same, ok } from 'node:assert';
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { WebSocket } from 'ws';

const HELP = `Usage: node client.mjs --url URL [--subprotocol NAME]
Talks to a WebSocket echo server with the client of ws, with and without compression.

  --url URL            ws://… of an echo server that compresses when it is asked to
  --subprotocol NAME   one that the server chooses (default: it knows none)
  --help               print this`;

const TIMEOUT = 30_000; // milliseconds for each check
const MEBIBYTE = 1024 * 1024;
const CONNECTIONS = 64;
const IN_FLIGHT = 500;
const UNICODE = 'Grüße, κόσμε, мир, 世界, 🚀\u200d\u{10ffff}\0';

// The client's offers of compression. `false` is none. The threshold of 0 makes ws compress short messages too.
const OFFERS = {
  plain: false,
  deflate: { threshold: 0 },
  'deflate-without-context': { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  'deflate-small-window': { threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 10 },
};

// Bytes that cannot be compressed, the same in each run.
function noise(length, seed = '') {
  const blocks = [];
  for (let block = 0; block * 32 < length; block += 1) {
    blocks.push(createHash('sha256').update(`${seed}/${block}`).digest());
  }
  return Buffer.concat(blocks, blocks.length * 32).subarray(0, length);
}

// A connection whose messages are read one by one, in order, as `[data, binary]`; `null` means that it has closed.
class Connection {
  static async open(client, subprotocols = []) {
    const connection = new Connection(client, subprotocols);
    await once(connection.socket, 'open');
    return connection;
  }

  constructor({ url, offer, sockets }, subprotocols) {
    this.socket = new WebSocket(url, subprotocols, { perMessageDeflate: offer, maxPayload: 0 });
    this.arrived = [];
    this.waiting = [];
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
        this.waiting.splice(0).forEach((wake) => wake(null));
      });
    });
    this.socket.on('error', () => {}); // reported by 'close', or by once() while it opens
    this.socket.on('message', (data, binary) => {
      const message = [binary ? data : data.toString(), binary];
      const wake = this.waiting.shift();
      wake ? wake(message) : this.arrived.push(message);
    });
    sockets.push(this.socket);
  }

  receive() {
    if (this.arrived.length > 0) {
      return Promise.resolve(this.arrived.shift());
    }
    if (this.socket.readyState === WebSocket.CLOSED) {
      return Promise.resolve(null);
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  // Expects this message next.
  async expect(message) {
    const received = await this.receive();
    ok(received !== null, 'closed instead of a message');
    same(received[1], typeof message !== 'string', 'text or binary');
    ok(received[0].length === message.length, `${received[0].length} instead of ${message.length}`);
    ok(typeof message === 'string' ? received[0] === message : received[0].equals(message), 'another message');
  }

  async close(code, reason) {
    this.socket.close(code, reason);
    return this.closed;
  }
}

async function echo(client, ...messages) {
  const connection = await Connection.open(client);
  for (const message of messages) {
    connection.socket.send(message);
    await connection.expect(message);
  }
  same(await connection.close(1000), { code: 1000, reason: '' });
}

async function echoFragments(client, pieces, whole) {
  const connection = await Connection.open(client);
  pieces.forEach((piece, index) => connection.socket.send(piece, { fin: index + 1 === pieces.length }));
  await connection.expect(whole);
  await connection.close();
}

const CHECKS = {
  async offer(client) {
    const connection = await Connection.open(client);
    same(connection.socket.extensions, client.offer ? 'permessage-deflate' : '');
    await connection.close();
  },

  text: (client) => echo(client, 'Hello, hello, hello'),

  binary: (client) => echo(client, Buffer.from(Uint8Array.from(Array(256).keys()))),

  unicode: (client) => echo(client, UNICODE),

  empty: (client) => echo(client, '', Buffer.alloc(0), ''),

  // Numbered, as a text that only repeats itself inflates by a larger factor than a server allows.
  'mebibyte-of-text': (client) => {
    const lines = Array.from({ length: MEBIBYTE / 16 }, (_, number) => `${number}: the quick brown fox\n`);
    return echo(client, lines.join('').slice(0, MEBIBYTE));
  },

  'mebibyte-of-noise': (client) => echo(client, noise(MEBIBYTE)),

  async 'many-in-flight'(client) {
    const connection = await Connection.open(client);
    const messages = Array.from({ length: IN_FLIGHT }, (_, number) => `${number}: ${UNICODE.repeat(number % 50)}`);
    messages.forEach((message) => connection.socket.send(message));
    for (const message of messages) {
      await connection.expect(message);
    }
    await connection.close();
  },

  'fragments-of-text': (client) => echoFragments(client, Array(100).fill(UNICODE), UNICODE.repeat(100)),

  'fragments-of-noise'(client) {
    const pieces = Array.from({ length: 100 }, (_, number) => noise(number * 37, number));
    return echoFragments(client, pieces, Buffer.concat(pieces));
  },

  async 'ping-between-fragments'(client) {
    const connection = await Connection.open(client);
    connection.socket.send('first, ', { fin: false });
    connection.socket.ping('between');
    const [payload] = await once(connection.socket, 'pong');
    same(payload.toString(), 'between');
    connection.socket.send('second', { fin: true });
    await connection.expect('first, second');
    await connection.close();
  },

  async ping(client) {
    const connection = await Connection.open(client);
    for (const sent of [Buffer.alloc(0), Buffer.from('ping'), Buffer.alloc(125)]) {
      connection.socket.ping(sent);
      const [payload] = await once(connection.socket, 'pong');
      ok(payload.equals(sent));
    }
    await connection.close();
  },

  // The server answers a close frame with the same code (1005 means none), and with the same reason or none.
  async close(client) {
    const ends = [[1000], [1000, 'done'], [1001, 'Grüße'], [3000, 'r'.repeat(123)], [4999], []];
    for (const [code, reason] of ends) {
      const connection = await Connection.open(client);
      const closed = await connection.close(code, reason);
      same(closed.code, code ?? 1005);
      ok(['', reason].includes(closed.reason), `reason ${closed.reason}`);
    }
  },

  // All messages sent before the close frame are echoed before its answer.
  async 'close-after-messages'(client) {
    const connection = await Connection.open(client);
    for (let number = 0; number < 100; number += 1) {
      connection.socket.send(String(number));
    }
    same((await connection.close(1000)).code, 1000);
    for (let number = 0; number < 100; number += 1) {
      await connection.expect(String(number));
    }
  },

  // Invalid UTF-8 in a text: the server closes with 1007 (RFC 6455, section 8.1).
  async 'closed-by-server'(client) {
    const connection = await Connection.open(client);
    connection.socket.send(Buffer.from([0xc3, 0x28]), { binary: false });
    same((await connection.closed).code, 1007);
    same(await connection.receive(), null);
  },

  async connections(client) {
    const opening = Array.from({ length: CONNECTIONS }, () => Connection.open(client));
    const connections = await Promise.all(opening);
    await Promise.all(
      connections.map(async (connection, number) => {
        for (let round = 0; round < 20; round += 1) {
          connection.socket.send(`${number} in round ${round}`);
          await connection.expect(`${number} in round ${round}`);
        }
      }),
    );
    await Promise.all(connections.map((connection) => connection.close()));
  },
};

// The client offers two subprotocols. The server chooses the one that it knows, or none, and then ws fails the connection.
async function checkSubprotocol(client, subprotocol) {
  const opening = Connection.open(client, ['unknown.invalid', subprotocol ?? 'also-unknown.invalid']);
  if (subprotocol === undefined) {
    const refused = await opening.then(() => 'opened', (error) => error.message);
    same(refused, 'Server sent no subprotocol');
    return;
  }
  const connection = await opening;
  same(connection.socket.protocol, subprotocol);
  await connection.close();
}

// Runs a check, prints its result, and closes its connections.
async function verdict(name, check, url, offer) {
  const sockets = [];
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('out of time')), TIMEOUT);
  });
  try {
    await Promise.race([check({ url, offer, sockets }), timeout]);
    console.log(`PASS node ${name}`);
    return true;
  } catch (error) {
    console.log(`FAIL node ${name}: ${error.message.split('\n').join(' ')}`);
    return false;
  } finally {
    clearTimeout(timer);
    sockets.forEach((socket) => socket.terminate());
  }
}

function readOptions() {
  const options = { url: { type: 'string' }, subprotocol: { type: 'string' }, help: { type: 'boolean' } };
  try {
    const { values } = parseArgs({ options });
    if (values.url || values.help) {
      return values;
    }
    console.error('client: --url is needed');
  } catch (error) {
    console.error(`client: ${error.message}`);
  }
  return process.exit(2);
}

const options = readOptions();
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const verdicts = [];
for (const [offerName, offer] of Object.entries(OFFERS)) {
  for (const [name, check] of Object.entries(CHECKS)) {
    verdicts.push(await verdict(`${offerName}/${name}`, check, options.url, offer));
  }
}
const subprotocol = (client) => checkSubprotocol(client, options.subprotocol);
verdicts.push(await verdict('subprotocol', subprotocol, options.url, false));
const failed = verdicts.filter((passed) => !passed).length;
console.log(`node: ${verdicts.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
