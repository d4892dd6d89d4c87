// @ts-check
/**
 * Tells who listens to the page.
 * @param {string} text
 */
export function announce(text) {
  const el = document.getElementById('announce');
  if (el) el.textContent = text;
}
