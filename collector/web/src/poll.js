// @ts-check
/** Has parts with data-poll="15" look again every so many seconds: when something was last seen is no news that is sent. */
export function poll() {
  const every = Math.min(...[...document.querySelectorAll('[data-poll]')].map((el) => Number(el.getAttribute('data-poll'))).filter((n) => n > 0));
  if (!Number.isFinite(every)) return;
  setInterval(() => {
    if (!document.hidden) document.dispatchEvent(new CustomEvent('ambit:refresh'));
  }, every * 1000);
}

/** @param {ParentNode} root */
export function printButtons(root) {
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (root.querySelectorAll('[data-print]'))) {
    button.hidden = false;
    button.addEventListener('click', () => window.print());
  }
}
