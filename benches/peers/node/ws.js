// WebSocket echo on ws, with bufferutil where it has a binary for the machine, which is what ws documents for speed.

import { parseArgs } from 'node:util';
import { WebSocket, WebSocketServer } from 'ws';

const PAYLOAD_MAX = 16 * 1024 * 1024;
const BACKLOG = 4096; // connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn
const PAUSE_ABOVE = 1024 * 1024; // reading from a connection pauses while more than this waits to be written to it
// As the other peers: every message, at level 1, without context takeover.
const DEFLATE = {
  zlibDeflateOptions: { level: 1 },
  threshold: 0,
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
};

const HELP = `Usage: node ws.js [OPTION]...
A WebSocket echo server to measure beside others.

  --addr HOST:PORT   listen there (default 127.0.0.1:1833; port 0: the system chooses)
  --framing NAME     websocket (default), or websocket-deflate: with permessage-deflate
  --workers N        event loops; only 1 (default) is possible
  --broadcast        send every message to all connections, not just back
  --help             print this`;

function fail(problem) {
  console.error(`ws: ${problem}`);
  process.exit(1);
}

function readOptions() {
  const options = {
    addr: { type: 'string', default: '127.0.0.1:1833' },
    framing: { type: 'string', default: 'websocket' },
    workers: { type: 'string', default: '1' },
    broadcast: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  };
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return fail(error.message.split('\n')[0]);
  }
}

function parseAddress(text) {
  const parts = /^(?:\[(?<ipv6>[^\]]+)\]|(?<name>[^:]+)):(?<port>\d{1,5})$/.exec(text)?.groups;
  if (!parts || Number(parts.port) > 65535) {
    fail(`--addr: '${text}' is not HOST:PORT`);
  }
  return { host: parts.ipv6 ?? parts.name, port: Number(parts.port) };
}

function echo(connection, data, binary) {
  if (connection.bufferedAmount <= PAUSE_ABOVE) {
    connection.send(data, { binary });
  } else {
    connection.pause();
    connection.send(data, { binary }, () => connection.resume());
  }
}

function broadcast(clients, data, binary) {
  for (const client of clients) {
    if (client.readyState === WebSocket.OPEN) {
      client.send(data, { binary });
    }
  }
}

const options = readOptions();
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
if (!['websocket', 'websocket-deflate'].includes(options.framing)) {
  fail('--framing: websocket or websocket-deflate');
}
if (options.workers !== '1') {
  fail('--workers: this peer has one event loop');
}

// ws itself turns TCP_NODELAY on for each connection.
const server = new WebSocketServer({
  ...parseAddress(options.addr),
  backlog: BACKLOG,
  maxPayload: PAYLOAD_MAX,
  perMessageDeflate: options.framing === 'websocket-deflate' && DEFLATE,
  clientTracking: options.broadcast,
});

server.on('connection', (connection) => {
  connection.on('error', () => {}); // ws closes the connection
  if (options.broadcast) {
    connection.on('message', (data, binary) => broadcast(server.clients, data, binary));
  } else {
    connection.on('message', (data, binary) => echo(connection, data, binary));
  }
});
server.on('error', (error) => fail(error.message));
server.on('listening', () => {
  const { address, family, port } = server.address();
  console.log(`listening on ${family === 'IPv6' ? `[${address}]` : address}:${port}`);
});
