// The page's side of the chat. What people say goes into the page as text, never as markup.

const LONGEST_LOG = 500; // entries; the oldest give way
const LONGEST_LABEL = 32; // characters of a name
const FIRST_PAUSE = 500; // milliseconds before the first attempt to connect again; each further one is twice as long
const LONGEST_PAUSE = 30_000;
const NEAR_THE_END = 40; // pixels from the end of the log within which it is followed
const POLICY = 1008; // the server says that we do something wrong, so there is no use in trying again

const element = (id) => document.getElementById(id);

const parameters = new URLSearchParams(location.search);
const name = (parameters.get('name') ?? '').trim();
const room = (parameters.get('room') ?? 'lobby').trim();

const people = new Set();
let socket;
let attempts = 0;
let retry; // the timer of the next attempt

function connect() {
  clearTimeout(retry);
  setState('connecting', 'Connecting…');
  const address = new URL('chat', location.href);
  address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  address.search = new URLSearchParams({ name, room });
  address.hash = '';
  socket = new WebSocket(address);
  socket.addEventListener('message', ({ data }) => receive(JSON.parse(data)));
  socket.addEventListener('close', lose);
}

// The connection has ended, or there was none. The next attempt comes after a pause that doubles each time, and at random,
// so that not all pages come back at once to a server that has restarted.
function lose({ code, reason }) {
  const why = reason === '' ? '' : ` (${reason})`;
  people.clear();
  showPeople();
  if (code === POLICY) {
    setState('offline', `The server has closed the connection${why}.`);
    return;
  }
  const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempts);
  const pause = longest * (0.5 + Math.random() / 2);
  attempts += 1;
  retry = setTimeout(connect, pause);
  setState('offline', `Not connected${why}. Next attempt in ${Math.ceil(pause / 1000)} s.`);
}

// Only a connection on which the server has said welcome counts as one.
function setState(state, text) {
  document.body.dataset.state = state;
  element('state').textContent = text;
  element('retry').hidden = state !== 'offline';
  element('send').disabled = state !== 'online';
}

function receive(event) {
  switch (event.type) {
    case 'welcome':
      attempts = 0;
      setState('online', 'Connected');
      event.people.forEach((person) => people.add(person));
      showPeople();
      append('note', 'You are here as ', create('bdi', name));
      break;
    case 'joined':
      if (!people.has(event.name)) {
        people.add(event.name);
        showPeople();
        append('note', create('bdi', event.name), ' has joined');
      }
      break;
    case 'left':
      if (people.delete(event.name)) {
        showPeople();
        append('note', create('bdi', event.name), ' has left');
      }
      break;
    case 'said':
      showMessage(event);
      break;
    case 'notice':
      append('note', event.text);
      break;
  }
}

function showPeople() {
  const names = [...people].sort((one, other) => one.localeCompare(other));
  element('count').textContent = names.length;
  element('people').replaceChildren(...names.map((person) => {
    const item = tinted(create('li', ''), person);
    item.append(create('bdi', person), person === name ? ' (you)' : '');
    return item;
  }));
}

function showMessage({ name: author, text }) {
  const now = new Date();
  const time = create('time', now.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
  time.dateTime = now.toISOString();
  const who = tinted(create('bdi', author), author);
  who.className = 'name';
  const what = create('p', text);
  what.dir = 'auto';
  append(author === name ? 'said mine' : 'said', who, ' ', time, what);
}

// Adds an entry to the log, and follows it unless the reader has scrolled back.
function append(kind, ...content) {
  const history = element('history');
  const follows = history.scrollHeight - history.scrollTop - history.clientHeight < NEAR_THE_END;
  const entry = create('li', '');
  entry.className = kind;
  entry.append(...content);
  const log = element('log');
  log.append(entry);
  if (log.children.length > LONGEST_LOG) {
    log.firstElementChild.remove();
  }
  if (follows) {
    history.scrollTop = history.scrollHeight;
  }
}

function create(tag, text) {
  const created = document.createElement(tag);
  created.textContent = text;
  return created;
}

// Each name has a colour of its own, the same on every page.
function tinted(target, person) {
  const hue = [...person].reduce((hash, character) => (hash * 31 + character.codePointAt(0)) % 360, 7);
  target.style.setProperty('--hue', hue);
  return target;
}

function say(event) {
  event.preventDefault();
  const input = element('text');
  const text = input.value.trim();
  if (text !== '' && document.body.dataset.state === 'online') {
    socket.send(JSON.stringify({ say: text }));
    input.value = '';
  }
  input.focus();
}

function retryNow() {
  if (document.body.dataset.state === 'offline') {
    connect();
  }
}

// Whether the server takes it as the name of somebody or of a room.
function isLabel(text) {
  return text !== '' && [...text].length <= LONGEST_LABEL && !/\p{Cc}/u.test(text);
}

function start() {
  element('room').value = room;
  element('name').value = name;
  if (![name, room].every(isLabel)) {
    element('name').focus();
    return;
  }
  document.title = `Chat · ${room}`;
  element('title').textContent = room;
  element('enter').hidden = true;
  element('chat').hidden = false;
  element('leave').hidden = false;
  element('leave').search = new URLSearchParams({ room });
  element('compose').addEventListener('submit', say);
  element('retry').addEventListener('click', retryNow);
  addEventListener('online', retryNow);
  element('text').focus();
  connect();
}

start();
