// Makes the pictures of the documents: `go test ./collector/web -run TestBrowser -args -pictures`. This one shows a month, which the simulator made; that of a finding is of
// the demo's traffic, by demo.test.js.
import { join } from 'node:path';
import { test } from 'node:test';
import { settled, visit } from './lib.js';

const folder = process.env.AMBIT_PICTURES ?? '.';

test('the overview', async () => {
  await visit({ as: 'responder', height: 860 }, async (page) => {
    await page.goto('/?window=30d');
    await settled(page);
    await page.locator('#live[data-live-state="on"]').waitFor();
    await page.screenshot({ path: join(folder, 'web-overview.png') });
  });
});
