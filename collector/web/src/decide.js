// @ts-check
import { announce } from './announce.js';

/**
 * Asks in a dialog what a link or a form with data-decide would ask on a page of its own: the question is fetched from there, so both say the same.
 * @param {(root: ParentNode) => void} enhance
 */
export function decisions(enhance) {
  document.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const link = /** @type {HTMLElement} */ (event.target).closest?.('a[data-decide]');
    if (!(link instanceof HTMLAnchorElement)) return;
    event.preventDefault();
    ask(link.href, enhance);
  });
  document.addEventListener('submit', (event) => {
    const form = event.target;
    const button = event.submitter;
    if (!(form instanceof HTMLFormElement) || !(button instanceof HTMLButtonElement) || !('decide' in button.dataset)) return;
    event.preventDefault();
    if (button.getAttribute('aria-disabled') === 'true') {
      announce('Select a finding first');
      return;
    }
    askForm(form, button.value, enhance);
  });
}

/**
 * Asks about all that is ticked in a form.
 * @param {HTMLFormElement} form @param {string} verdict @param {(root: ParentNode) => void} enhance
 */
export function askForm(form, verdict, enhance) {
  const values = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === 'string') values.append(name, value);
  values.set('verdict', verdict);
  const next = behind(values.getAll('id'));
  if (next) values.set('next', next);
  ask(`${form.action}?${values}`, enhance);
}

/**
 * The first row behind those that are decided about, to go on with.
 * @param {string[]} ids
 */
function behind(ids) {
  const rows = [...document.querySelectorAll('[data-row]')].map((r) => r.getAttribute('data-row') ?? '');
  const last = Math.max(...ids.map((id) => rows.indexOf(id)));
  return rows.slice(last + 1).find((id) => !ids.includes(id)) ?? rows.filter((id) => !ids.includes(id)).at(-1) ?? '';
}

/** @param {string} href @param {(root: ParentNode) => void} enhance */
async function ask(href, enhance) {
  if (document.querySelector('dialog[open]')) return;
  const opener = document.activeElement;
  let question;
  try {
    const answer = await fetch(href, { headers: { Accept: 'text/html' }, credentials: 'same-origin' });
    if (answer.redirected) throw new Error('login');
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    question = page.querySelector('#decide') ?? page.querySelector('main .error');
  } catch {
    question = null;
  }
  if (!question) {
    location.assign(href); // the page itself says what is wrong
    return;
  }
  const dialog = document.createElement('dialog');
  dialog.setAttribute('aria-labelledby', question.getAttribute('aria-labelledby') ?? '');
  dialog.append(document.importNode(question, true));
  for (const cancel of dialog.querySelectorAll('a[data-close]')) {
    cancel.addEventListener('click', (event) => {
      event.preventDefault();
      dialog.close();
    });
  }
  dialog.addEventListener('submit', (event) => { // many findings take some seconds
    const button = event.submitter;
    if (!(button instanceof HTMLButtonElement)) return;
    if (button.getAttribute('aria-disabled') === 'true') event.preventDefault();
    button.setAttribute('aria-disabled', 'true');
    announce('Working');
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (opener instanceof HTMLElement) opener.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  enhance(dialog);
  dialog.showModal();
}
