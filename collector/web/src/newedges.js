// @ts-check
import uPlot from 'uplot';
import { api } from './api.js';
import { token } from './timeseries.js';

const day = 86400;

/**
 * Draws what an identity met for the first time, by day, over its connections.
 * @param {HTMLElement} el
 */
export async function newedges(el) {
  const a = await api(el.dataset.src ?? '');
  const known = new Map(a.days.map((/** @type {any} */ d) => [Date.parse(`${d.day}T00:00:00Z`) / 1000, d]));
  const from = Math.floor(Date.parse(a.since) / 1000 / day) * day;
  /** @type {number[]} */
  const xs = [];
  for (let at = from; at <= Date.parse(a.until) / 1000; at += day) xs.push(at);
  const of = (/** @type {string} */ name) => xs.map((x) => known.get(x)?.[name] ?? 0);
  const outbound = of('new_outbound');
  const sum = of('new_inbound').map((n, i) => n + outbound[i]);
  /** @type {uPlot | undefined} */
  let plot;
  const draw = () => {
    plot?.destroy();
    const bars = /** @type {any} */ (uPlot.paths.bars)({ size: [0.7, 30] });
    const axis = { stroke: token('muted'), grid: { stroke: token('line'), width: 1 }, ticks: { stroke: token('line'), width: 1 }, font: `12px ${token('font')}` };
    plot = new uPlot(
      {
        width: Math.max(200, el.clientWidth), height: 190, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), 'UTC'),
        scales: { y: { range: (_u, _min, max) => [0, Math.max(4, Math.ceil(max * 1.1))] }, c: { range: (_u, _min, max) => [0, Math.max(1, max * 1.1)] } },
        axes: [axis, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000] }, { ...axis, scale: 'c', side: 1, size: 60, grid: { show: false } }],
        cursor: { y: false, points: { show: false } },
        series: [
          { value: (_u, v) => (v == null ? '' : new Date(v * 1000).toISOString().slice(0, 10)) },
          { label: 'new inbound', paths: bars, points: { show: false }, width: 0, fill: token('medium'), stroke: token('medium'), value: (_u, _v, _s, i) => (i == null ? '' : String(sum[i] - outbound[i])) },
          { label: 'new outbound', paths: bars, points: { show: false }, width: 0, fill: token('accent'), stroke: token('accent') },
          { label: 'connections', scale: 'c', points: { show: false }, width: 1.5, stroke: token('muted'), dash: [5, 4] },
        ],
      },
      /** @type {any} */ ([xs, sum, outbound, of('connections')]),
      el,
    );
  };
  draw();
  new ResizeObserver(() => plot?.setSize({ width: Math.max(200, el.clientWidth), height: 190 })).observe(el);
  const redraw = () => setTimeout(draw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ['data-theme'] });
}
