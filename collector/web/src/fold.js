// @ts-check
/** @typedef {import('./graphdata.js').GraphNode} GraphNode */
/** @typedef {import('./graphdata.js').GraphEdge} GraphEdge */

const least = 6; // of like names, to be one node
const gravity = ['normal', 'new', 'failed', 'finding'];

/**
 * Puts resources of like names that one node alone has to do with into one node each, which can be unfolded: three hundred mirrors of packages say no more
 * than one.
 * @param {Map<string, GraphNode>} nodes
 * @param {Map<string, GraphEdge>} edges
 * @param {Set<string>} opened folds that stay unfolded
 * @param {string} center
 * @returns {{ nodes: Map<string, GraphNode>, edges: Map<string, GraphEdge>, within: Map<string, string> }} what is to be drawn, and which fold a node is in
 */
export function fold(nodes, edges, opened, center) {
  /** @type {Map<string, GraphEdge[]>} */
  const of = new Map();
  for (const e of edges.values()) {
    for (const id of [e.from, e.to]) {
      const list = of.get(id);
      if (list) list.push(e);
      else of.set(id, [e]);
    }
  }
  /** @type {Map<string, { parent: string, inbound: boolean, label: string, ids: string[] }>} */
  const groups = new Map();
  for (const n of nodes.values()) {
    const mine = of.get(n.id) ?? [];
    if (n.type === 'identity' || n.id === center || mine.length !== 1) continue;
    const inbound = mine[0].from === n.id;
    const parent = inbound ? mine[0].to : mine[0].from;
    const label = like(n.label);
    if (label === n.label) continue;
    const key = `fold ${parent} ${inbound ? 'from' : 'to'} ${n.kind} ${label}`;
    const group = groups.get(key) ?? { parent, inbound, label, ids: [] };
    groups.set(key, group);
    group.ids.push(n.id);
  }
  /** @type {Map<string, string>} */
  const within = new Map();
  const shown = new Map(nodes);
  const drawn = new Map(edges);
  for (const [key, g] of groups) {
    if (g.ids.length < least || opened.has(key)) continue;
    let state = 'normal';
    let connections = 0;
    /** @type {Set<string>} */
    const services = new Set();
    let grave = 0;
    for (const id of g.ids) {
      within.set(id, key);
      shown.delete(id);
      const [e] = /** @type {GraphEdge[]} */ (of.get(id));
      drawn.delete(`${e.from} ${e.to}`);
      if (gravity.indexOf(e.state) > gravity.indexOf(state)) state = e.state;
      if (e.state === 'finding') grave++;
      connections += e.connections;
      for (const s of e.services) services.add(s);
    }
    shown.set(key, {
      id: key, type: 'fold', kind: 'resources', label: `${g.label} (${g.ids.length})`, look: 'fold', members: g.ids,
      words: `${g.ids.length} resources of like names${grave ? `, findings are about ${grave} of them` : ''}`,
    });
    drawn.set(`${g.inbound ? key : g.parent} ${g.inbound ? g.parent : key}`, {
      from: g.inbound ? key : g.parent, to: g.inbound ? g.parent : key, state, services: [...services].slice(0, 8), connections,
    });
  }
  return { nodes: shown, edges: drawn, within };
}

/** A name with stars for its numbers, but not for those of its service. @param {string} label */
function like(label) {
  const at = label.lastIndexOf(':');
  return at < 0 ? label.replace(/\d+/g, '*') : label.slice(0, at).replace(/\d+/g, '*') + label.slice(at);
}
