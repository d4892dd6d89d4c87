// @ts-check
import { announce } from './announce.js';
import { askForm } from './decide.js';
import { bind, row } from './keys.js';

/**
 * The list of findings: choosing, keys, and news of what is not in it yet.
 * @param {(root: ParentNode) => void} enhance
 */
export function triage(enhance) {
  choosing();
  document.addEventListener('ambit:refreshed', choosing);
  document.addEventListener('change', (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement)) return;
    if ('pickAll' in box.dataset) for (const one of boxes()) one.checked = box.checked;
    if ('pickAll' in box.dataset || box.name === 'id') count();
  });
  for (const [key, verdict, text] of [['a', 'acknowledge', 'Acknowledge what is selected, or the row'], ['s', 'suppress', 'Suppress what is selected, or the row'], ['r', 'resolve', 'Resolve what is selected, or the row']]) {
    if (document.querySelector('[data-decide]')) bind(key, text, () => decide(verdict, enhance));
  }
  if (document.querySelector('[data-decide]')) bind('Escape', 'Select nothing', () => {
    for (const one of boxes()) one.checked = false;
    count();
  });
  goOn();
  news();
}

/** @returns {HTMLInputElement[]} */
const boxes = () => [...document.querySelectorAll('#bulk input[name="id"]')].filter((el) => el instanceof HTMLInputElement);

/** Shows what only scripts can. */
function choosing() {
  const all = document.querySelector('[data-all]');
  if (all instanceof HTMLElement) all.hidden = false;
  count();
}

function count() {
  const all = boxes();
  const n = all.filter((b) => b.checked).length;
  const text = document.querySelector('[data-picked]');
  if (text) text.textContent = n ? `${n} selected` : '';
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll('#bulk button[data-decide]'))) {
    if (n) button.removeAttribute('aria-disabled');
    else button.setAttribute('aria-disabled', 'true');
  }
  const box = document.querySelector('[data-pick-all]');
  if (box instanceof HTMLInputElement) {
    box.checked = n > 0 && n === all.length;
    box.indeterminate = n > 0 && n < all.length;
  }
}

/**
 * What is selected is meant, and if nothing is, the row that the keys are at.
 * @param {string} verdict @param {(root: ParentNode) => void} enhance
 */
function decide(verdict, enhance) {
  const form = document.getElementById('bulk');
  if (!(form instanceof HTMLFormElement)) return;
  if (!boxes().some((b) => b.checked)) {
    const box = row()?.querySelector('input[name="id"]');
    if (!(box instanceof HTMLInputElement)) {
      announce('Select a finding first: j and k move, x selects');
      return;
    }
    box.checked = true;
    count();
  }
  askForm(form, verdict, enhance);
}

/** Goes on with the row that the address names: the one behind what was decided about. */
function goOn() {
  const notice = document.querySelector('.notice[role="status"]');
  if (notice) announce(notice.textContent ?? '');
  if (!location.hash.startsWith('#at-')) return;
  const target = document.querySelector(`[data-row="${CSS.escape(location.hash.slice(4))}"]`);
  if (!target) return;
  target.classList.add('at');
  target.scrollIntoView({ block: 'nearest' });
  const link = target.querySelector('a[href]');
  if (link instanceof HTMLElement) link.focus({ preventScroll: true });
}

/** Tells of findings that came since the list was made, and shows them when asked. */
function news() {
  const place = document.getElementById('news');
  const text = place?.querySelector('[data-news-text]');
  const button = place?.querySelector('[data-news-show]');
  if (!place || !text || !(button instanceof HTMLButtonElement)) return;
  const filter = new URLSearchParams(location.search);
  /** @type {Set<string>} */
  const fresh = new Set();
  document.addEventListener('ambit:finding', (event) => {
    const f = /** @type {CustomEvent} */ (event).detail;
    if (!f?.id || document.querySelector(`[data-row="${CSS.escape(f.id)}"]`) || !fits(f, filter)) return;
    fresh.add(f.id);
    text.textContent = fresh.size === 1 ? '1 new finding' : `${fresh.size} new findings`;
    place.hidden = false;
  });
  button.addEventListener('click', () => {
    if (filter.has('cursor')) {
      filter.delete('cursor');
      location.assign(`/findings?${filter}`);
      return;
    }
    document.dispatchEvent(new CustomEvent('ambit:refresh', { detail: { seen: () => fresh.size === 0 } }));
  });
  document.addEventListener('ambit:refreshed', () => {
    for (const id of fresh) if (document.querySelector(`[data-row="${CSS.escape(id)}"]`)) fresh.delete(id);
    if (fresh.size) return;
    place.hidden = true;
    const first = document.querySelector('[data-row].fresh a[href]');
    if (document.activeElement === document.body && first instanceof HTMLElement) first.focus();
  });
}

/**
 * Whether a finding would be in the list.
 * @param {any} f @param {URLSearchParams} filter
 */
function fits(f, filter) {
  const status = filter.get('status') || 'new';
  const text = (filter.get('text') ?? '').toLowerCase();
  return (status === 'all' || f.status === status) && ['severity', 'rule', 'identity'].every((name) => !filter.get(name) || f[name] === filter.get(name)) &&
    (!filter.get('namespace') || f.workload?.namespace === filter.get('namespace')) &&
    (!text || [f.title, f.resource, f.identity, f.id].some((x) => String(x ?? '').toLowerCase().includes(text)));
}
