import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, base, comes, control, everywhere, harmless, patience, settled, shot, visit, world } from './lib.js';

const rows = (page) => page.locator('[data-row]');
const live = (page) => page.locator('#live[data-live-state="on"]').waitFor();

/** Asks the API with the session of a page. */
const ask = (page, path) => page.evaluate(async (p) => (await fetch(p)).json(), path);

test('the list is usable by everybody, in the dark, on a phone and on paper', () => everywhere('findings', '/findings?status=all', { as: 'responder' }));

test('one finding is usable by everybody, in the dark, on a phone and on paper', () => everywhere('finding', `/findings/${world.fresh.find((f) => f.resource).id}`, { as: 'responder' }));

test('filters choose, tell how many there are, and stay in the address', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/findings?status=all');
    await settled(page);
    const counts = await ask(page, '/api/v1/findings/counts');
    assert.ok(counts.total >= world.findings);
    assert.match((await page.locator('.tabs a[aria-current]').innerText()).replace(/\D/g, ''), new RegExp(`^${counts.total}$`));
    const [severity] = Object.entries(counts.severities).sort((a, b) => a[1] - b[1])[0];
    await page.getByLabel('Severity').selectOption(severity);
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForURL(/severity=/);
    assert.deepEqual([...new Set(await page.locator('[data-row] .badge[data-severity]').allInnerTexts())], [severity]);
    assert.equal(await rows(page).count(), Math.min(50, counts.severities[severity]));
    const { id } = world.fresh[0];
    await page.goto(`/findings?status=all&text=${id}`);
    assert.equal(await rows(page).count(), 1);
    await page.goto(`/findings?status=all&identity=${encodeURIComponent(world.fresh[0].identity)}`);
    assert.ok((await rows(page).count()) >= 1);
    assert.equal(await page.getByLabel('Identity', { exact: true }).inputValue(), world.fresh[0].identity);
    await page.goto('/findings?status=all&text=nothing-is-called-like-this');
    await page.getByText('No finding fits').waitFor();
    await accessible(page);
  });
});

test('a filter that makes no sense is told in a page', async () => {
  await visit({ as: 'viewer', tolerate: /400/ }, async (page) => {
    for (const query of ['severity=terrible', 'status=gone', 'identity=nobody', 'window=x', 'cursor=x']) assert.equal((await page.goto(`/findings?${query}`))?.status(), 400, query);
    await accessible(page);
  });
});

test('pages follow each other, each finding once', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/findings?status=all');
    const { total } = await ask(page, '/api/v1/findings/counts');
    const seen = new Set();
    for (let n = 0; n < 20; n++) {
      for (const id of await rows(page).evaluateAll((all) => all.map((r) => r.getAttribute('data-row')))) {
        assert.ok(!seen.has(id), `${id} is there twice`);
        seen.add(id);
      }
      const next = page.getByRole('link', { name: 'Next page' });
      if (!(await next.count())) break;
      const here = page.url();
      await next.click();
      await page.waitForURL((u) => u.href !== here && u.searchParams.has('cursor'));
    }
    assert.ok(seen.size >= Math.min(total, 1000), `${seen.size} of ${total}`);
  });
});

test('triage by keys alone: move, open, go back, select, suppress with a reason, go on', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto('/findings?status=new');
    await live(page);
    const ids = await rows(page).evaluateAll((all) => all.map((r) => r.getAttribute('data-row')));
    assert.ok(ids.length >= 4, 'there are too few new findings');
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    assert.equal(await page.locator('[data-row].at').getAttribute('data-row'), ids[1]);
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`/findings/${ids[1]}`));
    await page.goBack();
    await live(page);
    for (const key of ['j', 'j', 'x', 'j', 'x', 's']) await page.keyboard.press(key);
    const dialog = page.getByRole('dialog');
    await dialog.waitFor();
    await dialog.getByText('Suppress 2 findings?').waitFor();
    await accessible(page);
    await shot(page, 'findings-suppress');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await page.keyboard.press('s');
    await dialog.waitFor();
    await dialog.getByLabel('For how long').selectOption('30d');
    await dialog.getByLabel('Reason').fill('a load test, until it is over');
    await dialog.getByRole('button', { name: 'Suppress' }).click();
    await page.locator('.notice', { hasText: '2 findings were suppressed' }).waitFor();
    assert.equal(await page.locator('[data-row].at').getAttribute('data-row'), ids[3]);
    for (const id of ids.slice(1, 3)) {
      const f = await ask(page, `/api/v1/findings/${id}`);
      assert.deepEqual([f.status, f.reason, f.by], ['suppressed', 'a load test, until it is over', 'token:responder']);
      let trail = await ask(page, `/api/v1/audit?subject=${id}`);
      for (const end = Date.now() + patience; !trail.items.length && Date.now() < end; trail = await ask(page, `/api/v1/audit?subject=${id}`)) await page.waitForTimeout(250);
      assert.deepEqual([trail.items[0].actor, trail.items[0].action], ['token:responder', 'finding.suppress']);
    }
    // One row, without selecting it.
    await page.keyboard.press('a');
    await dialog.waitFor();
    await dialog.getByRole('button', { name: 'Acknowledge' }).click();
    await page.locator('.notice', { hasText: 'acknowledged' }).waitFor();
    assert.equal((await ask(page, `/api/v1/findings/${ids[3]}`)).status, 'acknowledged');
  });
});

test('what is selected is decided about at once; a reason that is missing is asked for', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto('/findings?status=new');
    await live(page);
    const n = await rows(page).count();
    const button = page.getByRole('button', { name: 'Acknowledge' });
    assert.equal(await button.getAttribute('aria-disabled'), 'true');
    await page.getByLabel('All on this page').check();
    await page.getByText(`${n} selected`).waitFor();
    await page.getByLabel('All on this page').uncheck();
    for (let i = 0; i < 3; i++) await page.locator('[data-row] input').nth(i).check();
    await page.locator('.bulk summary').click();
    await page.getByRole('button', { name: 'Approve' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Approve' }).click();
    assert.ok(await dialog.isVisible(), 'it was sent without a reason');
    await dialog.getByLabel('Reason').fill('the new supplier');
    await dialog.getByRole('button', { name: 'Approve' }).click();
    await page.locator('.notice', { hasText: '3 findings were approved' }).waitFor();
    await accessible(page);
  });
});

test('of several findings, those that could not be decided about are told, each with why', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto('/findings');
    const still = (await ask(page, '/api/v1/findings?status=new&limit=1000')).items; // others were decided about
    const { id } = world.fresh.find((f) => still.some((x) => x.id === f.id));
    const gone = `new-reach-${'0'.repeat(24)}`;
    await page.goto(`/findings/decide?verdict=acknowledge&id=${id}&id=${gone}&back=${encodeURIComponent('/findings?status=all')}`);
    await page.getByRole('button', { name: 'Acknowledge' }).click();
    await page.getByRole('heading', { name: 'Not all findings were acknowledged' }).waitFor();
    await page.getByText('1 finding was.').waitFor();
    assert.equal(await rows(page).count(), 1);
    assert.match(await page.locator(`[data-row="${gone}"] td`).innerText(), /\w+ \w+/);
    await accessible(page);
    await shot(page, 'findings-decided');
    await page.getByRole('link', { name: 'Back to where you were' }).click();
    await page.waitForURL(/\/findings\?.*status=all/);
    assert.equal((await ask(page, `/api/v1/findings/${id}`)).status, 'acknowledged');
  });
});

test('what came while a question was open is shown when it is closed', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.clock.install(); // before the page: no timer runs by itself
    let loads = 0;
    page.on('request', (r) => (loads += Number(r.resourceType() === 'fetch' && new URL(r.url()).pathname === '/')));
    await page.goto('/');
    await live(page);
    await page.keyboard.press('?');
    const dialog = page.getByRole('dialog');
    await dialog.waitFor();
    await page.evaluate(() => document.dispatchEvent(new CustomEvent('ambit:refresh')));
    await page.clock.runFor(10_000);
    assert.equal(loads, 0, 'it was loaded behind a question');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    const loaded = page.waitForRequest((r) => r.resourceType() === 'fetch' && new URL(r.url()).pathname === '/');
    await page.clock.runFor(5_000);
    await loaded;
  });
});

test('a new finding is told, and shown when asked', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.clock.install();
    let loads = 0;
    page.on('request', (r) => (loads += Number(r.resourceType() === 'fetch' && new URL(r.url()).pathname === '/findings')));
    await page.goto('/findings');
    await live(page);
    const first = await rows(page).first().getAttribute('data-row');
    const news = page.locator('#news');
    for (let tries = 0; tries < 4 && !(await news.isVisible()); tries++) { // the identity goes on reaching what is new to it
      await control('finding');
      await news.waitFor({ timeout: patience / 2 }).catch(() => {});
    }
    await news.getByText(/new finding/).waitFor();
    await page.clock.runFor(20_000); // behind all that follows news by itself
    assert.equal(loads, 0, 'the list was loaded without being asked for');
    assert.equal(await rows(page).first().getAttribute('data-row'), first, 'the list jumped by itself');
    await accessible(page);
    await shot(page, 'findings-news');
    await news.getByRole('button', { name: 'Show' }).click();
    await page.locator('[data-row].fresh').first().waitFor();
    await page.getByText('browser.example').first().waitFor();
    await news.waitFor({ state: 'hidden' });
  });
});

test('a finding is a story: who, what, why with its numbers drawn, what was normal, what to do', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto('/findings');
    const still = (await ask(page, '/api/v1/findings?status=new&limit=1000')).items; // others were decided about
    const { id, identity, resource } = world.fresh.find((f) => f.resource && still.some((x) => x.id === f.id));
    await page.goto(`/findings/${id}`);
    await live(page);
    for (const name of ['What happened', 'Why it is unusual', 'The numbers, beside the days before', 'Timeline', 'Similar findings', 'What to do', 'Workload', 'On the command line']) {
      await page.getByRole('heading', { name, exact: true }).waitFor();
    }
    assert.equal(await page.locator('.who-what a.id').getAttribute('title'), identity);
    await page.locator('.who-what code', { hasText: resource }).waitFor();
    assert.ok((await page.locator('svg.columns rect.mark').count()) >= 2, 'the finding is not marked in the drawings');
    assert.ok((await page.locator('svg.columns rect').evaluateAll((all) => all.filter((r) => Number(r.getAttribute('height')) > 0).length)) > 10);
    assert.equal(await page.locator('[style]').count(), 0);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.locator('.commands button.copy').first().click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `ambit explain ${id}`);
    await page.getByRole('link', { name: 'False positive', exact: true }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Reason').fill('it was renamed');
    await dialog.getByRole('button', { name: 'False positive' }).click();
    await page.locator('.notice', { hasText: 'It was called false positive.' }).waitFor();
    await comes(page, page.locator('.timeline').getByText('it was renamed'));
    await page.getByRole('link', { name: 'Reopen', exact: true }).waitFor();
    await accessible(page);
    await shot(page, 'finding-decided');
  });
});

test('the page of a finding follows what others decide', async () => {
  const { id } = world.fresh.at(-1);
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(`/findings/${id}`);
    await live(page);
    const answer = await fetch(`${base}/api/v1/findings/${id}`, {
      method: 'PATCH', headers: { Authorization: `Bearer ${world.tokens.responder}`, 'Content-Type': 'application/json' }, body: JSON.stringify({ verdict: 'true-positive', reason: 'it was an attack' }),
    });
    assert.equal(answer.status, 200);
    await page.reload();
    await page.locator('.notice', { hasText: 'it was an attack' }).waitFor();
  });
});

test('who may only read sees no button, and is refused', async () => {
  const { id } = world.fresh[0];
  await visit({ as: 'viewer', tolerate: /403/ }, async (page) => {
    await page.goto('/findings?status=all');
    assert.equal(await page.locator('[data-decide], input[name="id"]').count(), 0);
    await page.goto(`/findings/${id}`);
    assert.equal(await page.locator('[data-decide], .button.danger').count(), 0);
    assert.equal((await page.goto(`/findings/decide?id=${id}&verdict=acknowledge`))?.status(), 403);
    await accessible(page);
    const sent = await page.evaluate(async ([path, csrf]) => (await fetch(path, { method: 'POST', redirect: 'manual', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: csrf })).status,
      ['/findings/decide', `id=${id}&verdict=acknowledge&csrf=${encodeURIComponent((await page.locator('meta[name="csrf"]').getAttribute('content')) ?? '')}`]);
    assert.equal(sent, 403);
  });
});

test('a form without the mark of its session changes nothing', async () => {
  const { id } = world.fresh[1];
  await visit({ as: 'responder', tolerate: /403/ }, async (page) => {
    await page.goto('/findings');
    const before = (await ask(page, `/api/v1/findings/${id}`)).decided;
    const send = (body) => page.evaluate(async (b) => (await fetch('/findings/decide', { method: 'POST', redirect: 'manual', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: b })).status, body);
    assert.equal(await send(`id=${id}&verdict=resolve`), 403);
    assert.equal(await send(`id=${id}&verdict=resolve&csrf=AAAA`), 403);
    assert.equal(await page.evaluate(async (i) => (await fetch('/api/v1/findings/verdicts', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ ids: [i], verdict: 'resolve' }) })).status, id), 403);
    assert.equal((await ask(page, `/api/v1/findings/${id}`)).decided, before);
  });
});

test('names that mean harm are text', async () => {
  await visit({ as: 'responder' }, async (page) => {
    await page.goto('/findings?status=all&text=onerror');
    assert.ok((await rows(page).count()) >= 1);
    await harmless(page);
    for (const { id } of world.hostile) {
      await page.goto(`/findings/${id}`);
      await settled(page);
      await harmless(page);
      await accessible(page);
      await page.locator('.acts a[data-decide]').first().click();
      await page.getByRole('dialog').waitFor();
      await harmless(page);
      await page.getByRole('dialog').getByRole('link', { name: 'Cancel' }).click();
    }
    await shot(page, 'finding-hostile');
    await page.goto(`/findings?status=all&text=${encodeURIComponent(world.hostileText.quote)}&rule=${encodeURIComponent(world.hostileText.html)}&namespace=${encodeURIComponent(world.hostileText.turn)}`);
    await harmless(page);
  });
});

test('without scripts findings are read, and decided about by forms', async () => {
  await visit({ as: 'responder', scripts: false }, async (page) => {
    await page.goto('/findings?status=new');
    const boxes = page.locator('[data-row] input');
    await boxes.nth(0).check();
    await boxes.nth(1).check();
    await page.getByRole('button', { name: 'Resolve' }).click();
    await page.getByRole('heading', { name: 'Resolve 2 findings?' }).waitFor();
    await page.getByLabel('Reason').fill('over');
    await page.locator('main').getByRole('button', { name: 'Resolve' }).click();
    await page.locator('.notice', { hasText: '2 findings were resolved' }).waitFor();
    await page.locator('[data-row] a').first().click();
    await page.getByRole('heading', { name: 'Why it is unusual' }).waitFor();
    await page.getByRole('link', { name: 'Acknowledge', exact: true }).click();
    await page.locator('main').getByRole('button', { name: 'Acknowledge' }).click();
    await page.locator('.notice', { hasText: 'It was acknowledged.' }).waitFor();
    await shot(page, 'finding-without-scripts');
  });
});

test('a finding that is not there has a page that says so', async () => {
  await visit({ as: 'viewer', tolerate: /404/ }, async (page) => {
    assert.equal((await page.goto('/findings/new-reach-000000'))?.status(), 404);
    await accessible(page);
  });
});
