/**
 * A binary heap whose members know their places, so that one can be moved or taken out of its midst in O(log n): leases, in
 * the order of one of their times.
 */

export interface Member {
  /** Index in the heap; the heap's to write. */
  slot: number;
}

export class Heap<T extends Member> {
  readonly #members: T[] = [];
  readonly #timeOf: (member: T) => number;

  /** `timeOf`: what they are ordered by, least first. Who changes a member's time calls `settle`. */
  constructor(timeOf: (member: T) => number) {
    this.#timeOf = timeOf;
  }

  get size(): number {
    return this.#members.length;
  }

  first(): T | undefined {
    return this.#members[0];
  }

  add(member: T): void {
    member.slot = this.#members.length;
    this.#members.push(member);
    this.settle(member);
  }

  /** Takes out one that is in it. */
  remove(member: T): void {
    const last = this.#members.pop()!;
    if (last === member) return;
    this.#place(last, member.slot);
    this.settle(last);
  }

  /** Restores the order after the time of one member has changed. */
  settle(member: T): void {
    const members = this.#members;
    const timeOf = this.#timeOf;
    const time = timeOf(member);
    let { slot } = member;
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (timeOf(members[parent]!) <= time) break;
      this.#place(members[parent]!, slot);
      slot = parent;
    }
    for (;;) {
      let child = 2 * slot + 1;
      if (child >= members.length) break;
      if (child + 1 < members.length && timeOf(members[child + 1]!) < timeOf(members[child]!)) child++;
      if (time <= timeOf(members[child]!)) break;
      this.#place(members[child]!, slot);
      slot = child;
    }
    this.#place(member, slot);
  }

  #place(member: T, slot: number): void {
    this.#members[slot] = member;
    member.slot = slot;
  }
}
