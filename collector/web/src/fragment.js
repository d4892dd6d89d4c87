// @ts-check
import { copyButtons } from './copy.js';
import { times } from './time.js';
import { start } from './widgets.js';

/**
 * Loads a part of another page when it comes into view: what takes longer than the rest of its page.
 * @param {HTMLElement} el
 */
export async function fragment(el) {
  await new Promise((resolve) => {
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      seen.disconnect();
      resolve(undefined);
    }, { rootMargin: '200px' });
    seen.observe(el);
  });
  const answer = await fetch(el.dataset.src ?? '', { headers: { Accept: 'text/html' }, credentials: 'same-origin' });
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const part = page.getElementById(el.dataset.part ?? '');
  if (!answer.ok || !part) {
    const says = page.querySelector('main .error p:nth-of-type(2)')?.textContent;
    throw new Error(says || `Ambit answers ${answer.status}.`);
  }
  el.replaceChildren(...[...document.importNode(part, true).childNodes]);
  times(el);
  copyButtons(el);
  start(el);
}
