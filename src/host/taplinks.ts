/** Taps by their alias, in our namespace and in all named ones: where a killed instance's taps have gone. */
import type { Native } from '../port/native.ts';
import { namedNetns } from './netns.ts';
import { run } from './run.ts';

export interface FoundTap {
  /** A name under /run/netns; undefined: in our own namespace. */
  readonly netns: string | undefined;
  readonly name: string;
  readonly ifindex: number;
}

interface ShownLink {
  readonly ifname: string;
  readonly ifindex: number;
  readonly ifalias?: string;
}

/** The link with this alias, or undefined. */
export async function findTap(alias: string): Promise<FoundTap | undefined> {
  for (const netns of [undefined, ...namedNetns()]) {
    const where = netns === undefined ? [] : ['-n', netns];
    const shown = await run('ip', [...where, '-j', 'link', 'show']).catch(() => '[]'); // a name without a namespace
    const link = (JSON.parse(shown || '[]') as ShownLink[]).find(candidate => candidate.ifalias === alias);
    if (link !== undefined) return { netns, name: link.ifname, ifindex: link.ifindex };
  }
  return undefined;
}

/** Deletes a tap of our namespace; no fault when it is gone. */
export async function deleteTap(native: Native, ifindex: number): Promise<void> {
  let name: string;
  try {
    name = native.interfaceName(ifindex, -1);
  } catch {
    return;
  }
  await run('ip', ['link', 'delete', 'dev', name]);
}

/** Deletes the link with this alias, wherever it is. */
export async function deleteByAlias(alias: string): Promise<void> {
  const found = await findTap(alias);
  if (found === undefined) return;
  const where = found.netns === undefined ? [] : ['-n', found.netns];
  await run('ip', [...where, 'link', 'delete', 'dev', found.name]);
}
