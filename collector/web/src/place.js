// @ts-check
/**
 * @typedef {{ id: string, type: string, kind: string, label: string, namespace?: string }} Node
 * @typedef {{ from: string, to: string }} Edge
 * @typedef {{ x: number, y: number }} Point
 * @typedef {{ text: string, x: number, y: number }} Title
 */

// A cell has room for a node and its label.
const cellWidth = 216;
const cellHeight = 30;
const between = 130; // blocks
const heading = 56; // height of a block's name

/**
 * Places nodes on a grid of blocks, the same way each time and in one pass: around a centre in columns by the number of steps, who reaches it on the left and
 * what it reaches on the right; without one in a block for each namespace, its resources beside it.
 * @param {Node[]} nodes
 * @param {Edge[]} edges
 * @param {string} center
 * @returns {{ points: Map<string, Point>, titles: Title[] }}
 */
export function place(nodes, edges, center) {
  const known = new Map(nodes.map((n) => [n.id, n]));
  return known.has(center) ? around(known, edges, center) : byNamespace(nodes, known, edges);
}

/** @param {Node} a @param {Node} b */
const inOrder = (a, b) => compare(a.type, b.type) || compare(a.namespace ?? '', b.namespace ?? '') || compare(a.kind, b.kind) || compare(a.label, b.label) || compare(a.id, b.id);

/** @param {string} a @param {string} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * @param {number} n
 * @param {number} least rows
 */
function shape(n, least) {
  const rows = Math.min(n, Math.max(least, Math.ceil(Math.sqrt((n * cellWidth) / cellHeight / 1.6))));
  return { rows, columns: Math.ceil(n / rows) };
}

/** @param {Map<string, Node>} known @param {Edge[]} edges @param {string} center */
function around(known, edges, center) {
  /** @type {Map<string, [string, number][]>} */
  const near = new Map();
  const join = (/** @type {string} */ a, /** @type {string} */ b, /** @type {number} */ side) => {
    const list = near.get(a);
    if (list) list.push([b, side]);
    else near.set(a, [[b, side]]);
  };
  for (const e of edges) {
    join(e.from, e.to, 1);
    join(e.to, e.from, -1);
  }
  /** @type {Map<string, number>} */
  const column = new Map([[center, 0]]);
  /** @type {Map<string, string>} */
  const parent = new Map();
  let frontier = [center];
  while (frontier.length) {
    /** @type {string[]} */
    const next = [];
    for (const id of frontier) {
      for (const [other, side] of near.get(id) ?? []) {
        if (column.has(other)) continue;
        const at = /** @type {number} */ (column.get(id));
        column.set(other, at === 0 ? side : at + Math.sign(at));
        parent.set(other, id);
        next.push(other);
      }
    }
    frontier = next;
  }
  /** @type {Map<number, Node[]>} */
  const columns = new Map();
  for (const [id, n] of known) {
    const at = column.get(id) ?? 1;
    const list = columns.get(at);
    if (list) list.push(n);
    else columns.set(at, [n]);
  }
  /** @type {Map<string, Point>} */
  const points = new Map([[center, { x: 0, y: 0 }]]);
  for (const sign of [1, -1]) {
    let x = sign * (cellWidth + 60);
    for (let step = 1; columns.has(sign * step); step++) {
      const list = /** @type {Node[]} */ (columns.get(sign * step));
      const beside = (/** @type {Node} */ n) => points.get(parent.get(n.id) ?? '')?.y ?? 0;
      list.sort((a, b) => (step > 1 ? beside(a) - beside(b) : 0) || inOrder(a, b));
      const { rows, columns: wide } = shape(list.length, 16);
      list.forEach((n, i) => {
        points.set(n.id, { x: x + sign * Math.floor(i / rows) * cellWidth, y: ((i % rows) - (Math.min(rows, list.length) - 1) / 2) * cellHeight });
      });
      x += sign * (wide * cellWidth + between);
    }
  }
  return { points, titles: [] };
}

/** @param {Node[]} nodes @param {Map<string, Node>} known @param {Edge[]} edges */
function byNamespace(nodes, known, edges) {
  const home = (/** @type {Node} */ n) => n.namespace || (n.type === 'identity' ? 'no namespace' : '');
  /** @type {Map<string, string>} */
  const usedBy = new Map(); // resource: the namespace, or * for several
  for (const e of edges) {
    for (const [id, other] of [[e.from, e.to], [e.to, e.from]]) {
      const n = known.get(id);
      const by = known.get(other);
      if (!n || !by || n.type === 'identity') continue;
      const space = home(by);
      const now = usedBy.get(id);
      usedBy.set(id, now === undefined || now === space ? space : '*');
    }
  }
  /** @type {Map<string, { ids: Node[], rest: Node[] }>} */
  const blocks = new Map();
  for (const n of nodes) {
    const space = n.type === 'identity' ? home(n) : usedBy.get(n.id) ?? '*';
    const block = blocks.get(space) ?? { ids: [], rest: [] };
    blocks.set(space, block);
    (n.type === 'identity' ? block.ids : block.rest).push(n);
  }
  const sized = [...blocks].map(([name, b]) => {
    b.ids.sort(inOrder);
    b.rest.sort(inOrder);
    const ids = b.ids.length ? shape(b.ids.length, 6) : { rows: 0, columns: 0 };
    const rest = b.rest.length ? shape(b.rest.length, 6) : { rows: 0, columns: 0 };
    const gap = b.ids.length && b.rest.length ? 60 : 0;
    return { name, ...b, idRows: ids.rows, restRows: rest.rows, split: ids.columns * cellWidth + gap, width: (ids.columns + rest.columns) * cellWidth + gap, height: Math.max(ids.rows, rest.rows) * cellHeight + heading };
  });
  sized.sort((a, b) => Number(a.name === '*') - Number(b.name === '*') || b.height - a.height || compare(a.name, b.name));
  const area = sized.reduce((sum, b) => sum + (b.width + between) * (b.height + between / 2), 0);
  const wide = Math.max(...sized.map((b) => b.width), Math.sqrt(area * 1.7));
  /** @type {Map<string, Point>} */
  const points = new Map();
  /** @type {Title[]} */
  const titles = [];
  let x = 0;
  let y = 0;
  let tallest = 0;
  for (const b of sized) {
    if (x > 0 && x + b.width > wide) {
      x = 0;
      y += tallest + between / 2;
      tallest = 0;
    }
    titles.push({ text: b.name === '*' ? 'Shared resources' : b.name, x, y });
    b.ids.forEach((n, i) => points.set(n.id, { x: x + Math.floor(i / b.idRows) * cellWidth, y: y + heading + (i % b.idRows) * cellHeight }));
    b.rest.forEach((n, i) => points.set(n.id, { x: x + b.split + Math.floor(i / b.restRows) * cellWidth, y: y + heading + (i % b.restRows) * cellHeight }));
    x += b.width + between;
    tallest = Math.max(tallest, b.height);
  }
  return { points, titles };
}
