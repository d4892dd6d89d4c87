// @ts-check
import { announce } from './announce.js';

/**
 * Shows the copy buttons: without scripts they would do nothing.
 * @param {ParentNode} root
 */
export function copyButtons(root) {
  for (const el of /** @type {NodeListOf<HTMLButtonElement>} */ (root.querySelectorAll('button[data-copy]'))) el.hidden = false;
}

document.addEventListener('click', async (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest?.('button[data-copy]');
  if (!(button instanceof HTMLButtonElement)) return;
  const text = button.dataset.copy ?? '';
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    old(text); // no permission, or no secure context
  }
  button.dataset.done = 'yes';
  announce('Copied');
  setTimeout(() => delete button.dataset.done, 1500);
});

/** @param {string} text */
function old(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'hidden';
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}
