/**
 * The data plane's loop: one wait for all ports, then a burst from each that is ready. Commands are taken from their message port
 * by hand, after a wake-up through an eventfd, for it returns to the event loop of its thread only once a second: there Node frees
 * what is left of guests' memory that was unmapped, some 200 bytes a window.
 *
 *   wait ── injected frames ─┬─ wake-up? ── commands
 *     ▲                      └─ ports that are ready: receive → stages → transmit
 *     └──── punted something? wake the control thread;  a tick every 100 ms: ageing, timers
 *
 * Injected frames are looked for in every round; only a loop that sleeps has to be woken for them.
 */
import type { Native } from '../port/native.ts';
import type { Dataplane } from './dataplane.ts';
import type { FrameRing } from './ring.ts';

const MAX_READY = 256;
/** Injected frames of one round: the ports' turn comes. */
const MAX_INJECTED = 256;
const TICK_MS = 100;
/** With no frame coming, timers need no better than this; an idle switch sleeps. */
const IDLE_TICK_MS = 1000;
/**
 * Rounds that follow each other within this time are looked for without sleeping, as long as they do: a sleep and a wake-up
 * cost 20 µs of a round trip. Where frames come further apart, and when none comes, the loop sleeps at once.
 */
const SPIN_MS = 0.05;
/**
 * After a punt the next frame is likely the control thread's answer, which is looked for this long; where one took longer, the
 * thread has other work to do, and is left the core for the next so many punts.
 */
const AWAIT_MS = 0.15;
const IMPATIENT_PUNTS = 64;
/** While rounds of ports that wait for no file bring so many frames, the others' files are asked for in one of so many only. */
const BUSY_FRAMES = 32;
const UNASKED_ROUNDS = 4;
const WAKE = 1_000;
const TURN_MS = 1_000;

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

/** What all turns of a loop share: closures are made once, for what they hold is a constant to the compiler. */
export interface Loop {
  readonly epoll: number;
  readonly parts: LoopParts;
  readonly tags: Int32Array;
  readonly clock: Float64Array;
  deliver(frame: Uint8Array, egress: number): void;
}

/** Epoll tags are port indices; the loop's own file gets WAKE. */
export function loopOf(epoll: number, parts: LoopParts): Loop {
  const { native, dataplane } = parts;
  const tags = new Int32Array(MAX_READY);
  const clock = new Float64Array(2);
  native.epollAdd(epoll, parts.wakeFd, WAKE);
  native.wait(epoll, tags, 0, clock);
  dataplane.stats.start(clock);
  return {
    ...{ epoll, parts, tags, clock },
    deliver: (frame, egress) => dataplane.inject(frame, egress, clock[0] as number),
  };
}

/** One turn, of a second; true: another is to follow when Node has had its own. */
export function run({ epoll, parts, tags, clock, deliver }: Loop): boolean {
  const { native, dataplane, inject } = parts;
  const { stats } = dataplane;
  const endMs = (clock[0] as number) + TURN_MS;
  let ticked = clock[0] as number;
  let spins = false;
  let busyMs = ticked;
  let nowMs = ticked;
  let awaitedMs = 0; // till when an answer is looked for; 0: none is
  let impatience = 0;
  let unasked = 0;
  let worked = false;
  for (;;) {
    const polls = dataplane.polls;
    let ready = 0;
    if (!polls || --unasked <= 0) {
      const sleeps = !polls && !spins && nowMs >= awaitedMs && inject.rest();
      ready = native.wait(epoll, tags, sleeps ? IDLE_TICK_MS : 0, clock);
      if (sleeps) inject.look();
      stats.round(clock, sleeps, worked);
      worked = ready > 0;
      nowMs = clock[0] as number;
    }
    // Files are asked for at every round, but not while those who need none keep the loop busy.
    if (polls && dataplane.poll(nowMs) < BUSY_FRAMES) unasked = 0;
    else if (unasked <= 0) unasked = UNASKED_ROUNDS;
    let injected = 0;
    while (injected < MAX_INJECTED && inject.pop(deliver)) injected++;
    if (injected > 0) {
      awaitedMs = 0;
      worked = true;
    } else if (awaitedMs > 0 && nowMs >= awaitedMs) {
      awaitedMs = 0;
      impatience = IMPATIENT_PUNTS;
    }
    if (ready > 0 || injected > 0) {
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
      if (!parts.commands()) return false;
    }
    if (nowMs - ticked >= TICK_MS) {
      dataplane.tick(nowMs);
      worked = true;
      ticked = nowMs;
    }
    const told = parts.notify();
    if (nowMs >= endMs) return true;
    if (!told) continue;
    spins = false;
    if (impatience > 0) impatience--;
    else awaitedMs = nowMs + AWAIT_MS;
  }
}
