import assert from 'node:assert/strict';
import { test } from 'node:test';
import { everywhere, harmless, settled, visit, world } from './lib.js';

test('each node has a line of time, a gap has a cause, and one node has a page', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/coverage?window=30d');
    await settled(page);
    assert.equal(await page.locator('#nodes tbody tr').count(), world.nodes.length);
    assert.ok((await page.locator('#nodes .spans .seen').count()) >= world.nodes.length);
    await page.getByText('edges-full').first().waitFor();
    await page.getByText('TLS of programs that were stripped of symbols').first().waitFor();
    await harmless(page);
    await page.getByRole('link', { name: world.nodes[1] }).first().click();
    await page.getByRole('heading', { name: `Coverage of ${world.nodes[1]}` }).waitFor();
    await page.getByRole('heading', { name: 'Gaps and their causes' }).waitFor();
    await page.getByRole('cell', { name: 'a table or ring of the kernel side was full' }).first().waitFor();
  });
});

test('it is usable by everybody, in the dark, on a phone and on paper', () => everywhere('coverage', '/coverage?window=30d'));

test('a node that is not there is told, and a window that is none', async () => {
  await visit({ as: 'viewer', tolerate: /40[04]/ }, async (page) => {
    assert.equal((await page.goto('/coverage?node=%3Cimg%20src%3Dx%3E'))?.status(), 404);
    await page.getByText('No node <img src=x> was watched').waitFor();
    assert.equal((await page.goto('/coverage?window=yesterday'))?.status(), 400);
    await page.getByRole('heading', { name: 'Bad Request' }).waitFor();
  });
});
