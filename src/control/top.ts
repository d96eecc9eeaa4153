/** What ports do a second, from two looks at their counters: for `vswitchctl top`. */
import { table } from './table.ts';
import type { PortView } from './views.ts';

/** Of one port, a second; bits without the frames' gaps and check sums. */
export interface Rate {
  readonly port: string;
  readonly up: boolean;
  readonly rxFrames: number;
  readonly rxBits: number;
  readonly txFrames: number;
  readonly txBits: number;
  readonly drops: number;
}

/**
 * The busiest first. A port that was not there before, or that counts from nought again since it is another one by now, has
 * done all that it counts in between.
 */
export function rates(before: readonly PortView[], after: readonly PortView[], seconds: number): Rate[] {
  const known = new Map(before.map(port => [port.name, port]));
  return after
    .map((port): Rate => {
      const old = known.get(port.name);
      const same = old !== undefined && old.rxFrames <= port.rxFrames && old.txFrames <= port.txFrames;
      const each = (of: (view: PortView) => number): number =>
        Math.max(0, of(port) - (same ? of(old) : 0)) / seconds;
      return {
        port: port.name,
        up: port.up,
        rxFrames: each(view => view.rxFrames),
        rxBits: each(view => 8 * view.rxBytes),
        txFrames: each(view => view.txFrames),
        txBits: each(view => 8 * view.txBytes),
        drops: each(dropped),
      };
    })
    .sort((a, b) => b.rxFrames + b.txFrames + b.drops - (a.rxFrames + a.txFrames + a.drops));
}

const dropped = ({ drops }: PortView): number => Object.values(drops).reduce((sum, count) => sum + count, 0);

export const ratesText = (all: readonly Rate[]): string =>
  table(
    ['PORT', 'STATE', 'RX FRAMES/s', 'RX bit/s', 'TX FRAMES/s', 'TX bit/s', 'DROPS/s'],
    all.map(({ port, up, ...rate }) => [
      port,
      up ? 'up' : 'down',
      ...[rate.rxFrames, rate.rxBits, rate.txFrames, rate.txBits, rate.drops].map(value =>
        short(value).padStart(8),
      ),
    ]),
  );

const UNITS = ['', ' k', ' M', ' G', ' T'] as const;

/** Three digits: `0`, `12.5 k`, `1.23 M`. */
export function short(value: number): string {
  let unit = 0;
  let left = value;
  while (left >= 999.5 && unit < UNITS.length - 1) {
    left /= 1000;
    unit++;
  }
  const digits =
    left >= 99.95 || left === 0 || (unit === 0 && Number.isInteger(left)) ? 0 : left >= 9.995 ? 1 : 2;
  return `${left.toFixed(digits)}${UNITS[unit]}`;
}
