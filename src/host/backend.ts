/** Which tool manages this host's firewall, and why: the operator says, or what is running here does. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config.ts';
import { OperatorError } from '../errors.ts';
import { firewalldIsRunning } from './firewalld.ts';
import { nftPresent } from './nft.ts';
import type { BaseChain } from './plan.ts';
import { findTool, missing } from './run.ts';
import { ufwIsActive } from './ufw.ts';

export interface Backend {
  readonly name: Exclude<Config['firewall'], 'auto'>;
  /** Why this one: `ufw is active`. */
  readonly reason: string;
  /** What masquerades and passes ports on: ufw and firewalld are no help there. */
  readonly nat: 'nft' | 'iptables' | 'none';
  /** What cuts the host's stack off from the taps. */
  readonly shields: 'nft' | 'tc';
}

const FIREWALLD_CONFIGURATION = '/etc/firewalld/firewalld.conf';

/** Throws a sentence when a tool is asked for that is not there or not running. `chains`: those of nftables that others made. */
export async function chooseBackend(
  asked: Config['firewall'],
  chains: readonly BaseChain[],
): Promise<Backend> {
  const [name, reason] = asked === 'auto' ? await choose(chains) : [asked, 'asked for'];
  const lacks = asked === 'auto' ? undefined : await fault(asked);
  if (lacks !== undefined) throw new OperatorError(`--firewall ${asked}: ${lacks}`, { code: 'MissingTool' });
  return { name, reason, nat: natBy(name), shields: name !== 'none' && nftPresent() ? 'nft' : 'tc' };
}

async function choose(chains: readonly BaseChain[]): Promise<[Backend['name'], string]> {
  if (firewalldMayFilter(chains) && (await firewalldIsRunning()))
    return ['firewalld', 'firewalld is running'];
  if (await ufwIsActive()) return ['ufw', 'ufw is active'];
  if (nftPresent()) return ['nft', 'neither firewalld nor ufw is active, and nft is installed'];
  if (findTool('iptables') !== undefined) return ['iptables', 'nft is not installed, and iptables is'];
  return ['none', 'neither nft nor iptables is installed'];
}

/** firewalld answers on the host's bus; it filters here if its table is in this namespace, where that can be seen. */
function firewalldMayFilter(chains: readonly BaseChain[]): boolean {
  if (findTool('firewall-cmd') === undefined) return false;
  return !nftPresent() || chains.some(chain => chain.table === 'firewalld') || firewalldUsesIptables();
}

function firewalldUsesIptables(): boolean {
  try {
    return /^FirewallBackend=iptables/m.test(readFileSync(FIREWALLD_CONFIGURATION, 'utf8'));
  } catch {
    return false;
  }
}

function natBy(name: Backend['name']): Backend['nat'] {
  if (name === 'none') return 'none';
  if (name !== 'iptables' && nftPresent()) return 'nft';
  return findTool('iptables') === undefined ? 'none' : 'iptables';
}

/** Why a backend that is asked for can't be used; undefined when it can. */
async function fault(asked: Backend['name']): Promise<string | undefined> {
  switch (asked) {
    case 'none':
      return undefined;
    case 'nft':
    case 'iptables':
      return findTool(asked) === undefined ? missing(asked) : undefined;
    case 'ufw':
      if (findTool('ufw') === undefined) return missing('ufw');
      return (await ufwIsActive()) ? undefined : 'ufw is not active; ufw enable, or use --firewall auto';
    case 'firewalld':
      if (findTool('firewall-cmd') === undefined) return missing('firewall-cmd');
      return (await firewalldIsRunning())
        ? undefined
        : 'firewalld is not running; start it, or use --firewall auto';
  }
}
