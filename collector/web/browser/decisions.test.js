import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, base, comes, control, everywhere, harmless, settled, shot, visit, world } from './lib.js';

const { identity, resource, id: finding } = world.fresh.find((f) => /^dns:[a-z0-9.-]+:\d+\/tcp$/.test(f.resource));

/** Asks the API with the session of a page. */
const ask = (page, path) => page.evaluate(async (p) => (await fetch(p)).json(), path);
const live = (page) => page.locator('#live[data-live-state="on"]').waitFor();

/** Asks for a decision by the API, and gives its ID. */
async function decide(as, body) {
  const answer = await fetch(`${base}/api/v1/decisions`, {
    method: 'POST', headers: { Authorization: `Bearer ${world.tokens[as]}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ identity, to: resource, for: '1h', reason: 'a test', ...body }),
  });
  const d = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(d));
  return d.id;
}

test('the wizard leads from a finding to a decision that enforces', async () => {
  await visit({ as: 'admin' }, async (page) => {
    await page.goto(`/findings/${finding}`);
    await page.getByRole('link', { name: 'Deny this…' }).click();
    await page.waitForURL(/\/decisions\/new/);
    assert.equal(await page.getByLabel('Identity', { exact: true }).inputValue(), identity);
    assert.equal(await page.getByLabel('Resource', { exact: true }).inputValue(), resource);
    assert.ok(await page.getByLabel(/dry run/).isChecked(), 'it would enforce without being asked to');
    await page.getByRole('button', { name: 'Preview' }).click();
    assert.equal(new URL(page.url()).searchParams.get('step'), null, 'it went on without a reason');
    await page.getByLabel('Reason').fill('its token was found in a public place');
    await page.getByLabel(/enforce/).check();
    await accessible(page);
    await shot(page, 'deny-form');
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByRole('heading', { name: /What it would have refused/ }).waitFor();
    assert.match(await page.locator('.what').innerText(), /[1-9]\d* connection/);
    await accessible(page);
    await shot(page, 'deny-preview');
    await page.getByLabel(/Type enforce/).fill('yes');
    await page.getByRole('button', { name: 'Deny', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'Nothing was denied' }).waitFor();
    assert.equal((await ask(page, `/api/v1/decisions?finding=${finding}`)).items.length, 0);
    await page.getByLabel(/Type enforce/).fill('enforce');
    await page.getByRole('button', { name: 'Deny', exact: true }).click();
    await page.waitForURL(/\/decisions\/d-/);
    await live(page);
    const id = new URL(page.url()).pathname.split('/').pop();
    const d = await ask(page, `/api/v1/decisions/${id}`);
    assert.deepEqual([d.identity, d.to, d.mode, d.state, d.requester, d.finding, d.reason], [identity, resource, 'enforce', 'in-force', 'token:admin', finding, 'its token was found in a public place']);
    await page.goto(`/findings/${finding}`);
    await page.locator('.todo').getByText('in-force').waitFor();
    await comes(page, page.locator('.timeline').getByText('A decision was signed'));
  });
});

test('nodes that acknowledge are shown live, and told', async () => {
  const id = await decide('admin', { mode: 'dry-run', reason: 'to see the nodes' });
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto(`/decisions/${id}`);
    await live(page);
    await page.getByText('No node spoke of it yet').waitFor();
    await control(`ack?decision=${id}&node=n01&state=in-force&would=3`);
    await page.locator('[data-node="n01"]').waitFor();
    await page.locator('[data-ack="in-force"]').filter({ hasText: '1' }).waitFor();
    await page.locator('#acks').filter({ hasText: /in force on 1 of 1 nodes/ }).waitFor({ state: 'attached' });
    await control(`ack?decision=${id}&node=n02&state=failed&why=${encodeURIComponent(`the map is full ${world.hostileText.html}`)}`);
    await page.locator('[data-node="n02"]').getByText('the map is full').waitFor();
    await page.locator('[data-ack="denied"]').filter({ hasText: '3' }).waitFor();
    await harmless(page);
    await accessible(page);
    await shot(page, 'decision-acknowledged');
  });
});

test('a decision is revoked with a reason', async () => {
  const id = await decide('admin', { mode: 'dry-run', reason: 'to be revoked' });
  await visit({ as: 'responder' }, async (page) => {
    await page.goto(`/decisions/${id}`);
    await page.getByRole('link', { name: 'Revoke…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.waitFor();
    await accessible(page);
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    assert.ok(await dialog.isVisible(), 'it was sent without a reason');
    await dialog.getByLabel('Reason').fill('it was wrong');
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await page.locator('.marks .badge', { hasText: 'revoked' }).waitFor();
    const d = await ask(page, `/api/v1/decisions/${id}`);
    assert.deepEqual([d.state, d.revoked_by, d.revoked_why], ['revoked', 'token:responder', 'it was wrong']);
    await comes(page, page.locator('#decision .timeline', { hasText: 'decision.revoked' }));
    assert.equal(await page.getByRole('link', { name: 'Revoke…' }).count(), 0);
    await accessible(page);
  });
});

test('what one asks for another approves', async () => {
  let id = '';
  await visit({ as: 'responder', tolerate: /422/ }, async (page) => {
    await page.goto(`/decisions/new?identity=${encodeURIComponent(identity)}&to=port:22/tcp&reason=no+ssh`);
    await page.getByLabel(/Have another person approve it/).check();
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByText('another person must approve it; you, token:responder, cannot').waitFor();
    await page.getByRole('button', { name: 'Ask for approval' }).click();
    await page.waitForURL(/\/decisions\/d-/);
    id = new URL(page.url()).pathname.split('/').pop() ?? '';
    await page.getByText('It waits for another person').waitFor();
    assert.equal(await page.getByRole('link', { name: 'Approve…' }).count(), 0);
    await page.goto('/decisions?state=waiting');
    await page.locator(`[data-row="${id}"]`).waitFor();
    await accessible(page);
  });
  await visit({ as: 'admin' }, async (page) => {
    await page.goto(`/decisions/${id}`);
    await page.getByRole('link', { name: 'Approve…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
    await page.locator('.marks .badge', { hasText: 'in-force' }).waitFor();
    const d = await ask(page, `/api/v1/decisions/${id}`);
    assert.deepEqual([d.state, d.requester, d.approver], ['in-force', 'token:responder', 'token:admin']);
    await page.getByLabel('Format').selectOption('cilium');
    await page.getByRole('button', { name: 'Write it' }).click();
    await page.getByText('CiliumNetworkPolicy').first().waitFor();
    await shot(page, 'decision-approved');
  });
});

test('who may not enforce is refused in words, and nothing happens', async () => {
  await visit({ as: 'responder', tolerate: /403/ }, async (page) => {
    await page.goto(`/decisions/new?step=preview&mode=enforce&identity=${encodeURIComponent(identity)}&to=${encodeURIComponent('port:23/tcp')}&reason=x`);
    await page.getByLabel(/Type enforce/).fill('enforce');
    await page.getByRole('button', { name: 'Deny', exact: true }).click();
    await page.getByText(/needs the role admin/).waitFor();
    await accessible(page);
    assert.ok(!(await ask(page, '/api/v1/decisions?limit=1000')).items.some((d) => d.to === 'port:23/tcp'));
  });
});

test('what makes no sense is told beside the form, which keeps what was typed', async () => {
  await visit({ as: 'responder' }, async (page) => {
    for (const [to, words] of [['nowhere', 'target'], ['net:127.0.0.1/32', 'loopback']]) {
      await page.goto(`/decisions/new?identity=${encodeURIComponent(identity)}&to=${encodeURIComponent(to)}&reason=because`);
      await page.getByRole('button', { name: 'Preview' }).click();
      await page.getByRole('alert').filter({ hasText: words }).waitFor();
      assert.equal(await page.getByLabel('Resource', { exact: true }).inputValue(), to);
      assert.equal(await page.getByLabel('Reason').inputValue(), 'because');
    }
    await accessible(page);
    await page.goto(`/decisions/new?step=preview&identity=${encodeURIComponent(world.hostileText.html)}&to=${encodeURIComponent(world.hostileText.turn)}&reason=${encodeURIComponent(world.hostileText.quote)}&for=${encodeURIComponent(world.hostileText.code)}`);
    await harmless(page);
  });
});

test('who may only read sees no button, and is refused', async () => {
  const id = await decide('admin', { mode: 'dry-run', reason: 'to be left alone' });
  await visit({ as: 'viewer', tolerate: /403/ }, async (page) => {
    await page.goto('/decisions');
    assert.equal(await page.getByRole('link', { name: 'Deny something…' }).count(), 0);
    await page.goto(`/decisions/${id}`);
    assert.equal(await page.locator('.acts').count(), 0);
    for (const path of ['/decisions/new', `/decisions/${id}/revoke`, `/decisions/${id}/approve`]) assert.equal((await page.goto(path))?.status(), 403, path);
    const csrf = (await page.locator('meta[name="csrf"]').getAttribute('content')) ?? '';
    for (const path of ['/decisions/new', `/decisions/${id}/revoke`, `/decisions/${id}/approve`]) {
      const status = await page.evaluate(async ([p, c]) => (await fetch(p, { method: 'POST', redirect: 'manual', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: `reason=x&csrf=${encodeURIComponent(c)}` })).status, [path, csrf]);
      assert.equal(status, 403, path);
    }
    assert.equal((await ask(page, `/api/v1/decisions/${id}`)).state, 'in-force');
  });
});

test('without scripts a dry run is started and revoked by forms', async () => {
  await visit({ as: 'responder', scripts: false }, async (page) => {
    await page.goto(`/decisions/new?identity=${encodeURIComponent(identity)}&to=${encodeURIComponent(resource)}&reason=by+a+form`);
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByRole('button', { name: 'Start the dry run' }).click();
    await page.waitForURL(/\/decisions\/d-/);
    await page.getByRole('link', { name: 'Revoke…' }).click();
    await page.getByRole('heading', { name: 'End this decision now?' }).waitFor();
    await page.getByLabel('Reason').fill('done');
    await page.getByRole('button', { name: 'Revoke' }).click();
    await page.locator('.marks .badge', { hasText: 'revoked' }).waitFor();
  });
});

test('decisions are usable by everybody, in the dark, on a phone and on paper', () => everywhere('decisions', '/decisions', { as: 'admin' }));

test('one decision is usable by everybody, in the dark, on a phone and on paper', async () => {
  const id = await decide('admin', { mode: 'dry-run', reason: 'to be looked at' });
  await everywhere('decision', `/decisions/${id}`, { as: 'admin', ready: (page) => page.getByRole('heading', { name: 'On the nodes' }).waitFor() });
});

test('the wizard is usable by everybody, in the dark, on a phone and on paper', () =>
  everywhere('deny', `/decisions/new?step=preview&mode=enforce&identity=${encodeURIComponent(identity)}&to=${encodeURIComponent(resource)}&reason=x`, { as: 'admin' }));

test('the audit trail is filtered, and verified', async () => {
  await visit({ as: 'viewer' }, async (page) => {
    await page.goto('/audit');
    await page.getByLabel('What', { exact: true }).selectOption('decision');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForURL(/action=decision/);
    await page.locator('[data-row]').first().waitFor();
    for (const text of await page.locator('[data-row] .main b').allInnerTexts()) assert.match(text, /^decision\./);
    await page.getByLabel('Who', { exact: true }).fill('token:admin');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForURL(/actor=token/);
    await page.locator('[data-row]').first().waitFor();
    assert.deepEqual([...new Set(await page.locator('[data-row] td[data-name="By"]').allInnerTexts())], ['token:admin']);
    await page.getByRole('link', { name: 'Verify the trail' }).click();
    await page.getByText('The trail is whole and unchanged').waitFor();
    await accessible(page);
    await page.goto(`/audit?actor=${encodeURIComponent(world.hostileText.html)}&action=${encodeURIComponent(world.hostileText.quote)}&subject=${encodeURIComponent(world.hostileText.turn)}`);
    await harmless(page);
  });
});

test('the audit trail is usable by everybody, in the dark, on a phone and on paper', () => everywhere('audit', '/audit', { ready: settled }));
