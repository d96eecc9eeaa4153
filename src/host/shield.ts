/**
 * A tap's shield. The switch reads a tap's interface end through a packet socket, and the host's own stack would read the
 * same frames: it would answer ARP behind the switch's back and let guests reach host services past every rule. So the
 * stack is cut off: a drop at the interface's ingress hook, which packet sockets see frames before, and no IPv6 on it.
 */
import type { Change } from './changes.ts';
import type { Journal } from './journal.ts';
import { make, nft, nftPresent, readSysctl, takeBack } from './nft.ts';
import { setting, shieldChain, unshieldChain } from './plan.ts';
import { run } from './run.ts';

export class Shields {
  readonly #name: string;
  readonly #journal: Journal;
  /** With nftables; else with tc, which every iproute2 has. */
  readonly #byNft: boolean;
  readonly #raised = new Map<string, readonly Change[]>();

  /** `firewall`: may nftables be used? The switch's netdev table must be there by then. */
  constructor(name: string, journal: Journal, firewall: boolean) {
    this.#name = name;
    this.#journal = journal;
    this.#byNft = firewall && nftPresent();
  }

  /** Cuts the host's stack off from interfaces, in one go; call it before they are set up. Twice does no harm. */
  async raise(taps: readonly string[]): Promise<void> {
    const missing = taps.filter(tap => !this.#raised.has(tap));
    if (missing.length === 0) return;
    const all: Change[] = [];
    for (const tap of missing) {
      const changes: Change[] = [
        ...setting({ sysctl: readSysctl }, `net/ipv6/conf/${tap}/disable_ipv6`, '1'),
      ];
      if (!this.#byNft) changes.push({ kind: 'tc', interface: tap });
      this.#raised.set(tap, changes);
      all.push(...changes);
    }
    this.#journal.record(all);
    await make(all);
    if (this.#byNft) await nft(missing.map(tap => `${shieldChain(this.#name, tap)}\n`).join(''));
    else for (const tap of missing) await cutWithTc(tap);
  }

  /** Takes the shield off an interface, which may be gone: then the kernel has taken off most of it. */
  async lower(tap: string): Promise<void> {
    const changes = this.#raised.get(tap);
    if (changes === undefined) return;
    this.#raised.delete(tap);
    if (this.#byNft) await nft(`${unshieldChain(this.#name, tap)}\n`).catch(() => undefined);
    await takeBack(changes);
    this.#journal.forget(changes);
  }

  /** All of them; what is left of nft's goes with the table. */
  async lowerAll(): Promise<void> {
    const changes = [...this.#raised.values()].flat();
    this.#raised.clear();
    await takeBack(changes);
    this.#journal.forget(changes);
  }
}

async function cutWithTc(tap: string): Promise<void> {
  await run('tc', ['qdisc', 'replace', 'dev', tap, 'clsact']);
  await run('tc', ['filter', 'replace', 'dev', tap, 'ingress', 'matchall', 'action', 'drop']);
}
