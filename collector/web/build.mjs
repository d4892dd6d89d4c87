// Bundles src into dist: scripts and styles with hashes of their contents in their names, a list of them, and the licences of what is bundled.
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(dirname(fileURLToPath(import.meta.url)));
const common = {
  outdir: 'dist', bundle: true, minify: true, metafile: true, entryNames: '[name]-[hash]', chunkNames: '[name]-[hash]', assetNames: '[name]-[hash]', charset: 'utf8',
  target: ['chrome111', 'firefox115', 'safari16.4'], legalComments: 'none', logLevel: 'warning',
};
const results = [
  await build({ ...common, entryPoints: ['src/main.js'], format: 'esm', splitting: true }),
  await build({ ...common, entryPoints: ['src/theme.js'], format: 'iife' }),
  await build({ ...common, entryPoints: ['src/main.css'] }),
];

const manifest = {};
const packages = new Set();
for (const { metafile } of results) {
  for (const [out, { entryPoint }] of Object.entries(metafile.outputs)) if (entryPoint?.startsWith('src/')) manifest[basename(entryPoint)] = basename(out);
  for (const input of Object.keys(metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
}
const icon = readFileSync('src/icon.svg');
manifest['icon.svg'] = `icon-${createHash('sha256').update(icon).digest('hex').slice(0, 8)}.svg`;
writeFileSync(join('dist', manifest['icon.svg']), icon);

const licenses = [...packages].sort().map((name) => {
  const folder = join('node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  if (!file) throw new Error(`${name} has no file with its licence`);
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
});
writeFileSync('dist/licenses.txt', 'Ambit’s pages are under the Apache License 2.0. They hold parts of these libraries:\n\n' + licenses.join('\n' + '-'.repeat(80) + '\n\n'));
writeFileSync('dist/manifest.json', JSON.stringify(Object.fromEntries(Object.entries(manifest).sort()), null, 1) + '\n');

// What was made before goes last, so that a program that is built meanwhile finds what it lists.
const made = new Set(['README', 'licenses.txt', 'manifest.json', manifest['icon.svg'], ...results.flatMap((r) => Object.keys(r.metafile.outputs).map((out) => basename(out)))]);
for (const name of readdirSync('dist')) if (!made.has(name)) rmSync(join('dist', name), { recursive: true, force: true });
