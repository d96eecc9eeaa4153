/** Where frames may go, by what the data plane has seen of their addresses: told by the ports that have faults. */
import { type Batch, GATEWAY_PORT } from '../../src/dataplane/batch.ts';
import type { Witness } from './faults.ts';

/** Byte offset of the source MAC. */
const SOURCE = 6;
/** Guests' MACs begin so (fixtures/dhcp.ts), and those of mere noise otherwise. */
const GUESTS_HI = 0x0200;
/** Shorter ones were cut short, and nothing is learnt from them. */
const WHOLE = 60;

interface Heard {
  readonly port: number;
  readonly atS: number;
}

export interface WatchedParts {
  nowS(): number;
  readonly uplink: number;
  /** VLAN and address that each frame for the uplink must be for. */
  readonly toHost: string;
  readonly ageingS: number;
}

export class Watched implements Witness {
  /** The first thing that did not hold, in the midst of things, where nothing may be thrown. */
  fault: string | undefined;
  /** Was the table full? Then who was heard may not have been learnt. */
  isFull = false;
  readonly #parts: WatchedParts;
  /** By VLAN and MAC. */
  readonly #heard = new Map<string, Heard>();

  constructor(parts: WatchedParts) {
    this.#parts = parts;
  }

  forgetAll(): void {
    this.#heard.clear();
    this.isFull = false;
  }

  forgetPort(index: number): void {
    for (const [key, { port }] of this.#heard) if (port === index) this.#heard.delete(key);
  }

  received({ mem, offset, length, count }: Batch, from: number, index: number): void {
    if (index === this.#parts.uplink) return;
    for (let row = from; row < count; row++) {
      const at = offset[row] as number;
      if ((length[row] as number) >= WHOLE && mem.getUint16(at + SOURCE) === GUESTS_HI)
        this.#heard.set(keyAt(mem, at, SOURCE), { port: index, atS: Math.floor(this.#parts.nowS()) });
    }
  }

  given({ mem, offset, ingress }: Batch, rows: Int32Array, count: number, index: number): void {
    const { uplink, toHost } = this.#parts;
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      const key = keyAt(mem, offset[row] as number, 0);
      if (ingress[row] === index) this.fault ??= `a frame for ${key} goes back to port ${index}`;
      if (index === uplink) {
        if (key !== toHost)
          this.fault ??= `a frame for ${key} goes to the uplink, which gets what is routed alone`;
      } else if (ingress[row] !== GATEWAY_PORT) {
        // What the switch itself says goes where it was asked.
        const at = this.#learnt(key);
        if (at !== undefined && at !== index)
          this.fault ??= `a frame for ${key}, who is on ${at}, goes to ${index}`;
      }
    }
  }

  /** The port that an address was heard on, and must have been learnt at. */
  #learnt(key: string): number | undefined {
    const heard = this.#heard.get(key);
    const isOld = heard === undefined || this.#parts.nowS() - heard.atS >= this.#parts.ageingS - 1;
    return isOld || this.isFull ? undefined : heard.port;
  }
}

/** VLAN and address of a frame: of its destination at 0, of its source at 6. */
function keyAt(mem: DataView, at: number, offset: number): string {
  const vlan = mem.getUint16(at + 12) === 0x8100 ? mem.getUint16(at + 14) & 0xfff : 0;
  return `${vlan} ${mem.getUint16(at + offset)} ${mem.getInt32(at + offset + 2)}`;
}
