// What `make demo` tells, as the pages show it: real programs, watched in the kernel. The tests are one story, and each begins where the one before it ended.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { accessible, control, patience, settled, shot, visit, world } from './lib.js';

const of = (id) => `/identities/${encodeURIComponent(id)}`;
const live = (page) => page.locator('#live[data-live-state="on"]').waitFor();
const resource = (page, name) => page.locator('#reach tr', { has: page.locator(`a[title="${name}"]`) });

/** A picture of the documents, when these are wanted. @param {import('playwright-core').Page} page @param {string} name */
const picture = (page, name) => process.env.AMBIT_PICTURES && page.screenshot({ path: join(process.env.AMBIT_PICTURES, `${name}.png`) });

/** Waits until what the program last heard of its secret fits. @param {RegExp} want */
async function heard(want) {
  for (const end = Date.now() + patience; ;) {
    const said = await control('secret');
    if (want.test(said)) return;
    assert.ok(Date.now() < end, `checkout hears ${said} of its secret, and not ${want}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

let finding = '';

test('the overview counts what runs', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/?window=24h');
    await settled(page);
    const tile = page.locator('.tile', { hasText: 'Identities' }).locator('.tile-value');
    assert.ok(Number((await tile.innerText()).replace(/\D/g, '')) >= 4); // and others of this machine, such as this browser
    await page.getByRole('link', { name: world.node }).first().waitFor();
    await accessible(page);
    await page.goto('/identities?q=.service');
    for (const id of [world.checkout, world.reports]) await page.locator(`tr[data-row="${id}"] .badge`, { hasText: 'stable' }).waitFor();
    await page.goto(`/identities?q=${encodeURIComponent('spiffe://shop.example/')}`);
    for (const name of ['orders', 'payments']) await page.locator(`tr[data-row="spiffe://shop.example/${name}"]`).waitFor();
    await shot(page, 'demo-identities');
  });
});

test('checkout reaches its database and its cache, in a table and in a graph', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(of(world.checkout));
    for (const [name, direction] of [[world.database, 'outbound'], [world.cache, 'outbound']]) {
      const row = resource(page, name);
      assert.equal(await row.locator('[data-label="Direction"]').innerText(), direction);
      assert.ok(Number((await row.locator('[data-label="Connections"]').innerText()).replace(/\D/g, '')) > 3, 'it spoke to it for 12 seconds');
    }
    assert.equal(await page.locator('#identity-head .tile', { hasText: 'State' }).locator('.badge').innerText(), 'stable');
    await page.locator('#graph .graph[data-edges="2"] canvas').first().waitFor();
    await settled(page);
    await accessible(page);
    await shot(page, 'demo-checkout');
  });
});

test('both ends of mutual TLS are known by their certificates', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    for (const [own, other] of [['orders', 'payments'], ['payments', 'orders']]) {
      await page.goto(of(`spiffe://shop.example/${own}`));
      const row = page.locator('#reach tr', { has: page.locator(`a[title^="spiffe://shop.example/${other}:"]`) });
      await row.getByText('TLS 1.3, mutual, verified').waitFor();
      const certificate = page.locator('#certificates tbody tr').first();
      await certificate.locator('.mono').first().waitFor();
      assert.match(await certificate.locator('[data-label="Lifetime"]').innerText(), /\d/);
      await settled(page);
      await shot(page, `demo-${own}`);
    }
    await accessible(page);
  });
});

test('a finding comes by itself, and is told as a story', async () => {
  await visit({ as: 'responder', height: 860 }, async (page) => {
    await page.goto(`/findings?identity=${encodeURIComponent(world.checkout)}`);
    await live(page);
    assert.equal(await page.locator('[data-row]').count(), 0, 'there is a finding before anything happened');
    await control('change');
    const news = page.locator('#news');
    await news.getByText(/new finding/).waitFor();
    await news.getByRole('button', { name: 'Show' }).click();
    const row = page.locator('[data-row]', { hasText: world.secret });
    await row.waitFor();
    finding = (await row.getAttribute('data-row')) ?? '';
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`/findings/${finding}`));
    await live(page);
    assert.equal(await page.locator('.who-what a.id').getAttribute('title'), world.checkout);
    await page.locator('.who-what code', { hasText: world.secret }).waitFor();
    for (const name of [world.database, world.cache]) await page.locator('.baseline code', { hasText: name }).waitFor();
    const process = page.locator('section', { has: page.getByRole('heading', { name: 'Which processes, on which nodes' }) }).locator('tbody tr').first();
    for (const name of [world.program, world.node]) assert.ok((await process.innerText()).includes(name), `the process is shown without ${name}`);
    await page.locator('.commands code', { hasText: `ambit explain ${finding}` }).waitFor();
    assert.ok((await control(`explain?id=${finding}`)).includes(world.secret), 'the command tells something else');
    await accessible(page);
    await shot(page, 'demo-finding');
    await picture(page, 'web-finding');
  });
});

test('it is taken on by keys alone', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto(`/findings?identity=${encodeURIComponent(world.checkout)}`);
    await live(page);
    await page.keyboard.press('j');
    await page.keyboard.press('a');
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Acknowledge' }).waitFor();
    await dialog.getByRole('button', { name: 'Acknowledge' }).press('Enter');
    await page.locator('.notice', { hasText: 'acknowledged' }).waitFor();
    await page.goto(`/findings/${finding}`);
    await page.locator('.notice', { hasText: 'token:responder' }).waitFor();
  });
});

test('who may only read cannot deny it', async () => {
  await visit({ as: 'viewer', tolerate: /403/ }, async (page) => {
    await page.goto(`/findings/${finding}`);
    assert.equal(await page.locator('.acts').count(), 0);
    assert.equal((await page.goto('/decisions/new'))?.status(), 403);
    const csrf = (await page.locator('meta[name="csrf"]').getAttribute('content')) ?? '';
    const body = new URLSearchParams({ csrf, identity: world.checkout, to: world.secret, mode: 'enforce', typed: 'enforce', reason: 'x', for: '1h' }).toString();
    assert.equal(await page.evaluate(async (b) => (await fetch('/decisions/new', { method: 'POST', redirect: 'manual', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: b })).status, body), 403);
  });
  assert.doesNotMatch(await control('secret'), /not permitted/);
});

test('it is denied: the node says so, the program feels it, and what is revoked is over', async () => {
  await visit({ as: 'admin' }, async (page) => {
    await page.goto(`/findings/${finding}`);
    await page.getByRole('link', { name: 'Deny this…' }).click();
    await page.waitForURL(/\/decisions\/new/);
    await page.getByLabel('Reason').fill('nobody knows why it asks there');
    await page.getByLabel(/enforce/).check();
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByRole('heading', { name: /What it would have refused/ }).waitFor();
    assert.match(await page.locator('.what').innerText(), /[1-9]\d* connection/);
    await page.getByLabel(/Type enforce/).fill('enforce');
    await shot(page, 'demo-deny');
    await page.getByRole('button', { name: 'Deny', exact: true }).click();
    await page.waitForURL(/\/decisions\/d-/);
    await live(page);
    await page.locator(`[data-node="${world.node}"]`).getByText('in-force').waitFor();
    await heard(/operation not permitted/);
    await page.locator('[data-ack="denied"]').filter({ hasText: /[1-9]/ }).waitFor(); // counted in the kernel, and told by itself
    await accessible(page);
    await shot(page, 'demo-decision');
    await page.getByRole('link', { name: 'Revoke…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Reason').fill('its owner asked for it');
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await page.locator('.marks .badge', { hasText: 'revoked' }).waitFor();
    await heard(/^answers$/);
  });
});

test('who fell silent is listed, and the node that was watched', async () => {
  await control('told');
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/reports/unused?window=8s&q=.service');
    await page.locator(`#unused a[title="${world.reports}"]`).waitFor();
    for (const end = Date.now() + patience; await page.locator(`#unused a[title="${world.checkout}"]`).count(); await page.reload()) assert.ok(Date.now() < end, 'what works is listed'); // on a busy machine its news may be late
    await accessible(page);
    await shot(page, 'demo-unused');
    await page.goto('/coverage?window=24h');
    const row = page.locator(`[data-row="${world.node}"]`);
    await row.waitFor();
    assert.match(await row.locator('td.num').first().innerText(), /[1-9]/);
    await accessible(page);
    await shot(page, 'demo-coverage');
    await page.goto(`/map?center=${encodeURIComponent(world.checkout)}`);
    await settled(page);
    await shot(page, 'demo-map');
    await page.goto('/?window=24h');
    await settled(page);
    await shot(page, 'demo-overview');
  });
});
