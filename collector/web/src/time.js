// @ts-check
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const hour = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });

/** @param {Date} at */
export const clock = (at) => hour.format(at);

/**
 * Shows times in the reader's zone. UTC stays in the title.
 * @param {ParentNode} root
 */
export function times(root) {
  for (const el of root.querySelectorAll('time[datetime]')) {
    const at = new Date(/** @type {HTMLTimeElement} */ (el).dateTime);
    if (Number.isNaN(at.getTime())) continue;
    el.textContent = full.format(at);
  }
}
