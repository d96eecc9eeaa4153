/**
 * Rows to send, a list a port: what the stages have decided, sorted by egress, so that each port transmits once a batch.
 * A flood is one row in several lists.
 */
import { type Batch, MAX_PORTS } from './batch.ts';

/** An Ethernet header: what every frame has beyond its port's IP MTU. */
const HEADER_BYTES = 14;
/** `limits` of an index without a port: every frame is too long for it. */
const CLOSED = -1;

export class EgressLists {
  /** Columns by port index: rows in the list and their bytes. */
  readonly counts = new Int32Array(MAX_PORTS);
  readonly bytes = new Int32Array(MAX_PORTS);
  /** Indices with a list that is not empty, in the order of their first rows. */
  readonly dirty = new Int32Array(MAX_PORTS);
  dirtyCount = 0;
  /** Sorts all rows of the batch; those that are not plainly for one port go to `special`, one by one. */
  readonly sort: () => void;
  /** Adds a row to a port's list, whatever its length; the port must be open. */
  readonly add: (row: number, index: number) => void;

  /** Bytes up to which a frame fits a port without a closer look. */
  readonly #limits = new Int32Array(MAX_PORTS + 1).fill(CLOSED);
  /** One list behind the other: a single array, whose address the compiler knows, serves all ports. */
  readonly #rows: Int32Array;
  readonly #views: Int32Array[];

  /** `special(row)` decides on a dropped, flooded or consumed row, and on one that is too long for its port. */
  constructor(batch: Batch, special: (row: number) => void) {
    const { capacity, egress, length } = batch;
    const { counts, bytes, dirty } = this;
    const limits = this.#limits;
    const rows = new Int32Array(MAX_PORTS * capacity);
    this.#rows = rows;
    this.#views = Array.from({ length: MAX_PORTS }, (_, index) =>
      this.#rows.subarray(index * capacity, (index + 1) * capacity),
    );
    const add = (row: number, index: number): void => {
      const count = counts[index] as number;
      if (count === 0) {
        dirty[this.dirtyCount++] = index;
        bytes[index] = 0;
      }
      rows[index * capacity + count] = row;
      counts[index] = count + 1;
      bytes[index] = (bytes[index] as number) + (length[row] as number);
    };
    this.add = add;
    this.sort = () => {
      const { count } = batch;
      for (let row = 0; row < count; row++) {
        const index = egress[row] as number;
        if (index >= 0 && (length[row] as number) <= (limits[index] as number)) add(row, index);
        else special(row);
      }
    };
  }

  open(index: number, mtu: number): void {
    this.#limits[index] = mtu + HEADER_BYTES;
  }

  close(index: number): void {
    this.#limits[index] = CLOSED;
  }

  /** Does a frame of this length fit without a closer look? */
  fits(index: number, length: number): boolean {
    return length <= (this.#limits[index] as number);
  }

  rowsOf(index: number): Int32Array {
    return this.#views[index] as Int32Array;
  }
}
