/** Requests by method and status; whoever makes up methods makes no series. */
import type { ApiFigures } from './figures.ts';

const METHODS = ['GET', 'POST', 'PATCH', 'DELETE'];

export class RequestCounts {
  readonly #counts = new Map<string, { method: string; code: number; count: number }>();

  add(method: string | undefined, code: number): void {
    const known = method !== undefined && METHODS.includes(method) ? method : 'other';
    const key = `${known} ${code}`;
    const counted = this.#counts.get(key) ?? { method: known, code, count: 0 };
    counted.count++;
    this.#counts.set(key, counted);
  }

  list(): ApiFigures['requests'] {
    return [...this.#counts.values()].map(counted => ({ ...counted }));
  }
}
