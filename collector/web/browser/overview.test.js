import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, base, control, everywhere, harmless, login, patience, settled, shot, visit, world } from './lib.js';

test('the overview shows numbers, a chart, agents and measures', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/?window=30d');
    await settled(page);
    assert.equal(await page.title(), 'Overview · Ambit');
    const tile = page.locator('.tile', { hasText: 'Identities' }).locator('.tile-value');
    assert.ok(Number((await tile.innerText()).replace(/\D/g, '')) >= world.identities);
    assert.equal(await page.locator('.chart canvas').count(), 1);
    assert.ok(await page.locator('.chart canvas').evaluate((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)), 'the chart is empty');
    for (const node of world.nodes.slice(0, 1)) await page.getByRole('link', { name: node }).first().waitFor();
    await page.getByText('Time to revoke p50').waitFor();
    await harmless(page);
  });
});

test('it is usable by everybody, in the dark, on a phone and on paper', () => everywhere('overview', '/?window=30d'));

test('it can be read without scripts', async () => {
  await visit({ as: '', scripts: false }, async (page) => {
    await page.goto('/?window=30d');
    await page.getByText('Findings by severity').waitFor();
    assert.ok((await page.locator('table').count()) >= 5);
    assert.match(await page.locator('.row-end time').first().innerText(), /UTC$/);
    await shot(page, 'overview-without-scripts');
  });
});

test('times are those of the reader, with UTC in the title', async () => {
  const seen = [];
  for (const zone of ['Asia/Tokyo', 'America/New_York']) {
    await visit({ as: '', zone }, async (page) => {
      await page.goto('/?window=30d');
      await settled(page);
      const el = page.locator('.row-end time').last();
      assert.match((await el.getAttribute('title')) ?? '', /UTC$/);
      seen.push(await el.innerText());
    });
  }
  assert.notEqual(seen[0], seen[1]);
});

test('a new finding appears by itself', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/');
    await settled(page);
    await page.locator('#live[data-live-state="on"]').waitFor();
    const count = page.locator('.tile', { hasText: 'New findings' }).locator('.tile-value');
    const before = await count.innerText();
    const more = () => page.waitForFunction((b) => document.querySelector('.tile-value')?.textContent !== b, before, { timeout: patience }); // through stream, detector and store
    for (let tries = 0; tries < 3; tries++) { // the identity goes on reaching what is new to it
      await control('finding');
      if (await more().then(() => true, () => false)) break;
    }
    await more();
    await page.getByText('browser.example').first().waitFor();
    await settled(page);
    await accessible(page);
  });
});

test('when Ambit is away the page says so, and it comes back by itself', async () => {
  await visit({ as: 'viewer', tolerate: /ERR_|Failed to load resource|50\d/ }, async (page) => {
    await page.goto('/');
    await page.locator('#live[data-live-state="on"]').waitFor();
    await control('stop');
    try {
      await page.locator('#live[data-live-state="stale"]').waitFor();
      assert.match(await page.locator('#stale').innerText(), /stale since \d\d:\d\d/);
      await shot(page, 'overview-stale');
    } finally {
      await control('start');
    }
    await page.locator('#live[data-live-state="on"]').waitFor({ timeout: 2 * patience });
    assert.equal(await page.locator('#stale').isVisible(), false);
  });
});

test('the theme is switched by a button, and kept', async () => {
  await visit({}, async (page) => {
    await page.goto('/');
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByRole('button', { name: 'Switch between light and dark' }).click();
    const dark = await ground();
    assert.notEqual(dark, light);
    await page.reload();
    assert.equal(await ground(), dark);
    await settled(page);
    await accessible(page);
  });
});

test('keys: help opens and closes, / goes to the search, the skip link comes first', async () => {
  await visit({}, async (page) => {
    await page.goto('/');
    await settled(page);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.className), 'skip');
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    await accessible(page);
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'search');
  });
});

test('somebody logs in, is known, and logs out', async () => {
  await visit({ tolerate: /401/ }, async (page) => {
    await page.goto('/');
    await page.getByRole('link', { name: 'Log in' }).click();
    await accessible(page);
    await shot(page, 'login');
    await page.getByLabel('Token').fill('ambit_wrongwrongwrongwrongwrong');
    await page.locator('main').getByRole('button', { name: 'Log in', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'not known' }).waitFor();
    await login(page, world.tokens.responder, '/?window=24h');
    assert.equal(new URL(page.url()).search, '?window=24h');
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ['ambit', true, 'Strict']);
    assert.ok(!decodeURIComponent(cookie.value).includes(world.tokens.responder));
    await page.getByText('token:responder').first().click();
    await accessible(page);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL(`${base}/login`);
    assert.deepEqual(await page.context().cookies(), []);
  });
});

test('a token that is revoked is out at once', async () => {
  const token = await control('token?name=leaver&role=viewer');
  await visit({ tolerate: /401/ }, async (page) => {
    await login(page, token, '/');
    await page.getByText('token:leaver').first().waitFor();
    await control('revoke?name=leaver');
    await page.waitForTimeout(1100); // for so long what was read of the file may be used
    await page.goto('/');
    await page.waitForURL(/\/login/);
    assert.deepEqual(await page.context().cookies(), []);
  });
});

test('a link of another site leads a browser with a session to its page', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.route('http://other.example/', (route) => route.fulfill({ contentType: 'text/html', body: `<a href="${base}/?window=90d">look</a>` }));
    await page.goto('http://other.example/');
    await page.getByText('look').click();
    await page.waitForURL(`${base}/?window=90d`);
    await page.getByText('token:viewer').first().waitFor();
  });
});

test('what is not there is told in a page of its own', async () => {
  await visit({ as: 'viewer', tolerate: /404/ }, async (page) => {
    const answer = await page.goto('/no/such/page');
    assert.equal(answer?.status(), 404);
    await page.getByRole('heading', { name: 'Not Found' }).waitFor();
    await accessible(page);
    await shot(page, 'not-found');
  });
});
