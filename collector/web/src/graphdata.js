// @ts-check
import { api } from './api.js';

/**
 * @typedef {{ id: string, type: string, kind: string, label: string, namespace?: string, state?: string, findings?: number, severity?: string, owner?: string, environment?: string,
 *   privilege?: string, why?: string, expanded?: boolean, members?: string[], look: string, words: string }} GraphNode
 * @typedef {{ from: string, to: string, state: string, services: string[], connections: number, failed?: number, first_time?: string, last_time?: string }} GraphEdge
 * @typedef {{ nodes: GraphNode[], edges: GraphEdge[], center: string, statement?: string }} GraphData
 */

/** @param {any} n @returns {GraphNode} */
function node(n) {
  const words = [n.type === 'identity' ? n.kind : n.type === 'callers' ? 'callers without a name' : `resource, ${n.kind}`];
  let look = n.type;
  if (n.type === 'identity') {
    look = n.findings ? 'finding' : n.state === 'stable' || n.state === 'unstable' ? n.state : n.state === 'unknown' || !n.state ? 'unknown' : 'learning';
    words.push(`state ${n.state || 'unknown'}`);
    if (n.findings) words.push(`${n.findings} open findings, the gravest ${n.severity}`);
  } else if (n.why) {
    words.push(n.why);
  }
  return { ...n, look, words: words.join(', ') };
}

/**
 * @param {string} src
 * @param {boolean} blast it is a blast radius
 * @returns {Promise<GraphData>}
 */
export async function load(src, blast) {
  const data = await api(src);
  if (blast) return ofBlast(data);
  return { center: data.center ?? '', nodes: data.nodes.map(node), edges: data.edges, statement: data.statement };
}

/**
 * What lies around one more node.
 * @param {string} src of the graph that it joins
 * @param {string} id
 */
export function expansion(src, id) {
  const window = new URL(src, location.href).searchParams.get('window') ?? '30d';
  return load(`/api/v1/graph?${new URLSearchParams({ center: id, depth: '1', window })}`, false);
}

/** @param {any} g */
function ofBlast(g) {
  const label = (/** @type {string} */ id) => {
    const parts = id.replace(/^[^:]*:\/\//, '').split('/');
    return parts.length === 5 && parts[1] === 'ns' && parts[3] === 'sa' ? `${parts[2]}/${parts[4]}` : parts.slice(1).join('/') || id;
  };
  const shown = 300; // of each
  const items = g.items.slice(0, shown);
  const leaves = g.leaves.slice(0, shown);
  const known = new Set(items.map((/** @type {any} */ n) => n.identity));
  return {
    center: g.start,
    nodes: [
      ...items.map((/** @type {any} */ n) => ({
        id: n.identity, type: 'identity', kind: 'identity', label: label(n.identity), owner: n.owner, environment: n.environment, privilege: n.privilege, expanded: true,
        look: n.weight >= 6 ? 'weighty' : 'plain', words: `step ${n.depth}, weight ${n.weight}${n.why ? `: ${n.why.join(', ')}` : ''}`, why: n.why?.join(', '),
      })),
      ...leaves.filter((/** @type {any} */ l) => known.has(l.via)).map((/** @type {any} */ l) => ({
        id: l.resource, type: 'resource', kind: l.resource.split(':')[0], label: l.resource.slice(l.resource.indexOf(':') + 1), look: l.weight >= 3 ? 'weighty-resource' : 'resource',
        words: `resource, step ${l.depth}, weight ${l.weight}${l.why ? `: ${l.why}` : ''}`, why: l.why,
      })),
    ],
    edges: [
      ...items.filter((/** @type {any} */ n) => n.via && known.has(n.via)).map((/** @type {any} */ n) => ({ from: n.via, to: n.identity, state: 'normal', services: n.services ?? [], connections: n.connections ?? 0, last_time: n.last_time })),
      ...leaves.filter((/** @type {any} */ l) => known.has(l.via)).map((/** @type {any} */ l) => ({ from: l.via, to: l.resource, state: 'normal', services: [l.resource.slice(l.resource.lastIndexOf(':') + 1)], connections: l.connections, last_time: l.last_time })),
    ],
    statement: g.items.length > shown || g.leaves.length > shown ? `The first ${shown} of ${g.items.length} identities and of ${g.leaves.length} resources are drawn, the heaviest first.` : '',
  };
}
