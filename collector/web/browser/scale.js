// Measures the pages of a large estate: `make bench-web`. Times are medians of five, in ms, of a browser that has the scripts already.
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const base = process.env.AMBIT_URL;
const browser = await chromium.launch({ executablePath: process.env.AMBIT_BROWSER, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
let page;
/** A window of its own for each page, so that what others left does not count as its memory. */
async function fresh() {
  await page?.context().close();
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, baseURL: base });
  context.setDefaultTimeout(120_000);
  page = await context.newPage();
}
const session = await browser.newBrowserCDPSession();
const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** Memory of what draws the page, in MB, without the program's own files, which all windows share: the largest of its kind, since browsers keep an empty one ready. */
async function memory() {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  let most = 0;
  for (const { id, type } of processInfo) {
    if (type !== 'renderer') continue;
    try {
      most = Math.max(most, ['RssAnon', 'RssShmem'].map((of) => Number(new RegExp(`${of}:\\s+(\\d+)`).exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1] ?? 0) / 1024).reduce((a, b) => a + b));
    } catch { /* it has ended */ }
  }
  return Math.round(most);
}

// Times are held only so far above what they are to be: the same takes several times as long on a slow machine, or beside others. Memory is held as it is.
const slow = Number(process.env.AMBIT_SLOW || 4);
const most = { paint: 1000, paging: 200, map: 1000, memory: 300 }; // ms, and MB
let failed = false;

/** What was measured, what it is to be, and whether it is far above. */
function judge(value, bound, factor, unit) {
  const said = value <= bound ? '' : value <= bound * factor ? ', above' : ', TOO MUCH';
  failed ||= value > bound * factor;
  return `${value.toFixed(0).padStart(5)} ${unit} (at most ${bound}${said})`;
}

async function measure(name, path) {
  await fresh();
  const paints = [], servers = [], drawn = [];
  for (let i = 0; i < 6; i++) {
    const answer = await page.goto(path);
    if (!answer?.ok()) throw new Error(`${path}: ${answer?.status()}`);
    await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0);
    await page.waitForFunction(() => [...document.querySelectorAll('[data-widget]')].every((el) => el.dataset.ready));
    const [paint, server, ready] = await page.evaluate(() => {
      const n = performance.getEntriesByType('navigation')[0];
      return [performance.getEntriesByName('first-contentful-paint')[0].startTime, n.responseEnd - n.requestStart, performance.now()];
    });
    if (i === 0) continue; // the first one fills caches
    paints.push(paint);
    servers.push(server);
    drawn.push(ready);
  }
  const [server, paint, ready, mb] = [median(servers), median(paints), median(drawn), await memory()];
  const graph = await page.evaluate(() => performance.getEntriesByName('ambit:graph')[0]?.duration);
  console.log(`${name.padEnd(24)} answered ${server.toFixed(0).padStart(5)} ms  first paint ${judge(paint, most.paint, slow, 'ms')}  all drawn ${ready.toFixed(0).padStart(5)} ms  memory ${judge(mb, most.memory, 1, 'MB')}${graph && path.startsWith('/map') ? `  map ${judge(graph, most.map, slow, 'ms')}` : ''}`);
}

async function paging(name, path) {
  await fresh();
  await page.goto(path);
  const times = [];
  for (let i = 0; i < 5; i++) {
    const next = await page.locator('a[rel="next"]').first().getAttribute('href');
    if (!next) throw new Error(`${path} has no next page`);
    await page.goto(new URL(next, page.url()).href);
    times.push(await page.evaluate(() => { const n = performance.getEntriesByType('navigation')[0]; return n.responseEnd - n.requestStart; }));
  }
  console.log(`${name.padEnd(24)} answered ${judge(median(times), most.paging, slow, 'ms')}`);
}

for (const [name, path] of [
  ['overview', '/?window=7d'], ['findings', '/findings'], ['findings, high', '/findings?severity=high'], ['identities', '/identities'], ['identities, searched', '/identities?q=svc4242'],
  ['one identity', `/identities/${process.env.AMBIT_IDENTITY}`], ['map around one', `/map?center=${process.env.AMBIT_CENTER}&depth=2`], ['unused', '/reports/unused'], ['coverage', '/coverage'],
]) await measure(name, path).catch((e) => { console.log(name, String(e.message).split('\n')[0]); failed = true; });
for (const [name, path] of [['next page of findings', '/findings'], ['next page of identities', '/identities']]) await paging(name, path).catch((e) => { console.log(name, String(e.message).split('\n')[0]); failed = true; });
await browser.close();
process.exitCode = failed ? 1 : 0;
