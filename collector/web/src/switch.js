// @ts-check
/** Switches between light and dark. The choice is kept in this browser. */
export function theme() {
  const button = document.querySelector('[data-theme-switch]');
  if (!(button instanceof HTMLButtonElement)) return;
  button.hidden = false;
  button.addEventListener('click', () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    try {
      localStorage.setItem('ambit-theme', root.dataset.theme);
    } catch { /* it holds for this page then */ }
    document.dispatchEvent(new CustomEvent('ambit:theme'));
  });
}
