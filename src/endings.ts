/** How to end what has been started, the last first: of two kinds, for another process may go on with one of them. */
export class Endings {
  readonly #all: { readonly end: () => unknown; readonly ports: boolean }[] = [];
  readonly #failed: (error: unknown) => void;

  /** `failed`: told of an end that throws; the others follow all the same. */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  add(...ends: readonly (() => unknown)[]): void {
    for (const end of ends) this.#all.push({ end, ports: false });
  }

  /** Of the data plane, its ports and what they stand on. */
  addPorts(end: () => unknown): void {
    this.#all.push({ end, ports: true });
  }

  /** Ends all but ports and what they stand on. */
  async endControl(): Promise<void> {
    await this.#end(({ ports }) => !ports);
  }

  async endAll(): Promise<void> {
    await this.#end(() => true);
  }

  async #end(concerns: (ending: { readonly ports: boolean }) => boolean): Promise<void> {
    const ended = this.#all.filter(concerns);
    this.#all.splice(0, this.#all.length, ...this.#all.filter(ending => !ended.includes(ending)));
    for (const { end } of ended.reverse()) {
      try {
        await end();
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}
