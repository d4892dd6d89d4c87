// @ts-check
import { copyButtons } from './copy.js';
import { times } from './time.js';
import { start } from './widgets.js';

/**
 * Loads a part of another page when it comes into view: what takes longer than the rest of its page. Until then the link to it stays.
 * @param {HTMLElement} el
 */
export function fragment(el) {
  const seen = new IntersectionObserver(async (entries) => {
    if (!entries.some((e) => e.isIntersecting)) return;
    seen.disconnect();
    el.setAttribute('aria-busy', 'true');
    try {
      const answer = await fetch(el.dataset.src ?? '', { headers: { Accept: 'text/html' }, credentials: 'same-origin' });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const part = page.getElementById(el.dataset.part ?? '');
      if (!answer.ok || !part) throw new Error(page.querySelector('main .error p:nth-of-type(2)')?.textContent || `Ambit answers ${answer.status}.`);
      el.replaceChildren(...document.importNode(part, true).childNodes);
      times(el);
      copyButtons(el);
      start(el);
    } catch (error) {
      const p = document.createElement('p');
      p.className = 'widget-error';
      p.textContent = error instanceof Error ? error.message : String(error);
      el.append(p);
    }
    el.removeAttribute('aria-busy');
  }, { rootMargin: '200px' });
  seen.observe(el);
}
