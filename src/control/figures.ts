/** What `/metrics` shows beside the views: figures that are of no use to people one by one. */
import type { HistogramFigures } from './exposition.ts';

export interface Figures {
  readonly loop: LoopFigures;
  /** Undefined: there is no NAT. */
  readonly flows: FlowFigures | undefined;
}

/** Since the start. */
export interface LoopFigures {
  readonly rounds: number;
  readonly busyS: number;
  readonly waitS: number;
  /** Frames a burst. */
  readonly batches: HistogramFigures;
  /** Seconds a frame. */
  readonly latencies: HistogramFigures;
}

export interface FlowFigures {
  readonly most: number;
  readonly counts: readonly { readonly protocol: string; readonly state: string; readonly count: number }[];
  readonly opened: number;
  readonly refused: Readonly<Record<'table-full' | 'guest-full' | 'no-port', number>>;
}

export interface ApiFigures {
  readonly requests: readonly { readonly method: string; readonly code: number; readonly count: number }[];
  readonly readers: number;
}
