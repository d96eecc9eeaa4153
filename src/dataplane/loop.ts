/**
 * The data plane's loop: one wait for all ports, then a burst from each that is ready. It never returns to the event loop
 * of its thread, so commands are taken from their message port by hand, after a wake-up through an eventfd.
 *
 *   wait ── wake-up? ── commands, then injected frames
 *     ▲  └─ ports that are ready: receive → stages → transmit
 *     └──── punted something? wake the control thread;  a tick every 100 ms: ageing, timers
 */
import type { Native } from '../port/native.ts';
import type { Dataplane } from './dataplane.ts';
import type { FrameRing } from './ring.ts';

const MAX_READY = 256;
const TICK_MS = 100;
/** With no frame coming, timers need no better than this; an idle switch sleeps. */
const IDLE_TICK_MS = 1000;
/**
 * Rounds that follow each other within this time are looked for without sleeping, as long as they do: a sleep and a wake-up
 * cost 20 µs of a round trip. Where frames come further apart, and when none comes, the loop sleeps at once.
 */
const SPIN_MS = 0.05;
const WAKE = 1_000;

export interface LoopParts {
  readonly native: Native;
  readonly dataplane: Dataplane;
  readonly inject: FrameRing;
  readonly wakeFd: number;
  /** Carries out the commands that have arrived; false ends the loop. */
  commands(): boolean;
  /** Tells the control thread of frames that were punted since the last call; were there any? */
  notify(): boolean;
}

/** Epoll tags are port indices; the loop's own file gets WAKE. */
export function run(epoll: number, parts: LoopParts): void {
  const { native, dataplane } = parts;
  const tags = new Int32Array(MAX_READY);
  const clock = new Float64Array(1);
  const deliver = (frame: Uint8Array, egress: number): void =>
    dataplane.inject(frame, egress, clock[0] as number);
  native.epollAdd(epoll, parts.wakeFd, WAKE);
  native.wait(epoll, tags, 0, clock);
  let ticked = clock[0] as number;
  let spins = false;
  let busyMs = ticked;
  for (;;) {
    const ready = native.wait(epoll, tags, spins ? 0 : IDLE_TICK_MS, clock);
    const nowMs = clock[0] as number;
    if (ready > 0) {
      spins = nowMs - busyMs < SPIN_MS;
      busyMs = nowMs;
    } else if (nowMs - busyMs >= SPIN_MS) spins = false;
    for (let i = 0; i < ready; i++) {
      const tag = tags[i] as number;
      if (tag !== WAKE) {
        dataplane.serve(tag, nowMs);
        continue;
      }
      native.eventClear(parts.wakeFd);
      if (!parts.commands()) return;
      while (parts.inject.pop(deliver));
    }
    if (nowMs - ticked >= TICK_MS) {
      dataplane.tick(nowMs);
      ticked = nowMs;
    }
    // What was punted is the control thread's turn: where cores are few, looking for more would only hold it up.
    if (parts.notify()) spins = false;
  }
}
