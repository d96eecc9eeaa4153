/**
 * MAC addresses that were learnt or have moved, as events: as many a second of each kind as a person could look at, and the
 * number of the rest. A guest that makes up addresses costs the stream no more than that.
 */
import type { MacNews } from '../dataplane/macnews.ts';
import { NOWHERE } from '../dataplane/macnews.ts';
import { formatMac } from '../wire/address.ts';
import type { MacEvent, MacsHeldBackEvent } from './bus.ts';

/** Events a second about addresses learnt, and as many about those that moved. */
export const MACS_PER_S = 50;
const SECOND_MS = 1_000;

export class MacWatch {
  readonly #news: Pick<MacNews, 'open' | 'close' | 'drain'>;
  readonly #portName: (index: number) => string;
  readonly #told: (event: MacEvent | MacsHeldBackEvent) => void;
  #secondEndsMs = 0;
  #learnt = 0;
  #moved = 0;
  #heldBack = 0;

  constructor(
    news: Pick<MacNews, 'open' | 'close' | 'drain'>,
    portName: (index: number) => string,
    told: (event: MacEvent | MacsHeldBackEvent) => void,
  ) {
    this.#news = news;
    this.#portName = portName;
    this.#told = told;
  }

  start(): void {
    this.#heldBack = 0;
    this.#news.open();
  }

  stop(): void {
    this.#news.close();
  }

  /** To be called several times a second; `nowMs` never goes back. */
  look(nowMs: number): void {
    if (nowMs >= this.#secondEndsMs) {
      this.#secondEndsMs = nowMs + SECOND_MS;
      [this.#learnt, this.#moved] = [0, 0];
      if (this.#heldBack > 0) this.#told({ event: 'macs-held-back', count: this.#heldBack });
      this.#heldBack = 0;
    }
    const lost = this.#news.drain(this.#each); // which counts as well
    this.#heldBack += lost;
  }

  readonly #each = (key: number, lo: number, index: number, from: number): void => {
    const spent = from === NOWHERE ? this.#learnt++ : this.#moved++;
    if (spent >= MACS_PER_S) {
      this.#heldBack++;
      return;
    }
    const mac = formatMac(key & 0xffff, lo);
    const where = { mac, vlan: (key >> 16) & 0xfff, port: this.#portName(index) };
    this.#told(
      from === NOWHERE
        ? { event: 'mac-learnt', ...where }
        : { event: 'mac-moved', ...where, from: this.#portName(from) },
    );
  };
}
