/** Changes made and taken back, each kind by what it needs; and what of the host the plan must know before. */
import type { Config } from '../config.ts';
import { OperatorError } from '../errors.ts';
import { chooseBackend } from './backend.ts';
import type { Change } from './changes.ts';
import { addToZones, removeFromZones, zoneOf } from './firewalld.ts';
import { addToIptables, legacyTables, readXtables, removeFromIptables, usualVariant } from './iptables.ts';
import { neededBefore } from './locks.ts';
import { addToNft, foreignChains, removeFromNft } from './nft.ts';
import type { Present, Xtables } from './plan.ts';
import { addToResolved, removeFromResolved, resolvedRuns } from './resolved.ts';
import { run } from './run.ts';
import { readSysctl, restoreSysctl, setSysctl } from './sysctl.ts';
import { deleteByAlias } from './taplinks.ts';
import { cut, uncut } from './tc.ts';
import { addToUfw, removeFromUfw, ufwAdded } from './ufw.ts';

/** The host as it would be without `ours`: changes that a killed instance has left. */
export async function readPresent(
  config: Pick<Config, 'name' | 'firewall'>,
  ours: readonly Change[],
): Promise<Present> {
  const chains = await foreignChains();
  const backend = await chooseBackend(config.firewall, chains);
  const zone = backend.name === 'firewalld' ? await zoneOf(config.name) : undefined;
  const zoned = ours.some(change => change.kind === 'zone' && change.zone === zone);
  return {
    backend,
    chains,
    ...(await readIptables(backend, ours)),
    ufw:
      backend.name === 'ufw'
        ? { added: await ufwAdded(), byNft: (await usualVariant()) === 'nft' }
        : undefined,
    zone: zoned ? undefined : zone,
    resolved: await resolvedRuns(),
    sysctl: key => sysctlBefore(key, ours),
  };
}

/** Both variants filter at once, so what one accepts the other may drop. nft sees the one that is made of nftables. */
async function readIptables(
  { name, nat }: Present['backend'],
  ours: readonly Change[],
): Promise<Pick<Present, 'iptables' | 'others'>> {
  const legacy = async (): Promise<readonly Xtables[]> =>
    name !== 'none' && legacyTables().includes('filter') ? found(await readXtables('legacy', ours)) : [];
  if (nat !== 'iptables') {
    const ufwHasIt = name === 'ufw' && (await usualVariant()) === 'legacy';
    return { others: ufwHasIt ? [] : await legacy() };
  }
  const usual = (await usualVariant()) ?? 'nft';
  const others = usual === 'nft' ? await legacy() : found(await readXtables('nft', ours));
  return { iptables: await readXtables(usual, ours), others };
}

const found = (xtables: Xtables | undefined): readonly Xtables[] => (xtables === undefined ? [] : [xtables]);

/** What a setting held before we, or another running switch, changed it; undefined where there is none of that name. */
export function sysctlBefore(key: string, ours: readonly Change[]): string | undefined {
  const now = readSysctl(key);
  const other = neededBefore(key).find(before => before !== now);
  if (other !== undefined) return other;
  const change = ours.find(candidate => candidate.kind === 'sysctl' && candidate.key === key);
  return change?.kind === 'sysctl' && change.value === now ? change.before : now;
}

/** Makes changes; those of taps and links are made by who follows them. `warn` hears of what failed and can be done without. */
export async function make(
  changes: readonly Change[],
  warn: (sentence: string) => void = fail,
): Promise<void> {
  for (const change of changes) if (change.kind === 'sysctl') setSysctl(change);
  await addToNft(changes);
  await addToIptables(changes);
  await addToUfw(changes);
  await addToZones(changes);
  await addToResolved(changes, warn);
  for (const change of changes) if (change.kind === 'tc') await cut(change);
}

function fail(sentence: string): never {
  throw new OperatorError(sentence, { code: 'HostChange' });
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
  await removeFromZones(changes);
  await removeFromResolved(changes);
  await removeFromUfw(changes);
  await removeFromNft(changes);
  await removeFromIptables(changes);
}

/** An interface of another index is another one of the same name. */
async function setDown(name: string, ifindex: number): Promise<void> {
  const said = await run('ip', ['-j', 'link', 'show', 'dev', name]).catch(() => '[]');
  const [link] = JSON.parse(said || '[]') as { ifindex: number }[];
  if (link?.ifindex === ifindex) await run('ip', ['link', 'set', 'dev', name, 'down']);
}
