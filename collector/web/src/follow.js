// @ts-check
/** Has the page of one finding refreshed when that very finding is told again, or something becomes of a decision. */
export function follow() {
  const id = document.querySelector('[data-finding]')?.getAttribute('data-finding');
  if (!id) return;
  const refresh = () => document.dispatchEvent(new CustomEvent('ambit:refresh', { detail: { news: true } }));
  document.addEventListener('ambit:finding', (event) => {
    if (/** @type {CustomEvent} */ (event).detail?.id === id) refresh();
  });
  document.addEventListener('ambit:decision', refresh);
}
