// What browser tests have in common: a browser, pages of somebody, and what every page must hold.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const base = process.env.AMBIT_URL ?? '';
export const world = JSON.parse(process.env.AMBIT_WORLD ?? '{}');
const shots = process.env.AMBIT_SHOTS ?? 'shots';
mkdirSync(shots, { recursive: true });

/** How long anything may take to appear, in ms: the machine may be slow. */
export const patience = 30_000;

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.AMBIT_BROWSER, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--font-render-hinting=none'] });
});
after(async () => {
  await browser?.close();
});

/**
 * Runs a test in a page of somebody: viewer, responder, admin, or nobody. It fails on what a page says in the console as an error, on refused scripts and
 * styles, and on answers of 500.
 * @param {{ as?: string, width?: number, height?: number, dark?: boolean, scripts?: boolean, zone?: string, tolerate?: RegExp }} options
 * @param {(page: import('playwright-core').Page) => Promise<void>} run
 */
export async function visit({ as = '', width = 1280, height = 900, dark = false, scripts = true, zone = 'Europe/Berlin', tolerate }, run) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', javaScriptEnabled: scripts, timezoneId: zone, locale: 'en-GB', baseURL: base, reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(patience);
  const faults = [];
  try {
    const page = await context.newPage();
    page.on('console', (m) => {
      if (m.type() === 'error' && !tolerate?.test(m.text())) faults.push(`console: ${m.text()} (${m.location().url})`);
    });
    page.on('pageerror', (e) => faults.push(`script: ${e.message}`));
    page.on('response', (r) => {
      if (r.status() >= 500 && !tolerate?.test(String(r.status()))) faults.push(`${r.status()} of ${r.url()}`);
    });
    if (as) await login(page, world.tokens[as]);
    try {
      await run(page);
    } catch (error) {
      await explain(page, faults);
      throw error;
    }
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

/**
 * Says what a page looked like when its test failed: what it complained of, which widgets had not drawn, and where the reader was.
 * @param {import('playwright-core').Page} page @param {string[]} faults
 */
async function explain(page, faults) {
  console.log('faults:', faults);
  try {
    console.log(await page.evaluate(() => ({
      url: location.href, scrolled: scrollY, height: document.documentElement.scrollHeight, hidden: document.hidden, alert: [...document.querySelectorAll('.widget-error, main .error')].map((e) => e.textContent),
      widgets: [...document.querySelectorAll('[data-widget]')].map((e) => `${JSON.stringify(/** @type {HTMLElement} */ (e).dataset)} at ${Math.round(e.getBoundingClientRect().y)} px: ${e.textContent?.slice(0, 200)}`),
      waiting: performance.getEntriesByType('resource').slice(-12).map((e) => `${e.name} ${Math.round(e.startTime)}+${Math.round(e.duration)} ms`),
    })));
    await shot(page, `failed-${Date.now()}`);
  } catch (error) {
    console.log('the page tells nothing more:', error);
  }
}

/** @param {import('playwright-core').Page} page @param {string} token */
export async function login(page, token, next = '/nowhere') {
  const target = next === '/nowhere' ? '/login' : next;
  await page.goto(`/login?next=${encodeURIComponent(target)}`);
  await page.getByLabel('Token').fill(token);
  await page.locator('main').getByRole('button', { name: 'Log in', exact: true }).click();
  await page.waitForURL((u) => u.pathname + u.search === target); // before that, whoever goes on gives the login up
}

/**
 * Keeps a screenshot of the whole page.
 * @param {import('playwright-core').Page} page @param {string} name
 */
export const shot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });

/**
 * Finds no serious fault by axe-core, and no scrolling sideways.
 * @param {import('playwright-core').Page} page
 */
export async function accessible(page) {
  await page.evaluate(axe); // the way of debuggers: pages let no other script in
  const { violations } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  const grave = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
  assert.deepEqual(grave.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.any?.[0]?.message ?? ''}`).join(' | ')}`), []);
  const { wide, view } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: document.documentElement.clientWidth }));
  assert.ok(wide <= view, `the page is ${wide} px wide in ${view}`);
}

/**
 * Shows a page light and dark, on a desk and on a phone, looks for faults, keeps screenshots, and prints it.
 * @param {string} name @param {string} path @param {{ as?: string, ready?: (page: import('playwright-core').Page) => Promise<unknown> }} [options]
 */
export async function everywhere(name, path, { as = 'viewer', ready } = {}) {
  for (const [suffix, dark, width] of /** @type {[string, boolean, number][]} */ ([['light', false, 1280], ['dark', true, 1280], ['phone', false, 390]])) {
    await visit({ as, dark, width }, async (page) => {
      await page.goto(path);
      await settled(page);
      if (ready) await ready(page);
      await accessible(page);
      await shot(page, `${name}-${suffix}`);
      if (suffix === 'light') {
        await page.emulateMedia({ media: 'print' });
        assert.equal(await page.locator('nav.side').isVisible(), false, 'the navigation is printed');
        await page.screenshot({ path: join(shots, `${name}-print.png`), fullPage: true });
      }
    });
  }
}

/** Waits until all widgets have drawn. @param {import('playwright-core').Page} page */
export async function settled(page) {
  await page.waitForLoadState('load');
  await page.waitForFunction(() => [...document.querySelectorAll('[data-widget]')].every((el) => /** @type {HTMLElement} */ (el).dataset.ready));
  assert.deepEqual(await page.locator('.widget-error').allTextContents(), []);
}

/**
 * Loads the page again until something is in it: the trail is copied to where it is read from, which takes a moment.
 * @param {import('playwright-core').Page} page @param {import('playwright-core').Locator} what
 */
export async function comes(page, what) {
  for (const end = Date.now() + patience; ;) {
    try {
      return await what.first().waitFor({ timeout: 2000 });
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await page.reload();
  }
}

/** Asks the test to change what happens outside: finding, stop, start, token, revoke. @param {string} path */
export async function control(path) {
  const answer = await fetch(`${process.env.AMBIT_CONTROL}/${path}`, { method: 'POST' });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return text;
}

/** No name that means harm has become more than text. @param {import('playwright-core').Page} page */
export async function harmless(page) {
  assert.notEqual(await page.title(), 'owned');
  assert.equal(await page.locator('img[src="x"]').count(), 0);
  assert.equal(await page.locator('script:not([src])').count(), 0);
  const text = (await page.locator('body').innerText()) + (await page.content());
  assert.ok(!/[\u202a-\u202e\u2066-\u2069\u200b\u001b\u0007]/.test(text), 'a character that turns text, or is not seen, is in the page');
}
