/** Runs a built program in this process. Node's own modules only. */
import { existsSync } from 'node:fs';

/** tsc's modules, which a bundle is made of. */
const MODULES = { vswitchd: 'main', vswitchctl: 'ctl' };

/** The bundle starts faster; coverage is counted by module. */
export async function load(name) {
  const counted = process.env.NODE_V8_COVERAGE !== undefined;
  const path = counted ? `../dist/src/${MODULES[name]}.js` : `../dist/program/${name}.js`;
  const program = new URL(path, import.meta.url);
  if (existsSync(program)) {
    await import(program.href);
  } else {
    console.error(`${name}: the program is not built; run 'npm run build' in its folder first`);
    process.exitCode = 1;
  }
}
