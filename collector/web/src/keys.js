// @ts-check
/** @type {Map<string, { text: string, run: () => void }>} */
const bound = new Map();

/**
 * Binds a key on this page. It is told by the help that ? opens.
 * @param {string} key as KeyboardEvent.key names it
 * @param {string} text what it does
 * @param {() => void} run
 */
export function bind(key, text, run) {
  bound.set(key, { text, run });
}

/** @param {EventTarget | null} target */
const typing = (target) => target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName) && !(target instanceof HTMLInputElement && target.type === 'checkbox'));

/** Starts the keys that all pages have: / to search, ? for help, and j, k, Enter in lists whose rows have data-row. */
export function keys() {
  bind('/', 'Search', () => document.getElementById('search')?.focus());
  bind('?', 'These keys', help);
  const rows = () => {
    if (!document.querySelector('[data-row]')) return;
    bind('j', 'Next row', () => step(1));
    bind('k', 'Row before', () => step(-1));
    bind('Enter', 'Open the row', () => /** @type {HTMLElement | null} */ (row()?.querySelector('a[href]'))?.click());
    bind('x', 'Select the row', () => {
      const box = row()?.querySelector('input[type="checkbox"]');
      if (box instanceof HTMLInputElement) box.click();
    });
  };
  rows();
  document.addEventListener('ambit:refreshed', rows); // a list that was empty may have some now
  const button = document.querySelector('[data-keys-help]');
  if (button instanceof HTMLElement) {
    button.hidden = false;
    button.addEventListener('click', help);
  }
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector('dialog[open]')) return;
    if (typing(event.target)) {
      if (event.key === 'Escape') /** @type {HTMLElement} */ (event.target).blur();
      return;
    }
    if (event.key === 'Enter' && /** @type {HTMLElement} */ (event.target)?.closest?.('a, button, summary')) return;
    const key = bound.get(event.key);
    if (!key) return;
    event.preventDefault();
    key.run();
  });
}

/** The row that keys are at: the class at marks it. @returns {Element | null} */
export const row = () => document.querySelector('[data-row].at');

/** @param {number} by */
function step(by) {
  const rows = [...document.querySelectorAll('[data-row]')];
  const now = row();
  const at = now ? rows.indexOf(now) + by : by > 0 ? 0 : rows.length - 1;
  const next = rows[Math.max(0, Math.min(rows.length - 1, at))];
  if (!next) return;
  now?.classList.remove('at');
  next.classList.add('at');
  next.scrollIntoView({ block: 'nearest' });
  const link = next.querySelector('a[href]');
  if (link instanceof HTMLElement) link.focus({ preventScroll: true });
}

function help() {
  const dialog = document.createElement('dialog');
  const title = document.createElement('h2');
  title.textContent = 'Keys';
  title.id = 'keys-title';
  dialog.setAttribute('aria-labelledby', title.id);
  const list = document.createElement('dl');
  list.className = 'facts';
  for (const [key, { text }] of bound) {
    const name = document.createElement('dt');
    const k = document.createElement('kbd');
    k.textContent = key;
    name.append(k);
    const what = document.createElement('dd');
    what.textContent = text;
    list.append(name, what);
  }
  const bar = document.createElement('div');
  bar.className = 'toolbar';
  const close = document.createElement('button');
  close.textContent = 'Close';
  close.className = 'primary';
  close.addEventListener('click', () => dialog.close());
  bar.append(close);
  dialog.append(title, list, bar);
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
