/** A data plane that does no more for a port than a test asks of it. */
import type { PortHost } from '../../src/port/port.ts';

const nothing = (): void => undefined;

export const hostThat = (does: Partial<PortHost> = {}): PortHost => ({
  poll: nothing,
  unpoll: nothing,
  writing: nothing,
  carrier: nothing,
  drop: nothing,
  ...does,
});
