/**
 * What the data plane has been told and what still holds of it, for a new worker in the place of one that has died. Names that
 * guests have learnt are their owner's to tell again.
 */
import type { Order, PortSpec } from './messages.ts';

/** Whose peer can't be gone on with: bytes of a frame, or the state of a ring, died with the worker. */
const LOST: readonly PortSpec['kind'][] = ['stream', 'vhost-user'];

export class Standing {
  readonly #ports = new Map<number, PortSpec>();
  /** By kind: the last one counts. */
  readonly #latest = new Map<Order['do'], Order>();
  readonly #captures = new Map<number, Order>();

  /** A command that has been carried out. */
  note(order: Order): void {
    switch (order.do) {
      case 'attach':
        for (const { index, port } of order.ports) this.#ports.set(index, port);
        break;
      case 'detach':
        this.#ports.delete(order.index);
        break;
      case 'yield':
        this.#ports.clear();
        break;
      case 'capture':
        this.#captures.set(order.capture.id, order);
        break;
      case 'endCapture':
        this.#captures.delete(order.id);
        break;
      case 'forward':
      case 'egress':
      case 'serve':
        this.#latest.set(order.do, order);
    }
  }

  /** The ports whose connections can't be gone on with. */
  lost(): number[] {
    return [...this.#ports].flatMap(([index, { kind }]) => (LOST.includes(kind) ? [index] : []));
  }

  /** All that is to be said again, without the ports that are lost. */
  orders(): Order[] {
    const ports = [...this.#ports].flatMap(([index, port]) =>
      LOST.includes(port.kind) ? [] : [{ index, port }],
    );
    const attach: Order = { do: 'attach', ports, macs: new Int32Array(0) };
    return [...this.#latest.values(), attach, ...this.#captures.values()];
  }
}
