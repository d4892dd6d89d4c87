// @ts-check
import { lines, looks } from './graphlook.js';
import { plain } from './plain.js';

/** @typedef {import('./graphdata.js').GraphNode} GraphNode */
/** @typedef {import('./graphdata.js').GraphEdge} GraphEdge */

const listed = 60; // edges of a node

/** @param {string} tag @param {string} [text] @param {string} [name] */
function make(tag, text = '', name = '') {
  const el = document.createElement(tag);
  if (text) el.textContent = text;
  if (name) el.className = name;
  return el;
}

/**
 * Says in words what is chosen, and what can be done with it.
 * @param {HTMLElement} el
 * @param {Map<string, GraphNode>} nodes
 * @param {Map<string, GraphEdge>} edges
 * @param {string} chosen
 * @param {{ choose: (id: string) => void, expand: (id: string) => void, center: string, src: string }} act
 */
export function panel(el, nodes, edges, chosen, act) {
  const n = nodes.get(chosen);
  el.replaceChildren();
  el.classList.toggle('filled', Boolean(n));
  if (!n) {
    el.append(make('p', 'Choose a node: by a click, by the search, or by the arrow keys when the graph has the focus. Enter or a double click shows what lies around it.', 'muted'));
    return;
  }
  const head = make('h3', plain(n.label));
  el.append(head, make('p', n.type === 'fold' ? '' : plain(n.id), 'mono wrap'), make('p', plain(n.words)));
  const facts = make('dl', '', 'facts');
  for (const [name, value] of [['Owner', n.owner], ['Environment', n.environment], ['Privilege', n.privilege], ['Namespace', n.namespace], ['Why it matters', n.why]]) {
    if (value) facts.append(make('dt', name), make('dd', plain(value)));
  }
  if (facts.children.length) el.append(facts);
  const bar = make('p', '', 'toolbar');
  if (n.type !== 'callers' && !n.expanded) {
    const b = make('button', n.type === 'fold' ? 'Unfold' : 'Expand');
    /** @type {HTMLButtonElement} */ (b).type = 'button';
    b.addEventListener('click', () => act.expand(n.id));
    bar.append(b);
  }
  if (n.type === 'identity') bar.append(link(`/identities/${encodeURIComponent(n.id)}`, 'Open'));
  if (n.type !== 'callers' && n.type !== 'fold' && n.id !== act.center) bar.append(link(`/map?${new URLSearchParams({ center: n.id, window: new URL(act.src, location.href).searchParams.get('window') ?? '30d' })}`, 'Centre here'));
  el.append(bar);
  if (n.members) {
    const ul = make('ul', '', 'graph-edges');
    for (const id of n.members.slice(0, listed)) ul.append(make('li', plain(id)));
    el.append(ul);
    if (n.members.length > listed) el.append(make('p', `and ${n.members.length - listed} more`, 'muted'));
  }
  const mine = [...edges.values()].filter((e) => e.from === chosen || e.to === chosen);
  for (const [title, list, other] of /** @type {[string, GraphEdge[], (e: GraphEdge) => string][]} */ ([
    ['Reaches', mine.filter((e) => e.from === chosen), (e) => e.to], ['Is reached by', mine.filter((e) => e.to === chosen), (e) => e.from],
  ])) {
    if (!list.length) continue;
    el.append(make('h4', `${title} ${list.length}`));
    const ul = make('ul', '', 'graph-edges');
    for (const e of list.slice(0, listed)) {
      const li = make('li');
      const b = make('button', plain(nodes.get(other(e))?.label ?? other(e)), 'link');
      /** @type {HTMLButtonElement} */ (b).type = 'button';
      b.title = plain(other(e));
      b.addEventListener('click', () => act.choose(other(e)));
      li.append(b, make('span', ` ${e.services.map(plain).join(', ')}${e.state === 'normal' ? '' : ` · ${e.state}`}`, 'muted'));
      ul.append(li);
    }
    el.append(ul);
    if (list.length > listed) el.append(make('p', `and ${list.length - listed} more`, 'muted'));
  }
}

/** @param {string} href @param {string} text */
function link(href, text) {
  const a = document.createElement('a');
  a.className = 'button';
  a.href = href;
  a.textContent = text;
  return a;
}

const svg = 'http://www.w3.org/2000/svg';
const paths = {
  diamond: 'M8 1 15 8 8 15 1 8Z', triangle: 'M8 1.5 15 14.5H1Z', pentagon: 'M8 1 15 6.3 12.3 14.6H3.7L1 6.3Z', ellipse: 'M8 1.5a6.5 6.5 0 1 0 .01 0Z', rectangle: 'M2 2H14V14H2Z', tag: 'M1 2H10L15 8 10 14H1Z',
};

/** What shapes, lines and colours mean. */
export function legend() {
  const ul = make('ul', '', 'legend graph-legend');
  ul.setAttribute('aria-label', 'What shapes and lines mean');
  const entry = (/** @type {string} */ name, /** @type {string} */ d, /** @type {string} */ text, /** @type {number} */ width) => {
    const li = make('li');
    const s = document.createElementNS(svg, 'svg');
    s.setAttribute('viewBox', `0 0 ${width} 16`);
    s.setAttribute('width', String(width));
    s.setAttribute('height', '16');
    s.setAttribute('aria-hidden', 'true');
    const p = document.createElementNS(svg, 'path');
    p.setAttribute('d', d);
    p.setAttribute('class', name);
    s.append(p);
    li.append(s, make('span', text));
    ul.append(li);
  };
  for (const l of looks) entry(`look-${l.look}`, paths[/** @type {keyof typeof paths} */ (l.shape)], l.text, 16);
  entry('look-more', 'M1.5 1.5H14.5V14.5H1.5ZM4.5 4.5H11.5V11.5H4.5Z', 'double line: it can be expanded', 16);
  for (const l of lines) entry(`line-${l.look}`, 'M0 8H28', l.text, 28);
  return ul;
}
