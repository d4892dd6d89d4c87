// @ts-check
/**
 * What data-widget may name. Each is loaded when a page needs it, and gets its element.
 * @type {Record<string, () => Promise<(el: HTMLElement) => void | Promise<void>>>}
 */
const widgets = {
  timeseries: async () => (await import('./timeseries.js')).timeseries,
  newedges: async () => (await import('./newedges.js')).newedges,
  fragment: async () => (await import('./fragment.js')).fragment,
  graph: async () => (await import('./graph.js')).graph,
};

/**
 * Starts the widgets below a node, each once. One that fails says so in its place.
 * @param {ParentNode} root
 */
export function start(root) {
  for (const el of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll('[data-widget]'))) {
    if (el.dataset.started) continue;
    el.dataset.started = 'yes';
    run(el);
  }
}

/** @param {HTMLElement} el */
async function run(el) {
  const load = widgets[el.dataset.widget ?? ''];
  if (!load) return;
  el.classList.add('loading');
  el.setAttribute('aria-busy', 'true');
  try {
    await (await load())(el);
  } catch (error) {
    const p = document.createElement('p');
    p.className = 'widget-error';
    p.textContent = error instanceof Error ? error.message : String(error);
    el.replaceChildren(p);
  } finally {
    el.classList.remove('loading');
    el.removeAttribute('aria-busy');
    el.dataset.ready = 'yes';
  }
}
