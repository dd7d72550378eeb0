// Two people chat in a headless Chromium, on the page that the application websocket_chat serves; then the server is restarted
// and both are back.
//
// The browser is driven through the DevTools protocol over a pipe, without a port or a library. The test relies on
// these parts of the page: the elements `#log`, `#text`, `#send` and `#presence` (with the number of people in its
// text), and `?name=` in its address.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const HELP = `Usage: node browser.mjs SERVER [ARGUMENT]...
Runs the chat server SERVER (with --addr 127.0.0.1:PORT added), and lets two people chat on its page in a browser. If --self-signed is
among the arguments, the page comes by https, and connects by wss.

environment:
  CHROMIUM   the browser's command (default: chromium)`;

const STEP_TIMEOUT = 30_000; // milliseconds for each wait
const RUN_TIMEOUT = 180_000; // for the whole run
const END_TIMEOUT = 10_000; // between asking a process to end and killing it
const PAUSE = 50; // between two checks of a page

const FLAGS = [
  '--headless=new',
  '--remote-debugging-pipe',
  '--no-sandbox', // the page is our own, and containers and root have none
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-component-update',
  '--disable-sync',
  '--disable-background-networking',
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1', // no other host is reached
  // Only one of the two pages is in front; the other one must react just as quickly.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

// With this argument the server has a certificate that nobody has signed.
const SELF_SIGNED = '--self-signed';
const ANY_CERTIFICATE = '--ignore-certificate-errors';

// A child process that leads its own group, so that its children end with it.
class Child {
  constructor(command, args, stdio) {
    this.process = spawn(command, args, { stdio, detached: true });
    this.ended = new Promise((resolve) => {
      this.process.on('exit', (code, signal) => resolve(signal ?? code));
      this.process.on('error', (error) => resolve(error.message));
    });
  }

  signal(name) {
    const { pid, exitCode, signalCode } = this.process;
    if (pid !== undefined && exitCode === null && signalCode === null) {
      process.kill(-pid, name);
    }
  }

  // Ends the process. Returns true if it ended when asked to, false if it was killed.
  async end() {
    this.signal('SIGTERM');
    const inTime = await within(END_TIMEOUT, this.ended).then(() => true, () => false);
    this.signal('SIGKILL');
    await this.ended;
    return inTime;
  }
}

async function within(limit, promise) {
  const abort = new AbortController();
  const timeout = sleep(limit, undefined, { signal: abort.signal }).then(() => {
    throw new Error('out of time');
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    timeout.catch(() => {});
    abort.abort();
  }
}

// Starts the server on this port (0 means any). Returns it and its address once it listens.
async function startServer([command, ...args], port, children) {
  const server = new Child(command, [...args, '--addr', `127.0.0.1:${port}`], ['ignore', 'pipe', 'inherit']);
  children.push(server);
  const listening = new Promise((resolve) => {
    createInterface({ input: server.process.stdout }).on('line', (line) => {
      const address = /^listening on (\S+)$/.exec(line);
      if (address) {
        resolve(address[1]);
      }
    });
  });
  const failed = server.ended.then((status) => {
    throw new Error(`the server does not listen: ${status}`);
  });
  failed.catch(() => {}); // the server ends later in any case
  const address = await within(STEP_TIMEOUT, Promise.race([listening, failed]));
  return { server, address };
}

// The DevTools connection to the browser: JSON messages, each ended by a zero byte; the browser reads descriptor 3 and writes 4.
class Browser {
  constructor(command, flags, profile, children) {
    this.child = new Child(command, [...flags, `--user-data-dir=${profile}`], ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']);
    children.push(this.child);
    const [, , , input, output] = this.child.process.stdio;
    this.input = input;
    this.calls = new Map(); // the pending calls, by number
    this.pages = new Map(); // by session
    this.number = 0;
    let rest = '';
    output.setEncoding('utf8');
    output.on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      messages.forEach((message) => this.receive(JSON.parse(message)));
    });
    input.on('error', () => {}); // the browser has ended, which the next line reports
    this.child.ended.then((status) => {
      this.calls.forEach(({ reject }) => reject(new Error(`the browser ended: ${status}`)));
    });
  }

  call(method, params = {}, sessionId = undefined) {
    this.number += 1;
    const id = this.number;
    const answer = new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
    this.input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return within(STEP_TIMEOUT, answer).catch((error) => {
      throw new Error(`${method}: ${error.message}`);
    });
  }

  receive({ id, result, error, method, params, sessionId }) {
    if (id === undefined) {
      this.pages.get(sessionId)?.on(method, params);
      return;
    }
    const call = this.calls.get(id);
    this.calls.delete(id);
    error ? call.reject(new Error(error.message)) : call.resolve(result);
  }

  async open(url) {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, targetId, sessionId);
    this.pages.set(sessionId, page);
    await page.call('Runtime.enable');
    await page.call('Network.enable');
    const { errorText } = await page.call('Page.navigate', { url });
    check(errorText === undefined, `${url}: ${errorText}`);
    return page;
  }
}

class Page {
  constructor(browser, targetId, sessionId) {
    Object.assign(this, { browser, targetId, sessionId });
    this.connected = 0; // the number of WebSockets that have opened
    this.exceptions = [];
  }

  call(method, params) {
    return this.browser.call(method, params, this.sessionId);
  }

  on(method, params) {
    if (method === 'Network.webSocketHandshakeResponseReceived' && params.response.status === 101) {
      this.connected += 1;
    } else if (method === 'Runtime.exceptionThrown') {
      const { text, exception } = params.exceptionDetails;
      this.exceptions.push(exception?.description ?? text);
    }
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, returnByValue: true });
    check(exceptionDetails === undefined, `${expression}: ${exceptionDetails?.exception?.description}`);
    return result.value;
  }

  // The element's current text; empty if the element does not exist yet.
  text(selector) {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`);
  }

  // Waits until the element's text matches.
  async shows(selector, pattern) {
    const deadline = Date.now() + STEP_TIMEOUT;
    for (;;) {
      const text = await this.text(selector);
      if (pattern.test(text)) {
        return;
      }
      check(Date.now() < deadline, `${selector} does not show ${pattern}, but: ${text.slice(-200)}`);
      await sleep(PAUSE);
    }
  }

  async reconnected(before) {
    const deadline = Date.now() + STEP_TIMEOUT;
    while (this.connected <= before) {
      check(Date.now() < deadline, 'no new connection');
      await sleep(PAUSE);
    }
  }

  // Types a text and clicks, as a user would.
  async say(text) {
    await this.call('Page.bringToFront');
    await this.evaluate(`document.querySelector('#text').focus()`);
    await this.call('Input.insertText', { text });
    await this.evaluate(`document.querySelector('#send').click()`);
  }

  close() {
    return this.browser.call('Target.closeTarget', { targetId: this.targetId });
  }
}

function check(holds, message) {
  if (!holds) {
    throw new Error(message);
  }
}

async function step(name, action) {
  try {
    const result = await action();
    console.log(`PASS browser ${name}`);
    return result;
  } catch (error) {
    console.log(`FAIL browser ${name}: ${error.message}`);
    throw error;
  }
}

// Matches this number as a whole word.
const count = (people) => new RegExp(`(^|\\D)${people}(\\D|$)`);
const exactly = (text) => new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));

// One page sends a text. The other shows its author and the text as typed, not interpreted as markup.
async function chat(from, name, to, text) {
  await from.say(text);
  await to.shows('#log', exactly(text));
  await to.shows('#log', exactly(name));
}

async function converse(command, browserCommand, profile, children) {
  const [scheme, flags] = command.includes(SELF_SIGNED) ? ['https', [...FLAGS, ANY_CERTIFICATE]] : ['http', FLAGS];
  let { server, address } = await step('server-listens', () => startServer(command, 0, children));
  const browser = await step('browser-starts', async () => {
    const started = new Browser(browserCommand, flags, profile, children);
    await started.call('Browser.getVersion');
    return started;
  });
  const ada = await step('first-page-opens', () => browser.open(`${scheme}://${address}/?name=ada`));
  await step('presence-of-one', () => ada.shows('#presence', count(1)));
  const bob = await step('second-page-opens', () => browser.open(`${scheme}://${address}/?name=bob`));
  const together = () => Promise.all([ada, bob].map((page) => page.shows('#presence', count(2))));
  await step('presence-of-two', together);
  await step('first-to-second', () => chat(ada, 'ada', bob, 'Grüße, 世界 🚀'));
  await step('second-to-first', () => chat(bob, 'bob', ada, 'a < b && <b>c</b>'));

  const connected = [ada.connected, bob.connected];
  await step('server-restarts', async () => {
    check(await server.end(), 'the server does not end');
    ({ server } = await startServer(command, address.split(':').pop(), children));
  });
  await step('both-reconnect', () => Promise.all([ada.reconnected(connected[0]), bob.reconnected(connected[1])]));
  await step('presence-of-two-again', together);
  await step('first-to-second-again', () => chat(ada, 'ada', bob, 'Are you back?'));
  await step('second-to-first-again', () => chat(bob, 'bob', ada, 'So I am.'));
  await step('presence-after-one-left', async () => {
    await ada.close();
    await bob.shows('#presence', count(1));
  });
  await step('no-exceptions', () => {
    const exceptions = [...ada.exceptions, ...bob.exceptions];
    check(exceptions.length === 0, exceptions.join('; '));
  });
}

async function main(command) {
  if (command.length === 0 || command[0] === '--help') {
    console.log(HELP);
    return command.length === 0 ? 2 : 0;
  }
  const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
  const children = [];
  const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]).then(() => {
    throw new Error('interrupted');
  });
  try {
    const conversation = converse(command, process.env.CHROMIUM ?? 'chromium', profile, children);
    await within(RUN_TIMEOUT, Promise.race([conversation, interrupted]));
    console.log('browser: passed');
    return 0;
  } catch (error) {
    console.log(`browser: failed: ${error.message}`);
    return 1;
  } finally {
    await Promise.all(children.map((child) => child.end()));
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

process.exit(await main(process.argv.slice(2)));
