// @ts-check
import { announce } from './announce.js';
import { api } from './api.js';

const every = 1000;
const long = 60; // turns of a second; after that, news alone

/**
 * Follows what nodes do about the decision of this page: asks each second at first, has the page refreshed when something changed, and tells it.
 */
export function acks() {
  const el = document.getElementById('acks');
  const id = el?.dataset.decision;
  if (!el || !id || el.dataset.open !== 'yes') return;
  let before = '';
  let turns = 0;
  let timer = 0;
  const look = async () => {
    timer = 0;
    if (!document.hidden) {
      try {
        const d = await api(`/api/v1/decisions/${encodeURIComponent(id)}`);
        const now = JSON.stringify([d.state, d.acks]);
        if (before && now !== before) {
          el.textContent = said(d);
          document.dispatchEvent(new CustomEvent('ambit:refresh'));
        }
        before = now;
        if (d.state !== 'waiting' && d.state !== 'in-force') return;
      } catch (error) {
        if (turns === 0) announce(error instanceof Error ? error.message : String(error));
      }
    }
    if (++turns < long) timer = window.setTimeout(look, every);
  };
  document.addEventListener('ambit:decision', (event) => {
    if (/** @type {CustomEvent} */ (event).detail?.decision !== id) return;
    turns = Math.max(0, long - 10);
    if (!timer) timer = window.setTimeout(look, every / 4);
  });
  look();
}

/** @param {any} d */
function said(d) {
  const nodes = Object.values(d.acks?.nodes ?? {}).reduce((sum, n) => sum + Number(n), 0);
  const words = [`It is ${d.state}`, `in force on ${d.acks?.nodes?.['in-force'] ?? 0} of ${nodes} nodes that spoke of it`];
  if (d.mode === 'dry-run') words.push(`${d.acks?.would_deny ?? 0} connections would have been denied`);
  else words.push(`${d.acks?.denied ?? 0} connections were denied`);
  return words.join(', ') + '.';
}
