/** The doctor: everything that is looked for, in the order in which it is told, and what `--fix` does about it. */
import { make } from '../apply.ts';
import { run } from '../run.ts';
import type { Facts } from './facts.ts';
import { type Finding, isOurs } from './finding.ts';
import { droppingChains, firewalldReload, legacyDrop } from './firewall.ts';
import { forwardingOff, leftBehind, takenAway } from './kept.ts';
import {
  leasesUnwritten,
  missingTools,
  natModules,
  noResolver,
  rights,
  silentResolvers,
  tunDevice,
} from './needs.ts';
import { nameTaken, reversePath, subnetClash, subnetHeld, tapsHeld } from './network.ts';
import { bridgeFilter, networkd, networkManager, tapsInBridges } from './taps.ts';

const EXAMINATIONS: readonly ((facts: Facts) => Finding[])[] = [
  rights,
  missingTools,
  tunDevice,
  natModules,
  nameTaken,
  subnetClash,
  subnetHeld,
  tapsHeld,
  takenAway,
  forwardingOff,
  droppingChains,
  legacyDrop,
  firewalldReload,
  reversePath,
  tapsInBridges,
  bridgeFilter,
  networkManager,
  networkd,
  leasesUnwritten,
  noResolver,
  silentResolvers,
  leftBehind,
];

/** All that is wrong, the worst first. */
export function examine(facts: Facts): Finding[] {
  const found = EXAMINATIONS.flatMap(look => look(facts));
  return (['error', 'warning', 'note'] as const).flatMap(severity =>
    found.filter(finding => finding.severity === severity),
  );
}

/** What `--fix` did about a finding; `fault`: why it could not. */
export interface Mended {
  readonly id: string;
  readonly done: readonly string[];
  readonly fault?: string;
}

/** Does what is ours to do, and leaves the rest to the operator. */
export async function mend(findings: readonly Finding[]): Promise<Mended[]> {
  const mended: Mended[] = [];
  for (const finding of findings.filter(isOurs)) {
    const done = finding.fix.map(step => step.text);
    const fault = await apply(finding).then(
      () => undefined,
      (error: Error) => error.message,
    );
    mended.push({ id: finding.id, done, ...(fault === undefined ? {} : { fault }) });
  }
  return mended;
}

async function apply({ fix }: Finding): Promise<void> {
  await make(fix.flatMap(step => step.change ?? []));
  for (const { command } of fix) if (command !== undefined) await run(command.tool, command.words);
}
