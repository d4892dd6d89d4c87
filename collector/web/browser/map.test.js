import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, everywhere, harmless, settled, shot, visit, world } from './lib.js';

const counts = (page) => page.locator('.graph').evaluate((el) => ({ nodes: Number(el.dataset.nodes), edges: Number(el.dataset.edges), drawn: Number(el.dataset.drawn) }));
const around = `/map?center=${encodeURIComponent(world.busiest)}`;

/** A graph of n nodes and m edges as the API gives it: an identity with others and resources around it. */
function made(n, m) {
  const id = (i) => `spiffe://big.example/ns/n${i % 40}/sa/service-${i}`;
  const at = '2026-11-20T12:00:00Z';
  const letters = (i) => [...String(i)].map((d) => 'abcdefghij'[d]).join(''); // names that are not folded
  const nodes = Array.from({ length: n }, (_, i) =>
    i % 3 < 2 || i === 0
      ? { id: id(i), type: 'identity', kind: 'service-account', label: `n${i % 40}/service-${i}`, depth: i ? 1 : 0, state: ['stable', 'learning', 'unstable'][i % 3], namespace: `n${i % 40}`, expanded: i === 0 }
      : { id: `dns:host-${letters(i)}.example:443/tcp`, type: 'resource', kind: 'dns', label: `host-${letters(i)}.example:443/tcp`, depth: 1 });
  const edges = [];
  for (let i = 1; i < n; i++) edges.push([nodes[0].id, nodes[i].id]);
  const known = new Set(edges.map(String));
  for (let k = 0; edges.length < m; k++) {
    const a = nodes[(k * 7 + 1) % n];
    const b = nodes[(k * 13 + Math.floor(k / n) * 3 + 5) % n];
    if (a.type !== 'identity' || a === b || known.has(`${a.id},${b.id}`)) continue;
    known.add(`${a.id},${b.id}`);
    edges.push([a.id, b.id]);
  }
  const states = ['normal', 'normal', 'normal', 'new', 'failed', 'finding'];
  return {
    center: nodes[0].id, depth: 1, since: at, until: at, left_out: 0, nodes,
    edges: edges.map(([from, to], i) => ({ from, to, state: states[i % 6], services: ['443/tcp'], connections: 1000 - (i % 1000), first_time: at, last_time: at })),
  };
}

test('the whole map is drawn, by namespace, with a legend', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/map');
    await settled(page);
    const c = await counts(page);
    assert.ok(c.nodes > world.identities / 2 && c.edges > 50, JSON.stringify(c));
    console.log(`the whole of the small world: ${c.nodes} nodes and ${c.edges} edges in ${c.drawn} ms`);
    for (const text of ['with open findings', 'stable', 'never succeeded', 'a finding is about it']) await page.locator('.graph-legend').getByText(text, { exact: true }).waitFor();
    await harmless(page);
    await shot(page, 'map-all');
    const space = await page.locator('#namespace option').nth(1).getAttribute('value');
    await page.locator('#namespace').selectOption(space ?? '');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.waitForURL(/namespace=/);
    await settled(page);
    const part = await counts(page);
    assert.ok(part.edges > 0 && part.edges < c.edges, JSON.stringify(part));
    await page.getByRole('link', { name: '24h' }).click();
    await page.waitForURL(/window=24h/);
    await settled(page);
    assert.ok((await counts(page)).edges <= part.edges);
  });
});

test('it is usable by everybody', () => everywhere('map', around));

test('a node is found, chosen and expanded by keys alone', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(around);
    await settled(page);
    const before = await counts(page);
    await page.locator('.graph-canvas').focus();
    await page.keyboard.press('ArrowRight'); // the centre first
    await page.locator('.graph-side h3').waitFor();
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction(() => document.querySelector('.graph-side .mono')?.textContent !== document.querySelector('.graph')?.dataset.center);
    assert.match(await page.locator('#announce').innerText(), /edges here/);
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.graph-side h3').count(), 0);
    // An identity that is not expanded: from the search.
    const other = await page.locator('.graph').evaluate((el) => [...el.graph.nodes.values()].find((n) => n.type === 'identity' && !n.expanded)?.id);
    if (other) {
      await page.getByRole('searchbox', { name: 'Find in the graph' }).fill(other);
      await page.keyboard.press('Enter');
      await page.locator('.graph-side .mono', { hasText: other }).waitFor();
      await page.keyboard.press('Enter');
      await page.waitForFunction((n) => Number(document.querySelector('.graph')?.dataset.nodes) > n, before.nodes);
      assert.equal(await page.locator('.graph-side').getByRole('button', { name: 'Expand' }).count(), 0);
    }
    assert.ok(other, 'there is nothing to expand');
    await accessible(page);
    await shot(page, 'map-expanded');
    await page.keyboard.press('o');
    await page.waitForURL(/\/identities\//);
  });
});

test('a click chooses, and what is chosen is told in words', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(around);
    await settled(page);
    const at = await page.locator('.graph').evaluate((el) => {
      const p = el.graph.cy.getElementById(el.graph.center).renderedPosition();
      return { x: p.x, y: p.y };
    });
    await page.locator('.graph-canvas').click({ position: at });
    await page.locator('.graph-side .mono', { hasText: world.busiest }).waitFor();
    await page.locator('.graph-side').getByText(/^Reaches \d+/).waitFor();
    await page.locator('.graph-side').getByRole('link', { name: 'Open' }).click();
    await page.waitForURL(/\/identities\//);
  });
});

test('resources of like names are one node, which unfolds', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    const id = 'spiffe://big.example/ns/ci/sa/runner';
    const at = '2026-11-20T12:00:00Z';
    const hosts = Array.from({ length: 40 }, (_, i) => `dns:mirror-${i}.example:443/tcp`);
    const body = JSON.stringify({
      center: id, since: at, until: at, left_out: 0, nodes: [{ id, type: 'identity', kind: 'service-account', label: 'ci/runner', depth: 0, state: 'stable', expanded: true }, ...hosts.map((h) => ({ id: h, type: 'resource', kind: 'dns', label: h.slice(4), depth: 1 }))],
      edges: hosts.map((h, i) => ({ from: id, to: h, state: i === 7 ? 'finding' : 'normal', services: ['443/tcp'], connections: 1, first_time: at, last_time: at })),
    });
    await page.route('**/api/v1/graph?*', (route) => route.fulfill({ contentType: 'application/json', body }));
    await page.goto(around);
    await settled(page);
    const drawn = () => page.locator('.graph').evaluate((el) => el.graph.cy.nodes().length);
    assert.equal(await drawn(), 2);
    await page.locator('.graph-canvas').focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.locator('.graph-side').getByText('40 resources of like names, findings are about 1 of them').waitFor();
    await accessible(page);
    await shot(page, 'map-folded');
    await page.getByRole('searchbox', { name: 'Find in the graph' }).fill('mirror-33');
    await page.keyboard.press('Enter'); // what is folded is found
    await page.locator('.graph-side .mono', { hasText: 'dns:mirror-33.example:443/tcp' }).waitFor();
    assert.equal(await drawn(), 41);
  });
});

test('the same is there as a table, and without scripts', async () => {
  for (const scripts of [true, false]) {
    await visit({ as: scripts ? 'viewer' : '', scripts }, async (page) => {
      await page.goto(around);
      const edges = scripts ? (await settled(page), (await counts(page)).edges) : 0;
      await page.getByRole('link', { name: scripts ? 'As a table' : 'The same as a table' }).first().click();
      await page.getByRole('heading', { name: 'Who reaches what' }).waitFor();
      if (scripts) {
        await page.getByText(new RegExp(`^${edges} edges between`)).waitFor();
        await accessible(page);
        await shot(page, 'map-table');
      }
      assert.ok((await page.locator('tbody tr').count()) > 0);
      await harmless(page);
    });
  }
});

test('a centre that is nothing, or unknown, is told', async () => {
  await visit({ as: 'viewer', tolerate: /40[04]/ }, async (page) => {
    await page.goto(`/map?center=${encodeURIComponent('<script>')}`);
    await page.locator('.widget-error').waitFor();
    await page.goto(`/map?center=${encodeURIComponent('spiffe://sim.example/ns/none/sa/none')}`);
    await page.locator('.widget-error').waitFor();
    await accessible(page);
    await harmless(page);
    await shot(page, 'map-error');
  });
});

test('names that mean harm are text in the graph', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    for (const f of world.hostile.slice(0, 4)) {
      await page.goto(`/map?center=${encodeURIComponent(f.identity)}`);
      await settled(page);
      await page.locator('.graph-canvas').focus();
      for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowRight');
      await harmless(page);
    }
    await shot(page, 'map-hostile');
  });
});

test('a neighbourhood of 500 nodes is drawn at once', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    const data = JSON.stringify(made(500, 900));
    await page.route('**/api/v1/graph?*', (route) => route.fulfill({ contentType: 'application/json', body: data }));
    const times = [];
    for (let i = 0; i < 3; i++) {
      await page.goto(around);
      await settled(page);
      times.push(await counts(page));
    }
    console.log('500 nodes, 900 edges, from the question to the picture:', times.map((t) => `${t.drawn} ms`).join(', '));
    assert.equal(times[0].nodes, 500);
    // Made for a second, which `make bench-web` measures; here other tests may share the machine.
    assert.ok(Math.min(...times.map((t) => t.drawn)) < 5000, JSON.stringify(times));
    await shot(page, 'map-500');
  });
});

test('5,000 edges move smoothly', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    const data = JSON.stringify(made(2000, 5000));
    await page.route('**/api/v1/graph?*', (route) => route.fulfill({ contentType: 'application/json', body: data }));
    await page.goto(around);
    await settled(page);
    const c = await counts(page);
    assert.deepEqual([c.nodes, c.edges], [2000, 5000]);
    const box = await page.locator('.graph-canvas').boundingBox();
    const x = box.x + box.width / 2;
    const y = box.y + box.height / 2;
    await page.evaluate(() => {
      const frames = (globalThis.frames_ = []);
      let last = performance.now();
      const tick = (now) => {
        frames.push(now - last);
        last = now;
        globalThis.ticking = requestAnimationFrame(tick);
      };
      globalThis.ticking = requestAnimationFrame(tick);
    });
    await page.mouse.move(x, y);
    await page.mouse.down();
    for (let i = 0; i < 60; i++) await page.mouse.move(x + 4 * i, y + 2 * i);
    await page.mouse.up();
    const frames = await page.evaluate(() => {
      cancelAnimationFrame(globalThis.ticking);
      return globalThis.frames_.slice(2);
    });
    frames.sort((a, b) => a - b);
    const of = (share) => Math.round(frames[Math.min(frames.length - 1, Math.floor(frames.length * share))]);
    const heap = await page.evaluate(() => Math.round((performance.memory?.usedJSHeapSize ?? 0) / 2 ** 20));
    console.log(`5,000 edges: drawn in ${c.drawn} ms; while moved ${frames.length} frames, median ${of(0.5)} ms, p95 ${of(0.95)} ms, longest ${Math.round(frames.at(-1))} ms; heap ${heap} MB`);
    assert.ok(of(0.5) < 250, `the median frame took ${of(0.5)} ms`);
    assert.ok(heap < 300, `${heap} MB`);
    await shot(page, 'map-5000');
  });
});
