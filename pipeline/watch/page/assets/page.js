'use strict';
// Draws what /page.json says, again and again. All of it is put in as text, never as markup; what has not changed is
// left alone, so that nothing flickers and what a reader has selected stays selected.
const EVERY_MS = 2000, PATIENCE_MS = 5000;
const STATES = {
  'flows': '✓ Flows', 'held': '‖ Held back', 'not ready': '! Not ready', 'stuck': '! Stuck',
  'away': '! No answer', 'unknown': '? Not seen from here',
};
const at = id => document.getElementById(id);
const number = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
const fraction = new Intl.NumberFormat('en', {maximumFractionDigits: 1});
const clock = new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit', second: '2-digit'});

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function show(node, is) {
  if (node.hidden === is) node.hidden = !is;
}
function some(value, one, many) {
  return number.format(value) + ' ' + (value === 1 ? one : many);
}
function rate(value) {
  return value === null ? '–' : fraction.format(value) + ' / s';
}
function span(seconds) {
  if (seconds < 60) return fraction.format(seconds) + ' s';
  if (seconds < 3600) return Math.floor(seconds / 60) + ' min ' + Math.floor(seconds % 60) + ' s';
  if (seconds < 86400) return Math.floor(seconds / 3600) + ' h ' + Math.floor(seconds % 3600 / 60) + ' min';
  return some(Math.floor(seconds / 86400), 'day', 'days') + ' ' + Math.floor(seconds % 86400 / 3600) + ' h';
}
function listed(words) {
  return words.length < 2 ? words.join('') : words.slice(0, -1).join(', ') + ' and ' + words.at(-1);
}

// Lines of a list or table, each under a key: a line that is still there keeps its node.
function lines(parent, items, key, make, fill) {
  const had = new Map([...parent.children].map(node => [node.dataset.key, node])), used = new Set();
  items.forEach((item, place) => {
    let id = String(key(item));
    while (used.has(id)) id += "'";
    used.add(id);
    let node = had.get(id);
    had.delete(id);
    if (!node) {
      node = make(item);
      node.dataset.key = id;
    }
    fill(node, item);
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] || null);
  });
  for (const node of had.values()) node.remove();
}
// A row under its table's heads: where there is no room for columns, each cell is shown with its head before it.
function row(body, code) {
  const heads = [...at(body).closest('table').querySelectorAll('th')].map(head => head.textContent);
  return () => {
    const line = document.createElement('tr');
    line.setAttribute('role', 'row');
    heads.forEach((head, column) => {
      const cell = line.appendChild(document.createElement('td'));
      cell.setAttribute('role', 'cell');
      cell.dataset.label = head;
      if (column === code) cell.appendChild(document.createElement('code'));
    });
    return line;
  };
}
function cells(line, texts) {
  texts.forEach((text, column) => {
    const cell = line.children[column];
    cell.classList.toggle('empty', !text);
    put(cell.querySelector('code') || cell, text);
  });
}

function stage(name, is, here) {
  const node = at(name), part = kind => node.querySelector('.' + kind);
  node.classList.toggle('here', here);
  node.classList.toggle('troubled', !['flows', 'unknown'].includes(is.state));
  put(part('state'), STATES[is.state] || is.state);
  part('state').className = 'state ' + ({'flows': 'good', 'unknown': 'soft'}[is.state] || 'bad');
  put(part('big'), rate(is.rate_per_second));
  const said = [];
  if (is.processes > 1) said.push(is.processes + ' processes');
  if (is.held_seconds) said.push('held for ' + span(is.held_seconds));
  if (is.restore_records) said.push('restoring, ' + some(is.restore_records, 'record', 'records') + ' left');
  if (is.done !== null) said.push(number.format(is.done) + ' so far');
  for (const [outcome, count] of Object.entries(is.turned_away)) said.push(number.format(count) + ' ' + outcome);
  put(part('small'), said.join(', '));
}
function topic(name, is) {
  const node = at(name), part = kind => node.querySelector('.' + kind);
  put(part('name'), is.name || '');
  put(part('big'), is.lag_records === null ? '–' : number.format(is.lag_records) + ' waiting');
  const said = [];
  if (is.lag_seconds !== null) said.push('lag ' + span(is.lag_seconds));
  if (is.partitions !== null) said.push(some(is.partitions, 'partition', 'partitions'));
  if (is.lost_records) said.push(some(is.lost_records, 'record', 'records') + ' lost');
  node.classList.toggle('troubled', Boolean(is.lost_records));
  put(part('small'), said.join(', '));
}
function budget(is, sink) {
  const node = at('customerio'), part = kind => node.querySelector('.' + kind);
  const known = is.per_second !== null;
  put(part('big'), known ? fraction.format(is.used_per_second || 0) + ' / s' : '–');
  put(part('small'), known ? 'of ' + fraction.format(is.per_second) + ' requests / s' : '');
  show(part('bar'), known);
  const share = is.per_second ? Math.min(100, 100 * (is.used_per_second || 0) / is.per_second) : 0;
  part('bar').firstElementChild.style.width = share + '%';
  node.classList.toggle('troubled', sink.state === 'held');
}

let version = '';
function draw(now) {
  if (version && version !== now.version) location.reload();  // another version's page goes with its figures
  version = now.version;
  put(at('title'), 'dodo-cio · ' + now.stage + ' ' + now.version);
  document.title = now.stage + (now.troubles.length ? ' · ' + now.troubles.length + ' to look at' : ' · flows');
  put(at('updated'), 'As of ' + clock.format(now.at_ms));
  for (const name of ['ingest', 'transform', 'sink']) stage(name, now.flow[name], name === now.stage);
  topic('webhooks', now.topics.transform);
  topic('operations', now.topics.sink);
  budget(now.budget, now.flow.sink);
  show(at('unnamed'), now.unnamed.length > 0);
  put(at('unnamed'), 'Not seen from here: ' + listed(now.unnamed) + '. PIPELINE_PEERS names where they answer.');

  show(at('no-troubles'), !now.troubles.length);
  lines(at('troubles'), now.troubles, one => one.stage + one.command + one.text.replace(/\d+/g, '#'), () => {
    const item = document.createElement('li');
    item.append(document.createElement('span'), document.createElement('code'));
    return item;
  }, (node, one) => {
    put(node.firstChild, one.stage + ': ' + one.text);
    put(node.lastChild, one.command || '');
    show(node.lastChild, Boolean(one.command));
  });
  show(at('no-letters'), !now.letters.length);
  show(at('letters-table'), now.letters.length > 0);
  lines(at('letters'), now.letters, one => one.class, row('letters', 3), (node, one) =>
    cells(node, [one.class, number.format(one.count), listed(one.stages), one.command]));
  show(at('no-events'), !now.events.length);
  show(at('events-table'), now.events.length > 0);
  lines(at('events'), now.events, one => [one.at_ms, one.stage, one.webhook_id, one.what].join(), row('events', 5), (node, one) =>
    cells(node, [clock.format(one.at_ms), one.stage, one.what, one.outcome, one.who, one.webhook_id]));
  lines(at('processes'), now.processes, one => one.id, row('processes'), (node, one) => cells(node, [
    one.stage + (one.is_here ? ' (this one)' : ''), one.version, span(Math.max(0, now.at_ms - one.started_at_ms) / 1000),
    (one.ready ? '✓ ' : '! ') + one.ready_reason, (one.live ? '✓ ' : '! ') + one.live_reason,
  ]));
}

let paused = false, timer = 0, seen = 0;
async function look() {
  clearTimeout(timer);
  timer = 0;
  let wrong = '';
  try {
    const answer = await fetch('page.json', {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
    if (answer.ok) draw(await answer.json());
    else wrong = 'This process answers ' + answer.status + ': its log says why.';
  } catch (error) {
    wrong = 'No answer from this process: it has ended, or cannot be reached from here.';
  }
  if (!wrong) seen = Date.now();
  else if (seen) wrong += ' What you see is ' + span(Math.round((Date.now() - seen) / 1000)) + ' old.';
  put(at('connection'), wrong);
  show(at('connection'), wrong !== '');
  show(at('seen'), seen > 0);
  show(at('pause'), true);
  next();
}
function next() {
  if (!timer && !paused && !document.hidden) timer = setTimeout(look, EVERY_MS);
}
at('pause').addEventListener('click', () => {
  paused = !paused;
  at('pause').setAttribute('aria-pressed', String(paused));
  clearTimeout(timer);
  timer = 0;
  if (!paused) look();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !paused && !timer) look();
});
look();
