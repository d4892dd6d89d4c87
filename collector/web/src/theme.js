// @ts-check
// Runs before the first paint, so that a chosen theme does not flash.
try {
  const chosen = localStorage.getItem('ambit-theme');
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
} catch { /* no storage: the system's theme it is */ }
