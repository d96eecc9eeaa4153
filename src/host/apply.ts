/** Changes made and taken back, each kind by what it needs; and what of the host the plan must know before. */
import type { Change } from './changes.ts';
import { neededBefore } from './locks.ts';
import { addToNft, foreignChains, removeFromNft } from './nft.ts';
import type { Present } from './plan.ts';
import { run } from './run.ts';
import { readSysctl, restoreSysctl, setSysctl } from './sysctl.ts';
import { deleteByAlias } from './taplinks.ts';
import { cut, uncut } from './tc.ts';

/** The host as it would be without `ours`: changes that a killed instance has left. */
export async function readPresent(ours: readonly Change[]): Promise<Present> {
  return { chains: await foreignChains(), sysctl: key => sysctlBefore(key, ours) };
}

/** What a setting held before we, or another running switch, changed it; undefined where there is none of that name. */
export function sysctlBefore(key: string, ours: readonly Change[]): string | undefined {
  const now = readSysctl(key);
  const other = neededBefore(key).find(before => before !== now);
  if (other !== undefined) return other;
  const change = ours.find(candidate => candidate.kind === 'sysctl' && candidate.key === key);
  return change?.kind === 'sysctl' && change.value === now ? change.before : now;
}

/** Makes changes; those of taps and links are made by who follows them. */
export async function make(changes: readonly Change[]): Promise<void> {
  for (const change of changes) if (change.kind === 'sysctl') setSysctl(change);
  await addToNft(changes);
  for (const change of changes) if (change.kind === 'tc') await cut(change);
}

/**
 * Takes changes back as far as they are still there: twice does no harm. Links go first, so that no guest's frame comes
 * to the host's stack when the shields are off.
 */
export async function takeBack(changes: readonly Change[]): Promise<void> {
  for (const change of changes) {
    if (change.kind === 'tap') await deleteByAlias(change.alias);
    if (change.kind === 'link') await setDown(change.interface, change.ifindex);
  }
  for (const change of changes) {
    if (change.kind === 'sysctl') restoreSysctl(change);
    if (change.kind === 'tc') await uncut(change);
  }
  await removeFromNft(changes);
}

/** An interface of another index is another one of the same name. */
async function setDown(name: string, ifindex: number): Promise<void> {
  const said = await run('ip', ['-j', 'link', 'show', 'dev', name]).catch(() => '[]');
  const [link] = JSON.parse(said || '[]') as { ifindex: number }[];
  if (link?.ifindex === ifindex) await run('ip', ['link', 'set', 'dev', name, 'down']);
}
