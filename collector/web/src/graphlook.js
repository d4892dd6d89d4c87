// @ts-check
import { token } from './timeseries.js';

/** States that the legend tells, with the words and shapes that stand for them besides colours. */
export const looks = [
  { look: 'finding', text: 'with open findings', color: 'bad', fill: 'bad-bg', shape: 'diamond' },
  { look: 'unstable', text: 'unstable', color: 'warn', fill: 'warn-bg', shape: 'triangle' },
  { look: 'learning', text: 'being learned', color: 'low', fill: 'low-bg', shape: 'pentagon' },
  { look: 'stable', text: 'stable', color: 'good', fill: 'good-bg', shape: 'ellipse' },
  { look: 'unknown', text: 'state not known', color: 'line-strong', fill: 'sunken', shape: 'ellipse', dashed: true },
  { look: 'resource', text: 'resource', color: 'muted', fill: 'sunken', shape: 'rectangle' },
  { look: 'callers', text: 'callers without a name', color: 'muted', fill: 'sunken', shape: 'tag' },
];

export const lines = [
  { look: 'finding', text: 'a finding is about it', color: 'bad', style: 'solid', width: 2.2 },
  { look: 'failed', text: 'never succeeded', color: 'warn', style: 'dotted', width: 1.8 },
  { look: 'new', text: 'new today', color: 'low', style: 'dashed', width: 1.8 },
  { look: 'normal', text: 'normal', color: 'line-strong', style: 'solid', width: 1 },
];

/**
 * The style of the graph by the tokens of the page.
 * @param {boolean} large it has so many edges that drawing them well would take long
 * @returns {any}
 */
export function look(large) {
  const shapes = [
    ...looks,
    { look: 'fold', color: 'muted', fill: 'line', shape: 'rectangle' }, { look: 'weighty', color: 'bad', fill: 'bad-bg', shape: 'diamond' }, { look: 'plain', color: 'accent', fill: 'low-bg', shape: 'ellipse' }, { look: 'weighty-resource', color: 'bad', fill: 'bad-bg', shape: 'rectangle' },
  ];
  return [
    {
      selector: 'node',
      style: {
        width: 16, height: 16, label: 'data(label)', color: token('text'), 'font-family': token('font'), 'font-size': 11, 'min-zoomed-font-size': 7,
        'text-halign': 'right', 'text-valign': 'center', 'text-margin-x': 5, 'text-background-color': token('surface'), 'text-background-opacity': 0.82,
        'text-background-padding': 1, 'border-width': 2, 'overlay-opacity': 0,
      },
    },
    ...shapes.map((s) => ({ selector: `node[look="${s.look}"]`, style: { 'background-color': token(s.fill), 'border-color': token(s.color), shape: s.shape, ...(/** @type {any} */ (s).dashed ? { 'border-style': 'dashed' } : {}) } })),
    { selector: 'node[look="finding"], node[look="weighty"], node[look="unstable"]', style: { width: 20, height: 20 } },
    { selector: 'node[look="title"]', style: { width: 1, height: 1, 'background-opacity': 0, 'border-width': 0, 'font-size': 42, 'font-weight': 700, color: token('muted'), 'min-zoomed-font-size': 5 } },
    { selector: 'node[more=1]', style: { 'border-style': 'double', 'border-width': 4 } },
    { selector: 'node[center=1]', style: { width: 28, height: 28, 'border-width': 4, 'font-weight': 700, 'font-size': 13 } },
    { selector: 'edge', style: large ? { 'curve-style': 'haystack', 'haystack-radius': 0, 'overlay-opacity': 0, opacity: 0.75 } : { 'curve-style': 'straight', 'target-arrow-shape': 'triangle', 'arrow-scale': 0.7, 'overlay-opacity': 0, opacity: 0.75 } },
    ...lines.map((l) => ({ selector: `edge[look="${l.look}"]`, style: { 'line-color': token(l.color), 'target-arrow-color': token(l.color), 'line-style': l.style, width: l.width } })),
    { selector: 'node.chosen', style: { 'border-color': token('focus'), 'border-width': 5, 'text-background-opacity': 1, 'font-weight': 700, 'z-index': 9 } },
    { selector: 'edge.near', style: { width: 2.5, opacity: 1, 'line-color': token('focus'), 'target-arrow-color': token('focus'), 'z-index': 8 } },
  ];
}
