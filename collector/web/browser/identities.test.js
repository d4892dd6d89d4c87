import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, control, everywhere, harmless, settled, shot, visit, world } from './lib.js';

const of = (id) => `/identities/${encodeURIComponent(id)}`;
const total = async (page) => Number(await page.locator('#list-total').getAttribute('data-total'));

test('the list can be searched, chosen from, sorted and paged', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/identities');
    await settled(page);
    const all = await total(page);
    assert.ok(all >= world.identities, `${all} identities`);
    for (const name of ['State of learning', 'Domain', 'Environment', 'Owner', 'Evidence']) assert.equal(await page.locator('.facet h2', { hasText: name }).count(), 1, `no facet ${name}`);
    await harmless(page);

    const value = page.locator('.facet', { hasText: 'State of learning' }).locator('a').first();
    const [word, count] = await value.locator('span').allInnerTexts();
    await value.click();
    await page.waitForURL(/state=/);
    assert.equal(await total(page), Number(count.replace(/\D/g, '')));
    for (const state of await page.locator('#identities tbody [data-label="State"] .badge').allInnerTexts()) assert.equal(state, word);
    await page.getByRole('link', { name: /^State of learning: / }).click();
    await page.waitForURL((u) => !u.search.includes('state='));

    await page.getByRole('link', { name: 'Last used' }).click();
    await page.waitForURL(/sort=-last-used/);
    const times = await page.locator('#identities tbody tr td:last-child time').evaluateAll((list) => list.map((t) => t.getAttribute('datetime')));
    assert.deepEqual(times, [...times].sort().reverse());
    const first = await page.locator('#identities tbody tr').first().getAttribute('data-row');
    const began = Date.now();
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.waitForURL(/cursor=/);
    console.log(`a page of the list took ${Date.now() - began} ms`);
    assert.notEqual(await page.locator('#identities tbody tr').first().getAttribute('data-row'), first);
    await page.getByRole('link', { name: 'First page' }).click();
    await page.waitForURL((u) => !u.search.includes('cursor='));
    assert.equal(await page.locator('#identities tbody tr').first().getAttribute('data-row'), first);

    await page.getByRole('searchbox', { name: 'Part of a name or of an owner' }).fill(world.busiest);
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=/);
    await page.locator(`tr[data-row="${world.busiest}"] a.id`).click();
    await page.getByRole('heading', { level: 1 }).waitFor();
    assert.equal(decodeURIComponent(new URL(page.url()).pathname), `/identities/${world.busiest}`);
  });
});

test('a search without an answer, and a filter that is none, say so', async () => {
  await visit({ as: 'viewer', tolerate: /400|404/ }, async (page) => {
    await page.goto('/identities?q=no-such-identity-anywhere');
    await page.getByText('No identity is like that').waitFor();
    await accessible(page);
    await shot(page, 'identities-empty');
    assert.equal((await page.goto('/identities?colour=red'))?.status(), 400);
    assert.equal((await page.goto('/identities?cursor=x'))?.status(), 400);
    assert.equal((await page.goto(of('spiffe://sim.example/ns/none/sa/none')))?.status(), 404);
    assert.equal((await page.goto('/identities/nonsense'))?.status(), 400);
  });
});

test('the list is usable by everybody', () => everywhere('identities', '/identities'));

test('one identity shows reach, activity, graph, blast radius and scope', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(of(world.busiest));
    for (const id of ['reach', 'graph', 'activity', 'certificates', 'places', 'findings', 'decisions', 'scope', 'blast', 'reviews']) assert.equal(await page.locator(`#${id}`).count(), 1, `no #${id}`);
    assert.ok((await page.locator('#reach tbody tr').count()) > 3);
    assert.equal(await page.locator('svg.heat rect').count(), 7 * 24);
    assert.ok((await page.locator('svg.heat rect:not(.heat-0)').count()) > 0, 'the map of hours is empty');
    assert.equal(await page.locator('#activity details table').first().locator('tbody tr').count(), 7);
    await settled(page);
    await page.locator('#blast').scrollIntoViewIfNeeded();
    await page.locator('#blast .graph canvas').first().waitFor();
    await settled(page);
    assert.ok(await page.locator('#activity .chart canvas').evaluate((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)), 'the chart is empty');
    const graph = page.locator('#graph .graph');
    assert.ok(Number(await graph.getAttribute('data-edges')) >= (await page.locator('#reach tbody tr').count()) / 2);
    assert.equal(await page.locator('form[method="post"]').count() > 1, false, 'a viewer is offered to change something');
    assert.equal(await page.locator('a[href^="/decisions/new"]').count(), 0, 'a viewer is offered to deny');
    await harmless(page);
  });
});

test('a link to a part leads there, whatever is drawn above it later', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(`${of(world.busiest)}#blast`);
    await page.locator('#blast .graph canvas').first().waitFor(); // and so it came into view
    await settled(page);
    const { y } = (await page.locator('#blast').boundingBox()) ?? { y: NaN };
    assert.ok(y >= 0 && y < 800, `the part begins ${y} px below the top of a window of 900`); // it is the last but one, and was short before
  });
});

test('one identity is usable by everybody', () =>
  everywhere('identity', of(world.busiest), {
    as: 'admin',
    ready: async (page) => {
      await page.locator('#blast').scrollIntoViewIfNeeded();
      await page.locator('#blast .graph canvas').first().waitFor();
      await settled(page);
      await page.evaluate(() => scrollTo(0, 0));
    },
  }));

test('names that mean harm are text, also in the graph', async () => {
  await visit({ as: 'admin' }, async (page) => {
    for (const f of world.hostile.slice(0, 4)) {
      await page.goto(of(f.identity));
      await settled(page);
      await harmless(page);
      await accessible(page);
    }
    await shot(page, 'identity-hostile');
  });
});

test('a scope is generated, applied after a question, compared, and withdrawn', async () => {
  await visit({ as: 'viewer', tolerate: /403/ }, async (page) => {
    await page.goto(`${of(world.busiest)}/scope`);
    assert.equal(await page.getByRole('button', { name: 'Apply this scope' }).count(), 0);
  });
  await visit({ as: 'admin' }, async (page) => {
    await page.goto(of(world.busiest));
    await page.getByRole('link', { name: 'Deny…' }).waitFor();
    await page.getByRole('link', { name: 'Generate from what it reaches…' }).click();
    await page.waitForURL(/\/scope$/);
    await accessible(page);
    await shot(page, 'scope');
    const rows = page.locator('form.card tbody tr');
    const entries = await rows.count();
    assert.ok(entries > 1);
    const left = await rows.first().locator('th').innerText();
    await rows.first().getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Apply this scope' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    assert.match(page.url(), /\/scope$/);
    await page.getByRole('button', { name: 'Apply this scope' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Apply it' }).click();
    await page.waitForURL(/#scope$/);
    await page.locator('#scope').getByText(`${entries - 1} entries`).waitFor();
    await page.locator('#scope').getByText(left).first().waitFor(); // used, and not declared
    await accessible(page);
    await page.locator('#scope').screenshot({ path: `${process.env.AMBIT_SHOTS}/identity-scope.png` });
    await page.getByRole('button', { name: 'Withdraw the scope' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Withdraw it' }).click();
    await page.getByText('No scope is declared').waitFor();
    await page.goto('/audit');
    await page.getByText('scope.withdraw').first().waitFor();
    await page.getByText('scope.apply').first().waitFor();
  });
});

test('an identity is reviewed and exempted, and that ends', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto(of(world.busiest));
    const box = page.locator('#reviews');
    await box.getByLabel('Note').fill('<b>looked</b> at it');
    await box.getByRole('button', { name: 'Record the review' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Record it' }).click();
    await box.getByText('<b>looked</b> at it').waitFor();
    await box.getByLabel('Reason').fill('runs in winter');
    await box.getByRole('button', { name: 'Exempt it' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Exempt it' }).click();
    await page.getByText('token:responder: runs in winter').waitFor();
    await page.locator('#reviews').getByRole('button', { name: 'End the exemption' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
    await page.locator('#reviews').getByRole('button', { name: 'Exempt it' }).waitFor();
  });
});

test('a form without the page’s token is refused, and so is who may not', async () => {
  await visit({ as: 'viewer', tolerate: /403/ }, async (page) => {
    await page.goto(of(world.busiest));
    for (const csrf of ['', await page.locator('meta[name="csrf"]').getAttribute('content')]) {
      const status = await page.evaluate(async ([path, token]) => (await fetch(`${path}/review`, { method: 'POST', body: new URLSearchParams({ verdict: 'keep', csrf: token }) })).status, [of(world.busiest), csrf ?? '']);
      assert.equal(status, 403);
    }
  });
});

test('a finding changes the page of its identity by itself', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(of(world.busiest));
    await page.locator('#live[data-live-state="on"]').waitFor();
    const count = page.locator('.tile', { hasText: 'Open findings' }).locator('.tile-value');
    const before = await count.innerText();
    await control('finding');
    await page.waitForFunction((b) => [...document.querySelectorAll('.tile')].find((t) => t.textContent?.includes('Open findings'))?.querySelector('.tile-value')?.textContent !== b, before);
    await page.locator('#findings').getByText('browser.example').first().waitFor();
  });
});

test('the page can be read without scripts', async () => {
  await visit({ as: '', scripts: false }, async (page) => {
    await page.goto(of(world.busiest));
    await page.getByRole('heading', { name: 'What it reaches, and what reaches it' }).waitFor();
    assert.equal(await page.locator('svg.heat rect').count(), 168);
    await page.getByRole('link', { name: 'Show the blast radius' }).click();
    await page.getByRole('heading', { name: 'Blast radius' }).waitFor();
    assert.ok((await page.locator('table tbody tr').count()) > 0);
  });
});
