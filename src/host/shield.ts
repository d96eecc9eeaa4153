/**
 * A tap's shield. The switch reads a tap's interface end through a packet socket, and the host's own stack would read the
 * same frames: it would answer ARP behind the switch's back and let guests reach host services past every rule. So the
 * stack is cut off: a drop at the interface's ingress hook, which packet sockets see frames before, and no IPv6 on it.
 */
import { make, sysctlBefore } from './apply.ts';
import type { Backend } from './backend.ts';
import type { Change } from './changes.ts';
import type { Journal } from './journal.ts';
import { shieldOf } from './plan.ts';
import { hasClsact } from './tc.ts';
import { undo } from './undo.ts';

export class Shields {
  readonly #name: string;
  readonly #journal: Journal;
  /** With nftables; else with tc, which every iproute2 has. */
  readonly #byNft: boolean;
  readonly #raised = new Map<string, readonly Change[]>();

  /** `by` nftables: the switch's netdev table must be there by then. */
  constructor(name: string, journal: Journal, by: Backend['shields']) {
    this.#name = name;
    this.#journal = journal;
    this.#byNft = by === 'nft';
  }

  /** What a tap's shield is; what a killed instance has left of it is a part. The tap must be there for tc to look at. */
  async changesFor(tap: string): Promise<readonly Change[]> {
    const left = this.#journal.changes;
    const before = left.find(change => change.kind === 'tc' && change.interface === tap);
    const qdisc = async (): Promise<boolean> =>
      before?.kind === 'tc' ? before.qdisc : !(await hasClsact(tap).catch(() => false));
    const by = this.#byNft ? 'nft' : { qdisc: await qdisc() };
    return shieldOf(this.#name, tap, { sysctl: key => sysctlBefore(key, left) }, by);
  }

  /** Cuts the host's stack off from interfaces, in one go; call it before they are set up. Twice does no harm. `raised`: another process has done it. */
  async raise(taps: readonly string[], raised = false): Promise<void> {
    const all: Change[] = [];
    for (const tap of taps.filter(candidate => !this.#raised.has(candidate))) {
      const changes = await this.changesFor(tap);
      this.#raised.set(tap, changes);
      all.push(...changes);
    }
    this.#journal.record(all);
    if (!raised) await make(all);
  }

  /** Takes the shield off an interface, which may be gone: then the kernel has taken off most of it. */
  async lower(tap: string): Promise<void> {
    const changes = this.#raised.get(tap);
    if (changes === undefined) return;
    this.#raised.delete(tap);
    await undo(this.#journal, changes);
  }

  async lowerAll(): Promise<void> {
    const changes = [...this.#raised.values()].flat();
    this.#raised.clear();
    await undo(this.#journal, changes);
  }
}
