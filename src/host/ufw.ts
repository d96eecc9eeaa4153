/** ufw: its own commands, which keep its files and its rules together. It has none for a NAT, which is made beside it. */
import { readFileSync } from 'node:fs';
import type { Change, UfwChange } from './changes.ts';
import { findTool, run } from './run.ts';

/** What ufw is told at the end of our rules, and does not show: there is no IPv6 on the uplink, nor rules for it. */
const IPV4 = 'from 0.0.0.0/0';
const CONFIGURATION = '/etc/ufw/ufw.conf';

/** Does ufw filter here? Its file is looked at first: its status makes iptables' tables where there are none. */
export async function ufwIsActive(): Promise<boolean> {
  if (findTool('ufw') === undefined) return false;
  try {
    if (!/^ENABLED=yes/im.test(readFileSync(CONFIGURATION, 'utf8'))) return false;
  } catch {
    return false;
  }
  return /^Status: active/m.test(await run('ufw', ['status']));
}

/** The rules that were added to ufw by its command, as it shows them: `ufw allow in on vsw0 comment 'mine'`. */
export async function ufwAdded(): Promise<readonly string[]> {
  return (await run('ufw', ['show', 'added'])).split('\n').filter(line => line.startsWith('ufw '));
}

/** Rules of the user's in the same words stay his: ufw keeps no two of them. */
export function ufwRules(name: string, added: readonly string[]): UfwChange[] {
  const comment = `vswitchd:${name}`;
  const isOthers = (line: string, words: string): boolean =>
    line === `ufw ${words}` ||
    (line.startsWith(`ufw ${words} comment `) && line !== shown({ words: `${words} ${IPV4}`, comment }));
  return [`allow in on ${name}`, `route allow in on ${name}`, `route allow out on ${name}`]
    .filter(words => !added.some(line => isOthers(line, words)))
    .map(words => ({ kind: 'ufw', words: `${words} ${IPV4}`, comment }));
}

const shown = ({ words, comment }: Pick<UfwChange, 'words' | 'comment'>): string =>
  `ufw ${words.slice(0, -IPV4.length - 1)} comment '${comment}'`;

const isUfw = (change: Change): change is UfwChange => change.kind === 'ufw';

/** Adds what is not there: ufw skips the rest itself. */
export async function addToUfw(changes: readonly Change[]): Promise<void> {
  for (const { words, comment } of changes.filter(isUfw))
    await run('ufw', [...words.split(' '), 'comment', comment]);
}

export async function removeFromUfw(changes: readonly Change[]): Promise<void> {
  const ours = changes.filter(isUfw);
  if (ours.length === 0 || findTool('ufw') === undefined) return;
  const added = await ufwAdded();
  for (const rule of ours) {
    if (!added.includes(shown(rule))) continue;
    const [first = '', ...rest] = rule.words.split(' ');
    await run('ufw', first === 'route' ? ['route', 'delete', ...rest] : ['delete', first, ...rest]);
  }
}
