// Makes the pictures of the documents: `go test ./collector/web -run TestBrowser -args -pictures`.
import { join } from 'node:path';
import { test } from 'node:test';
import { settled, visit, world } from './lib.js';

const folder = process.env.AMBIT_PICTURES ?? '.';

test('the overview', async () => {
  await visit({ as: 'responder', height: 860 }, async (page) => {
    await page.goto('/?window=30d');
    await settled(page);
    await page.locator('#live[data-live-state="on"]').waitFor();
    await page.screenshot({ path: join(folder, 'web-overview.png') });
  });
});

test('a finding as a story', async () => {
  await visit({ as: 'responder', height: 860 }, async (page) => {
    await page.goto('/findings?severity=high');
    await settled(page);
    const hostile = new Set(world.hostile.map((h) => h.id));
    const links = await page.locator('[data-row]').evaluateAll((rows) => rows.map((r) => r.getAttribute('data-row') ?? ''));
    await page.goto(`/findings/${links.find((id) => !hostile.has(id))}`);
    await settled(page);
    await page.locator('#live[data-live-state="on"]').waitFor();
    await page.screenshot({ path: join(folder, 'web-finding.png') });
  });
});
