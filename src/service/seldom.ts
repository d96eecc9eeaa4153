/** Keeps a sentence from filling the log: so many in a time, and then how many were left out. */

export class Seldom {
  readonly #most: number;
  readonly #periodMs: number;
  #fromMs = Number.NEGATIVE_INFINITY;
  #said = 0;
  #untold = 0;

  constructor(most: number, periodMs: number) {
    this.#most = most;
    this.#periodMs = periodMs;
  }

  /** The sentence as it is to be logged now, with how many before it were not; undefined: not this one. */
  say(sentence: string, nowMs: number): string | undefined {
    if (Math.abs(nowMs - this.#fromMs) >= this.#periodMs) {
      this.#fromMs = nowMs;
      this.#said = 0;
    }
    if (this.#said >= this.#most) {
      this.#untold++;
      return undefined;
    }
    this.#said++;
    const more = this.#untold === 0 ? '' : ` (and ${this.#untold} like it since the last line)`;
    this.#untold = 0;
    return sentence + more;
  }
}
