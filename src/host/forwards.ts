/**
 * The host's ports that are passed on to guests. Whoever reaches one, from outside, from the host or from a guest, is turned
 * to the NAT address, and the switch finds the guest. The list changes while the switch runs: what is called for is
 * always the whole of it.
 */
import type { Config, Forward } from '../config.ts';
import { describe } from './changes.ts';
import { addToIptables } from './iptables.ts';
import type { Journal } from './journal.ts';
import { same } from './journal.ts';
import { forwardsText } from './nattable.ts';
import { transact } from './nft.ts';
import type { Present } from './plan.ts';
import { readSysctl, setSysctl } from './sysctl.ts';
import { undo } from './undo.ts';
import { forwardRules } from './xtables.ts';

/** What passes the configuration's ports on, in the tools' words. */
export function describeForwards(
  config: Config,
  { backend, iptables }: Pick<Present, 'backend' | 'iptables'>,
): string[] {
  if (config.forwards.length === 0) return [];
  if (backend.nat === 'nft')
    return forwardsText(config.name, config.forwards)
      .slice(1)
      .map(line => `nft '${line}'`);
  return iptables === undefined ? [] : forwardRules(config, iptables.tool, config.forwards).map(describe);
}

/** The switch's table, or its rules, must have been made by then, and its uplink be there. */
export class HostForwards {
  readonly #config: Config;
  readonly #present: Pick<Present, 'backend' | 'iptables'>;
  readonly #journal: Journal;
  #work: Promise<void> = Promise.resolve();

  constructor(config: Config, present: Pick<Present, 'backend' | 'iptables'>, journal: Journal) {
    this.#config = config;
    this.#present = present;
    this.#journal = journal;
  }

  /** Passes on these ports and no others; one call after another. Twice does no harm. */
  hold(wanted: readonly Forward[]): Promise<void> {
    const done = this.#work.then(() => this.#hold(wanted));
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #hold(wanted: readonly Forward[]): Promise<void> {
    const { backend, iptables } = this.#present;
    if (backend.nat === 'nft') await transact(forwardsText(this.#config.name, wanted));
    if (backend.nat === 'iptables' && iptables !== undefined) await this.#holdRules(iptables.tool, wanted);
    // The host's loopback is reached through the uplink only while there is something to reach.
    const key = `net/ipv4/conf/${this.#config.name}/route_localnet`;
    const value = backend.nat !== 'none' && wanted.length > 0 ? '1' : '0';
    if (readSysctl(key) !== value) setSysctl({ key, value });
  }

  async #holdRules(tool: string, wanted: readonly Forward[]): Promise<void> {
    const rules = forwardRules(this.#config, tool, wanted);
    const isForward = (words: string): boolean => words.includes(' -j DNAT ');
    const there = this.#journal.changes.filter(
      change => change.kind === 'iptables' && change.tool === tool && isForward(change.words),
    );
    const added = rules.filter(rule => !there.some(one => same(one, rule)));
    this.#journal.record(added);
    await addToIptables(added);
    const stale = there.filter(one => !rules.some(rule => same(one, rule)));
    if (stale.length > 0) await undo(this.#journal, stale);
  }
}
