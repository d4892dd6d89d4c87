// @ts-check
import cytoscape from 'cytoscape';
import { announce } from './announce.js';
import { fold } from './fold.js';
import { expansion, load } from './graphdata.js';
import { legend, panel } from './graphpanel.js';
import { look } from './graphlook.js';
import { place } from './place.js';
import { plain } from './plain.js';

/** @typedef {import('./graphdata.js').GraphNode} GraphNode */
/** @typedef {import('./graphdata.js').GraphEdge} GraphEdge */

const most = 5000; // edges
const mostNodes = 5000;
const many = 1200; // edges, from which on the picture itself is moved, not drawn anew

/**
 * Draws who reaches what. What it shows stands beside it in words, and on the page's table.
 * @param {HTMLElement} el
 */
export async function graph(el) {
  const began = performance.now();
  const src = el.dataset.src ?? '';
  const data = await load(src, el.dataset.kind === 'blast');
  const fetched = performance.now();
  const center = data.center || el.dataset.center || '';
  // The library would write a style element, which the page's policy forbids; it leaves that where there is one.
  if (!document.getElementById('__________cytoscape_stylesheet')) {
    const mark = document.createElement('meta');
    mark.id = '__________cytoscape_stylesheet';
    document.head.append(mark);
  }
  const frame = build(el);
  if (!data.nodes.length) {
    frame.says.textContent = 'Nothing was seen in this window.';
  }
  const view = new View(frame, center, src);
  view.show(data, true);
  await view.drawn();
  el.dataset.nodes = String(view.nodes.size);
  el.dataset.edges = String(view.edges.size);
  el.dataset.drawn = String(Math.round(performance.now() - began));
  performance.measure('ambit:graph-data', { start: began, end: fetched });
  performance.measure('ambit:graph', { start: began, end: performance.now() });
}

/** @param {HTMLElement} el */
function build(el) {
  const small = el.classList.contains('small');
  el.replaceChildren();
  el.classList.remove('loading'); // which would have the canvas measured in a corner
  const bar = make('div', 'graph-bar');
  const search = /** @type {HTMLInputElement} */ (make('input', 'graph-search'));
  search.type = 'search';
  search.placeholder = 'Find in the graph';
  search.setAttribute('aria-label', 'Find in the graph');
  search.autocomplete = 'off';
  const found = make('ul', 'graph-found');
  found.hidden = true;
  const buttons = ['Zoom in', 'Zoom out', 'Whole'].map((text, i) => {
    const b = document.createElement('button');
    b.type = 'button';
    b.textContent = ['+', '−', 'Whole'][i];
    b.setAttribute('aria-label', text === 'Whole' ? 'Show the whole graph' : text);
    return b;
  });
  const says = make('span', 'graph-says muted');
  says.setAttribute('role', 'status');
  bar.append(search, ...buttons, says);
  const canvas = make('div', 'graph-canvas');
  canvas.tabIndex = 0;
  canvas.setAttribute('role', 'application');
  canvas.setAttribute('aria-roledescription', 'graph');
  canvas.setAttribute('aria-label', 'Who reaches what. Arrow keys go from node to node along edges, Enter expands, O opens the page of an identity, plus and minus zoom, Escape leaves a node.');
  const side = make('div', 'graph-side');
  const body = make('div', 'graph-body');
  body.append(canvas, side);
  el.append(bar, found, body, legend());
  return { el, search, found, buttons, says, canvas, side, small };
}

const longest = 30; // of a label, in characters; the rest is told beside the graph

/** A label with its beginning and its end. @param {string} label */
const short = (label) => (label.length <= longest ? label : `${label.slice(0, longest - 14)}…${label.slice(-13)}`);

/** @param {string} tag @param {string} name */
function make(tag, name) {
  const el = document.createElement(tag);
  el.className = name;
  return el;
}

/** The drawn graph, with what is chosen in it. */
class View {
  /** @param {ReturnType<typeof build>} frame @param {string} center @param {string} src */
  constructor(frame, center, src) {
    this.frame = frame;
    this.center = center;
    this.src = src;
    /** @type {Map<string, GraphNode>} */
    this.nodes = new Map();
    /** @type {Map<string, GraphEdge>} */
    this.edges = new Map();
    /** @type {Map<string, GraphNode>} */
    this.shown = new Map(); // what is drawn
    /** @type {Map<string, GraphEdge>} */
    this.drawnEdges = new Map();
    /** @type {Set<string>} */
    this.opened = new Set(); // folds
    /** @type {Map<string, string>} */
    this.within = new Map(); // folds
    this.chosen = '';
    this.statement = '';
    this.large = false;
    /** @type {any} */
    this.cy = undefined; // until something is shown
    /** @type {(HTMLCanvasElement | OffscreenCanvas)[]} */
    this.pictures = []; // that it made
    this.listen();
  }

  /** @param {boolean} large @param {any[]} elements */
  start(large, elements) {
    this.large = large;
    const cy = cytoscape({
      elements, container: this.frame.canvas, style: look(large), layout: { name: 'preset' }, minZoom: 0.02, maxZoom: 3, boxSelectionEnabled: false, autounselectify: true, autoungrabify: large,
      textureOnViewport: large, hideEdgesOnViewport: false, motionBlur: false, pixelRatio: large ? 1 : 'auto', headless: false,
    });
    const renderer = /** @type {any} */ (cy).renderer(); // which keeps pictures of parts
    const make = renderer.makeOffscreenCanvas;
    renderer.makeOffscreenCanvas = (/** @type {number} */ w, /** @type {number} */ h) => {
      const canvas = make.call(renderer, w, h);
      this.pictures.push(canvas);
      return canvas;
    };
    return cy;
  }

  /** @param {{ nodes: GraphNode[], edges: GraphEdge[], statement?: string }} data @param {boolean} fit */
  show(data, fit) {
    let [outside, over] = [0, 0];
    for (const n of data.nodes) {
      const old = this.nodes.get(n.id);
      if (!old && this.nodes.size >= mostNodes) outside++;
      else this.nodes.set(n.id, old ? { ...n, expanded: old.expanded || n.expanded } : n);
    }
    for (const e of data.edges) {
      const key = `${e.from} ${e.to}`;
      if (!this.edges.has(key) && (this.edges.size >= most || !this.nodes.has(e.from) || !this.nodes.has(e.to))) over++;
      else this.edges.set(key, e);
    }
    this.statement = [data.statement, outside || over ? `${outside} more nodes and ${over} more edges are left out: a graph holds ${mostNodes} and ${most}.` : ''].filter(Boolean).join(' ');
    const folded = fold(this.nodes, this.edges, this.opened, this.center);
    this.shown = folded.nodes;
    this.drawnEdges = folded.edges;
    this.within = folded.within;
    const nodes = [...this.shown.values()];
    const edges = [...this.drawnEdges.values()];
    const { points, titles } = place(nodes, edges, this.center);
    /** @type {any[]} */
    const elements = nodes.map((n) => ({
      group: 'nodes', data: { id: n.id, label: short(plain(n.label)), look: n.look, center: n.id === this.center ? 1 : 0, more: n.type === 'fold' || n.type === 'identity' && !n.expanded ? 1 : 0 }, position: points.get(n.id) ?? { x: 0, y: 0 },
    }));
    for (const t of titles) elements.push({ group: 'nodes', data: { id: `title ${t.text}`, label: plain(t.text), look: 'title' }, position: { x: t.x, y: t.y }, selectable: false, grabbable: false, events: 'no' });
    for (const e of edges) elements.push({ group: 'edges', data: { id: `${e.from} ${e.to}`, source: e.from, target: e.to, look: e.state } });
    const large = edges.length > many;
    const seen = this.cy && { zoom: this.cy.zoom(), pan: { ...this.cy.pan() }, large: this.large };
    this.end();
    this.cy = this.start(large, elements); // which styles them once; added later, it is thrice
    this.tap();
    if (fit || !seen || seen.large !== large) this.whole();
    else this.cy.viewport({ zoom: seen.zoom, pan: seen.pan });
    if (this.chosen) this.cy.getElementById(this.chosen).addClass('chosen');
    this.tell();
  }

  tell() {
    const hidden = this.within.size ? `, ${this.within.size} of them folded by like names` : '';
    this.frame.says.textContent = `${this.nodes.size} nodes, ${this.edges.size} edges${hidden}. ${this.statement}`;
    this.frame.el.dataset.nodes = String(this.nodes.size);
    this.frame.el.dataset.edges = String(this.edges.size);
    this.panel();
  }

  /** Resolves when a frame was drawn. */
  drawn() {
    return new Promise((resolve) => {
      this.cy.one('render', () => requestAnimationFrame(() => resolve(undefined)));
      this.cy.forceRender();
    });
  }

  /** Shows all, but not so large that few nodes fill it. */
  whole() {
    this.cy.fit(undefined, 30);
    if (this.cy.zoom() > 1.1) {
      this.cy.zoom(1.1);
      this.cy.center();
    }
    if (this.cy.zoom() < 0.4 && this.nodes.has(this.center)) { // labels could not be read: begin at the centre
      this.cy.zoom(0.7);
      this.cy.center(this.cy.getElementById(this.center));
      if (!this.cy.nodes().some((/** @type {any} */ n) => n.position('x') < 0)) this.cy.panBy({ x: -this.cy.width() * 0.42, y: 0 });
    }
  }

  panel() {
    panel(this.frame.side, this.shown, this.drawnEdges, this.chosen, {
      choose: (id) => this.choose(id, true), expand: (id) => this.expand(id), center: this.center, src: this.src,
    });
  }

  tap() {
    this.cy.on('tap', (/** @type {any} */ event) => {
      if (event.target === this.cy) this.choose('', false);
      else if (event.target.isNode?.()) this.choose(event.target.id(), false);
    });
    this.cy.on('dbltap', 'node', (/** @type {any} */ event) => this.expand(event.target.id()));
  }

  /** @param {string} id @param {boolean} move the picture there */
  choose(id, move) {
    const inside = this.within.get(id);
    if (inside) this.unfold(inside);
    this.cy.elements('.chosen, .near').removeClass('chosen near');
    this.chosen = this.shown.has(id) ? id : '';
    if (this.chosen) {
      const node = this.cy.getElementById(id);
      node.addClass('chosen');
      node.connectedEdges().addClass('near');
      const n = /** @type {GraphNode} */ (this.shown.get(id));
      announce(`${plain(n.label)}, ${n.words}, ${node.connectedEdges().length} edges here`);
      if (move) {
        if (this.cy.zoom() < 0.5) this.cy.zoom(0.8);
        this.cy.center(node);
      }
    }
    this.panel();
  }

  /** @param {string} id of a fold */
  unfold(id) {
    this.opened.add(id);
    this.chosen = '';
    this.show({ nodes: [], edges: [], statement: this.statement }, false);
  }

  /** @param {string} id */
  async expand(id) {
    if (this.shown.get(id)?.type === 'fold') {
      const members = this.shown.get(id)?.members ?? [];
      this.unfold(id);
      if (members.length) this.choose(members[0], true);
      announce(`${members.length} nodes unfolded`);
      return;
    }
    const n = this.nodes.get(id);
    if (!n || n.type === 'callers' || n.expanded) return;
    this.frame.says.textContent = 'Loading…';
    try {
      const more = await expansion(this.src, id);
      n.expanded = true;
      const before = this.nodes.size;
      this.show(more, false);
      this.choose(id, true);
      announce(`${this.nodes.size - before} more nodes`);
    } catch (error) {
      this.tell();
      this.frame.says.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  /** Goes from the chosen node along an edge, to the nearest in a direction. @param {number} dx @param {number} dy */
  step(dx, dy) {
    if (!this.chosen) {
      this.choose(this.shown.has(this.center) ? this.center : [...this.shown.keys()][0] ?? '', true);
      return;
    }
    const here = this.cy.getElementById(this.chosen);
    const from = here.position();
    let best = '';
    let least = Infinity;
    const consider = (/** @type {any} */ node) => {
      const p = node.position();
      const along = (p.x - from.x) * dx + (p.y - from.y) * dy;
      const across = Math.abs((p.x - from.x) * dy) + Math.abs((p.y - from.y) * dx);
      if (along <= 1 || node.data('look') === 'title') return;
      const cost = along + across * 2;
      if (cost < least) {
        least = cost;
        best = node.id();
      }
    };
    if (dx) here.neighborhood('node').forEach(consider);
    if (!best) this.cy.nodes().forEach(consider);
    if (best) this.choose(best, true);
  }

  /** Gives pictures back at once: browsers collect late what is left of pages, and the pictures of one take 40 MB. */
  end() {
    const renderer = this.cy?.renderer();
    this.cy?.destroy();
    this.cy = undefined;
    for (const c of [...this.pictures, ...(renderer?.data?.canvases ?? []), ...(renderer?.data?.bufferCanvases ?? [])]) c.width = c.height = 0;
    this.pictures = [];
  }

  listen() {
    const { canvas, search, found, buttons } = this.frame;
    const zoom = (/** @type {number} */ by) => this.cy.zoom({ level: this.cy.zoom() * by, renderedPosition: { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 } });
    buttons[0].addEventListener('click', () => zoom(1.3));
    buttons[1].addEventListener('click', () => zoom(1 / 1.3));
    buttons[2].addEventListener('click', () => this.cy.fit(undefined, 30));
    canvas.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const act = {
        ArrowLeft: () => this.step(-1, 0), ArrowRight: () => this.step(1, 0), ArrowUp: () => this.step(0, -1), ArrowDown: () => this.step(0, 1),
        Enter: () => this.expand(this.chosen), '+': () => zoom(1.3), '-': () => zoom(1 / 1.3), 0: () => this.cy.fit(undefined, 30), Escape: () => this.choose('', false),
        o: () => this.nodes.get(this.chosen)?.type === 'identity' && location.assign(`/identities/${encodeURIComponent(this.chosen)}`),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    });
    const find = () => {
      const text = search.value.trim().toLowerCase();
      const hits = text ? [...this.nodes.values()].filter((n) => n.id.toLowerCase().includes(text) || n.label.toLowerCase().includes(text)) : [];
      found.hidden = !text;
      found.replaceChildren(
        ...hits.slice(0, 12).map((n) => {
          const li = document.createElement('li');
          const b = document.createElement('button');
          b.type = 'button';
          b.textContent = plain(n.label);
          b.title = plain(n.id);
          b.addEventListener('click', () => {
            this.choose(n.id, true);
            found.hidden = true;
            canvas.focus();
          });
          li.append(b);
          return li;
        }),
      );
      if (text && !hits.length) {
        const li = document.createElement('li');
        li.textContent = 'No node of this graph is named so.';
        found.append(li);
      }
      return hits;
    };
    search.addEventListener('input', find);
    search.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') found.hidden = true;
      if (event.key !== 'Enter') return;
      event.preventDefault();
      const [first] = find();
      if (first) {
        this.choose(first.id, true);
        found.hidden = true;
        canvas.focus();
      }
    });
    const restyle = () => setTimeout(() => this.cy?.style(look(this.large)));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', restyle);
    new MutationObserver(restyle).observe(document.documentElement, { attributeFilter: ['data-theme'] });
    new ResizeObserver(() => this.cy?.resize()).observe(canvas);
    document.addEventListener('ambit:finding', (event) => {
      const { identity, status } = /** @type {CustomEvent} */ (event).detail ?? {};
      const n = this.nodes.get(identity);
      if (!n || status === 'resolved' || status === 'suppressed') return;
      n.look = 'finding';
      n.words = `${n.words}, with a new finding`;
      this.cy.getElementById(identity).data('look', 'finding');
      this.panel();
    });
    Object.assign(this.frame.el, { graph: this }); // for who measures
    addEventListener('pagehide', (event) => !event.persisted && this.end());
  }
}
