/**
 * Puts what tsc made into a few files, without the parts of the packages that nobody uses: loading single modules took half
 * of the time from start to ready. Modules that are loaded on demand stay on demand.
 *
 *   node tools/bundle.mjs
 */
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './setup.mjs';

const compiled = join(root, 'dist/src');

await build({
  entryPoints: {
    vswitchd: join(compiled, 'main.js'),
    vswitchctl: join(compiled, 'ctl.js'),
    worker: join(compiled, 'dataplane/worker.js'), // where plane.ts looks for it: beside itself
    recorder: join(compiled, 'port/pcap/recorder.js'), // the same of threads.ts
    replayer: join(compiled, 'port/pcap/replayer.js'),
  },
  outdir: join(root, 'dist/program'),
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  external: ['better-sqlite3'], // native code, found beside its package
  // Packages of the older module format call require for Node's own modules.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  logLevel: 'warning',
});
