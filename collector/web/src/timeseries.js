// @ts-check
import uPlot from 'uplot';
import { api } from './api.js';

const severities = ['info', 'low', 'medium', 'high', 'critical'];

const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const hour = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** @param {string} name a token of the style sheet */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * Draws findings over time as stacked bars.
 * @param {HTMLElement} el
 */
export async function timeseries(el) {
  /** @type {uPlot | undefined} */
  let plot;
  const draw = async () => {
    const { findings } = el.dataset.values ? JSON.parse(el.dataset.values) : await api(el.dataset.src ?? '');
    const steps = findings.over_time;
    const xs = steps.map((/** @type {any} */ s) => Date.parse(s.start) / 1000 + findings.step_seconds / 2);
    const values = severities.map((name) => steps.map((/** @type {any} */ s) => s[name]));
    // Stacked: each series is drawn with what lies below it, the tallest first.
    const sums = values.map((_, i) => xs.map((/** @type {number} */ _x, /** @type {number} */ j) => values.slice(0, i + 1).reduce((sum, v) => sum + v[j], 0)));
    const order = severities.map((_, i) => severities.length - 1 - i);
    plot?.destroy();
    const bars = /** @type {any} */ (uPlot.paths.bars)({ size: [0.8, 40] });
    const axis = { stroke: token('muted'), grid: { stroke: token('line'), width: 1 }, ticks: { stroke: token('line'), width: 1 }, font: `12px ${token('font')}` };
    plot = new uPlot(
      {
        width: Math.max(200, el.clientWidth), height: 190,
        padding: [10, 6, 0, 0],
        scales: { y: { range: (_u, _min, max) => [0, Math.max(4, Math.ceil(max * 1.1))] } },
        axes: [{ ...axis, space: 70, values: (_u, splits, _axis, _space, step) => splits.map((t) => (step >= 86400 ? day : hour).format(new Date(t * 1000))) }, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000] }],
        legend: { live: true },
        cursor: { y: false, points: { show: false } },
        series: [
          { label: 'From', value: (_u, at) => (at == null ? '–' : full.format(new Date((at - findings.step_seconds / 2) * 1000))) },
          ...order.map((i) => ({
            label: severities[i], paths: bars, points: { show: false }, width: 0, fill: token(severities[i]), stroke: token(severities[i]),
            value: (/** @type {any} */ _u, /** @type {any} */ _v, /** @type {any} */ _s, /** @type {number | null} */ at) => (at == null ? '–' : String(values[i][at])),
          })),
        ],
      },
      [xs, ...order.map((i) => sums[i])],
      el,
    );
  };
  await draw();
  el.querySelector('.loading')?.remove();
  new ResizeObserver(() => plot?.setSize({ width: Math.max(200, el.clientWidth), height: 190 })).observe(el);
  el.addEventListener('ambit:reload', () => draw().catch(() => { /* the stream says that Ambit is away */ }));
  document.addEventListener('ambit:theme', () => draw().catch(() => { /* likewise */ }));
}
