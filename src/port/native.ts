/** Finds and loads the addon. What it exports is declared, with its errors, in native/index.d.ts. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Native = typeof import('../../native/index.d.ts');

let loaded: Native | undefined;

/** The addon; throws one sentence when it has not been built. */
export function loadNative(): Native {
  if (loaded !== undefined) return loaded;
  const path = join(projectRoot(), 'native', 'build', 'Release', 'vswitchd.node');
  if (!existsSync(path))
    throw new Error(`the native addon is not built: ${path} is missing; run 'npm run build'`);
  loaded = createRequire(import.meta.url)(path) as Native;
  return loaded;
}

/** The folder that holds package.json and native/, however deep this file was compiled to. */
export function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!(existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'native')))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error(`no folder above ${import.meta.url} holds package.json and native/`);
    folder = parent;
  }
  return folder;
}
