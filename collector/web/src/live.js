// @ts-check
import { announce } from './announce.js';
import { clock } from './time.js';

const firstWait = 1000;
const longestWait = 30000;
const settles = [6000, 20000]; // ms between looks at the same once more: news may be quicker than the store, by how much depends on what it has to do
const calm = 1500; // ms between two refreshes of parts, so that a flood does not keep the page busy

/** @type {EventSource | undefined} */
let source;
let wait = firstWait;
let staleSince = /** @type {Date | undefined} */ (undefined);
let retry = 0;

/**
 * Follows what happens. Each finding and decision is told to the document as an event ambit:finding or ambit:decision, whose detail is what the API
 * sent. Parts of the page with an id and data-live="finding decision" are fetched again and replaced when one of these happens.
 * @param {(root: ParentNode) => void} enhance for what was replaced
 */
export function live(enhance) {
  if (document.body.dataset.page === 'login' || document.body.dataset.page === 'error') return;
  refreshing(enhance);
  open();
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      close(); // browsers allow few connections to a server: those of hidden pages would keep others waiting
      show('off', 'paused');
    } else {
      wait = firstWait;
      open();
      document.dispatchEvent(new CustomEvent('ambit:refresh'));
    }
  });
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = undefined;
}

function open() {
  close();
  const s = new EventSource('/api/v1/events');
  source = s;
  s.addEventListener('open', () => {
    wait = firstWait;
    const missed = staleSince !== undefined;
    staleSince = undefined;
    banner('');
    show('on', 'live');
    if (missed) {
      announce('Live again');
      document.dispatchEvent(new CustomEvent('ambit:refresh'));
    }
  });
  for (const kind of ['finding', 'decision']) {
    s.addEventListener(kind, (event) => {
      let detail;
      try {
        detail = JSON.parse(event.data);
      } catch {
        return;
      }
      document.dispatchEvent(new CustomEvent(`ambit:${kind}`, { detail }));
    });
  }
  s.addEventListener('error', () => {
    if (source !== s) return;
    // The browser's own retrying would not tell a refusal from a break, nor wait longer each time.
    s.close();
    staleSince ??= new Date();
    const since = clock(staleSince);
    show('stale', `stale since ${since}`);
    banner(`This page is stale since ${since}: Ambit does not send news. It is tried again by itself; what you see may have changed.`);
    retry = window.setTimeout(open, wait);
    wait = Math.min(wait * 2, longestWait);
  });
}

/** @param {string} state @param {string} text */
function show(state, text) {
  const el = document.getElementById('live');
  if (!el) return;
  el.dataset.liveState = state;
  const words = el.querySelector('.live-text');
  if (words) words.textContent = text;
}

/** @param {string} text */
function banner(text) {
  const el = document.getElementById('stale');
  if (!el) return;
  el.textContent = text;
  el.hidden = text === '';
}

/** @param {(root: ParentNode) => void} enhance */
function refreshing(enhance) {
  let timer = 0;
  let busy = false;
  /** @type {Set<string>} */
  const due = new Set();
  /** @param {string} kind */
  const soon = (kind) => {
    due.add(kind);
    if (!timer && !busy) timer = window.setTimeout(run, calm);
  };
  const run = async () => {
    timer = 0;
    busy = true;
    const kinds = new Set(due);
    due.clear();
    try {
      if (!(await refresh(kinds, enhance))) for (const kind of kinds) due.add(kind);
    } catch {
      // The stream says whether Ambit is away.
    }
    busy = false;
    if (due.size && !asking()) timer = window.setTimeout(run, calm);
  };
  document.addEventListener('close', () => { // of a dialog, which does not bubble
    if (due.size && !timer && !busy) timer = window.setTimeout(run, calm);
  }, true);
  let later = 0;
  /** @type {Map<string, (() => boolean) | undefined>} */
  const again = new Map(); // with what says that it was seen
  const look = (/** @type {number} */ n) => {
    clearTimeout(later);
    later = window.setTimeout(() => {
      for (const [kind, seen] of again) {
        if (seen?.()) again.delete(kind);
        else soon(kind);
      }
      if (n + 1 < settles.length && again.size) look(n + 1);
      else again.clear();
    }, settles[n]);
  };
  /** @param {string} kind @param {() => boolean} [seen] */
  const happened = (kind, seen) => {
    soon(kind);
    again.set(kind, seen); // and no other: what is shown when asked only is to stay as it is
    look(0);
  };
  document.addEventListener('ambit:finding', () => happened('finding'));
  document.addEventListener('ambit:decision', () => happened('decision'));
  document.addEventListener('ambit:refresh', (event) => {
    const { seen } = /** @type {CustomEvent} */ (event).detail ?? {};
    if (seen) happened('*', seen);
    else soon('*');
  });
}

/** Whether a dialog is open: what is behind it stays as it is until then. */
const asking = () => document.querySelector('dialog[open]') !== null;

/**
 * Fetches parts again, and says whether it was the time to.
 * @param {Set<string>} kinds what happened; * is anything
 * @param {(root: ParentNode) => void} enhance
 * @returns {Promise<boolean>}
 */
async function refresh(kinds, enhance) {
  const parts = [...document.querySelectorAll('[data-live][id]')].filter((el) => kinds.has('*') || (el.getAttribute('data-live') ?? '').split(' ').some((k) => kinds.has(k)));
  if (!parts.length) return true;
  if (asking()) return false;
  const answer = await fetch(location.href, { headers: { Accept: 'text/html' }, credentials: 'same-origin', cache: 'no-store' });
  if (!answer.ok || answer.redirected) return true;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  if (asking()) return false; // since
  for (const old of parts) {
    const fresh = page.getElementById(old.id);
    if (!fresh || old.contains(document.activeElement) && isEditing(document.activeElement)) continue;
    replace(old, fresh, enhance);
  }
  document.dispatchEvent(new CustomEvent('ambit:refreshed'));
  return true;
}

/** @param {Element | null} el */
const isEditing = (el) => el instanceof HTMLInputElement || el instanceof HTMLTextAreaElement || el instanceof HTMLSelectElement;

/**
 * Replaces a part, and leaves what a reader did in it as it was: focus, the row that keys are at, opened details, ticked boxes, scrolled tables. Widgets that show the same as before
 * stay, and are told to load anew.
 * @param {Element} old @param {Element} fresh @param {(root: ParentNode) => void} enhance
 */
function replace(old, fresh, enhance) {
  const focus = old.contains(document.activeElement) ? document.activeElement : null;
  const focusID = focus?.id;
  const focusHref = focus?.getAttribute('href');
  const opened = [...old.querySelectorAll('details')].map((d) => d.open);
  const ticked = new Set([...old.querySelectorAll('input[type="checkbox"]:checked')].map((i) => /** @type {HTMLInputElement} */ (i).value));
  const rows = new Set([...old.querySelectorAll('[data-row]')].map((r) => r.getAttribute('data-row')));
  const at = old.querySelector('[data-row].at')?.getAttribute('data-row');
  const scrolled = [...old.querySelectorAll('.scroll')].map((el) => el.scrollLeft);
  const widgets = new Map([...old.querySelectorAll('[data-widget]')].map((w) => [(w.getAttribute('data-widget') ?? '') + (w.getAttribute('data-src') ?? ''), w]));
  const next = /** @type {Element} */ (document.importNode(fresh, true));
  for (const w of next.querySelectorAll('[data-widget]')) {
    const kept = widgets.get((w.getAttribute('data-widget') ?? '') + (w.getAttribute('data-src') ?? ''));
    if (!(kept instanceof HTMLElement)) continue;
    const values = w.getAttribute('data-values'); // what it draws is in the page
    if (values !== null) kept.dataset.values = values;
    w.replaceWith(kept);
  }
  [...next.querySelectorAll('details')].forEach((d, i) => (d.open = opened[i] ?? d.open));
  for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (next.querySelectorAll('input[type="checkbox"]'))) if (ticked.has(box.value)) box.checked = true;
  for (const row of next.querySelectorAll('[data-row]')) {
    if (rows.size && !rows.has(row.getAttribute('data-row'))) row.classList.add('fresh');
    if (at && row.getAttribute('data-row') === at) row.classList.add('at');
  }
  old.replaceWith(next);
  [...next.querySelectorAll('.scroll')].forEach((el, i) => (el.scrollLeft = scrolled[i] ?? 0));
  enhance(next);
  for (const w of next.querySelectorAll('[data-widget]')) w.dispatchEvent(new CustomEvent('ambit:reload'));
  if (focus) {
    const again = focusID ? document.getElementById(focusID) : focusHref ? next.querySelector(`[href="${CSS.escape(focusHref)}"]`) : null;
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
  }
}
