import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, everywhere, harmless, settled, shot, visit, world } from './lib.js';

const names = ['unused', 'high-risk', 'ownership', 'reviews', 'inventory', 'metrics', 'exemptions'];

test('all reports can be walked to, and each says what it rests on', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/reports');
    await accessible(page);
    await shot(page, 'reports');
    for (const name of names) {
      await page.goto('/reports');
      await page.locator(`a[href="/reports/${name}"]`).click();
      await page.getByRole('heading', { level: 1 }).waitFor();
      await settled(page);
      await harmless(page);
      if (!['unused', 'high-risk', 'reviews'].includes(name)) {
        await accessible(page);
        await shot(page, `report-${name}`);
      }
      if (name !== 'exemptions') assert.ok((await page.locator('.notice').first().innerText()).length > 20, `${name} rests on nothing`);
    }
  });
});

for (const name of ['unused', 'high-risk', 'reviews']) test(`the report ${name} is usable by everybody`, () => everywhere(`report-${name}`, `/reports/${name}`, { as: 'admin' }));

test('the unused report has presets, windows, classes and files', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/reports/unused?window=7d');
    const total = Number((await page.locator('#unused h2').innerText()).replace(/\D/g, ''));
    assert.ok(total > 0, 'nothing is unused');
    const dormant = page.getByRole('navigation', { name: 'Class' }).getByRole('link').filter({ hasNotText: / 0$/ }).first();
    const count = Number(await dormant.locator('b').innerText());
    await dormant.click();
    await page.waitForURL(/class=/);
    assert.equal(Number((await page.locator('#unused h2').innerText()).split(' ')[0]), count);
    await page.locator('#preset').selectOption('cis-5.3');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.waitForURL(/preset=cis-5.3/);
    await page.getByText('CIS Controls 8 5.3').waitFor();

    await page.goto('/reports/unused?window=7d');
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'CSV' }).click()]);
    assert.match(file.suggestedFilename(), /^ambit-unused-\d{4}-\d\d-\d\d\.csv$/);
    const text = await (await fetch(new URL('/reports/unused?window=7d&format=csv', page.url()), { headers: { Authorization: `Bearer ${world.tokens.viewer}` } })).text();
    assert.match(text.split('\n')[0], /^identity,kind,class,verdict/);
    assert.ok(!/(^|,)"?[=+@-]/m.test(text.split('\n').slice(1).join('\n').replace(/(^|,)-?\d+(?=,|$)/gm, '')), 'a cell begins like a formula');
    const href = await page.getByRole('link', { name: 'JSON' }).getAttribute('href');
    const json = await page.evaluate(async (at) => (await fetch(at)).json(), href);
    assert.equal(json.total, total);
    assert.ok(await page.getByRole('button', { name: 'Print' }).isVisible());
    await page.evaluate(() => (window.print = () => (document.title = 'printed')));
    await page.getByRole('button', { name: 'Print' }).click();
    assert.equal(await page.title(), 'printed');
    await page.emulateMedia({ media: 'print' });
    assert.equal(await page.getByRole('link', { name: 'CSV' }).isVisible(), false);
  });
});

test('identities are exempted with a reason and an end, after a question, and the exemption is ended', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/reports/unused?window=7d');
    assert.equal(await page.getByRole('button', { name: 'Exempt' }).count(), 0);
  });
  await visit({ as: 'responder' }, async (page) => {
    await page.goto('/reports/unused?window=7d');
    const boxes = page.locator('#unused input[type="checkbox"]');
    const chosen = await boxes.first().getAttribute('value');
    await boxes.first().check();
    await page.getByLabel('Reason').fill('=once a year "<i>really</i>"');
    await page.getByRole('button', { name: 'Exempt', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Exempt', exact: true }).click();
    await accessible(page);
    await page.getByRole('dialog').getByRole('button', { name: 'Exempt them' }).click();
    await page.waitForURL(/\/reports\/exemptions$/);
    await page.getByText('=once a year "<i>really</i>"').waitFor();
    await page.getByText('token:responder').first().waitFor();
    await accessible(page);
    await shot(page, 'exemptions-one');
    await page.goto('/reports/unused?window=7d');
    await page.locator('tr', { has: page.locator(`a[title="${chosen}"]`) }).getByText('exempt', { exact: true }).waitFor();
    await page.goto('/reports/exemptions');
    await page.locator('form[action="/reports/exemptions/lift"] button').first().click();
    await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
    await page.getByText('0 in force').waitFor();
  });
});

test('identities are reviewed, several at once', async () => {
  await visit({ as: 'responder', tolerate: /400/ }, async (page) => {
    await page.goto('/reports/reviews?state=never-reviewed');
    const boxes = page.locator('input[name="identity"]');
    await boxes.nth(0).check();
    await boxes.nth(1).check();
    await page.locator('#verdict').selectOption('change');
    const send = async () => {
      await page.getByRole('button', { name: 'Record', exact: true }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Record it' }).click();
    };
    await send(); // without a note
    await page.getByText('note is missing').waitFor();
    await page.goBack();
    await page.goto('/reports/reviews?state=never-reviewed');
    await boxes.nth(0).check();
    await boxes.nth(1).check();
    await page.locator('#verdict').selectOption('change');
    await page.locator('#note').fill('narrow its scope');
    await send();
    await page.waitForURL(/state=reviewed/);
    assert.equal(await page.getByText('narrow its scope').count(), 2);
    await page.goto('/audit');
    await page.locator('tbody').getByText('review').first().waitFor();
  });
});

test('a filter that is none is told', async () => {
  await visit({ as: 'viewer', tolerate: /400/ }, async (page) => {
    for (const path of ['/reports/unused?class=odd', '/reports/unused?window=soon', '/reports/high-risk?at_least=9', '/reports/reviews?state=x', '/reports/metrics?format=pdf', '/reports/unused?preset=none-such']) {
      assert.equal((await page.goto(path))?.status(), 400, path);
    }
  });
});
