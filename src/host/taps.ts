/**
 * Follows the taps: makes what is missing, serves of each the end that the guest does not, and moves along when a tap is
 * moved, renamed, deleted or brought back. What the guest does not hold is:
 *
 *   in our namespace   the interface end, by a packet socket   QEMU opens the device end itself, now or later
 *   in another one     the device end, an fd that stays valid wherever the interface goes
 *
 * The kernel tells of links in our namespace only (RTNLGRP_LINK). A tap that leaves is announced with the namespace that
 * it goes to; one that comes back is a new link of its name or with our alias; one that is deleted is an error on the fd,
 * which the data plane sees; what becomes of its namespace is looked after now and then.
 *
 *   none ──new link──► interface ──moved away──► device ──back──► interface
 *     ▲                  │ deleted                  │ namespace or device deleted
 *     └──────────────────┴──────────────────────────┘
 */
import { statSync } from 'node:fs';
import type { Config, TapConfig } from '../config.ts';
import { OperatorError } from '../errors.ts';
import type { Native } from '../port/native.ts';
import type { Change, TapChange } from './changes.ts';
import { isBusy, isGone, messageOf } from './faults.ts';
import type { Journal } from './journal.ts';
import { GROUP_LINK, type LinkEvent, linkDump, linkEvents, linkRequest, RTM_DELLINK } from './netlink.ts';
import { findNetns, type Netns, nameOfInode, openNetns } from './netns.ts';
import { run } from './run.ts';
import type { Shields } from './shield.ts';
import { deleteByAlias, deleteTap, findTap, isUp, makeTap, netnsInode, openDeviceEnd } from './taplinks.ts';
import { concerns, type HeldTap, newTap, type Place, type Tap, type TapListener } from './tapstate.ts';
import { undo } from './undo.ts';

const ENOBUFS = -105;
const STOPS = 'the switch stops';
/** How often taps in other namespaces are looked after: the kernel tells nothing of those. */
const VISIT_MS = 500;

export class TapFollower {
  readonly #native: Native;
  readonly #config: Config;
  readonly #journal: Journal;
  readonly #shields: Shields;
  readonly #listener: TapListener;
  readonly #taps: Tap[];
  readonly #netlink: number;
  readonly #watch: { close(): void };
  readonly #lookAround: NodeJS.Timeout;
  readonly #buffer = new Uint8Array(65_536);
  /** Events are taken one after the other: each may wait for a tool. */
  #work: Promise<void> = Promise.resolve();
  readonly #ownInode = statSync('/proc/self/ns/net').ino;
  /** Taken as they are, instead of being looked for. */
  readonly #held: readonly HeldTap[];
  #stopped = false;

  constructor(
    native: Native,
    config: Config,
    journal: Journal,
    shields: Shields,
    listener: TapListener,
    held: readonly HeldTap[] = [],
  ) {
    this.#held = held;
    this.#native = native;
    this.#config = config;
    this.#journal = journal;
    this.#shields = shields;
    this.#listener = listener;
    this.#taps = config.taps.map(tap => newTap(tap, config.name));
    this.#netlink = native.netlinkOpen(GROUP_LINK);
    this.#watch = native.watch(this.#netlink, () => this.#read());
    this.#lookAround = setInterval(() => this.#enqueue(async () => this.#visitAll()), VISIT_MS).unref();
  }

  /** Makes or opens every tap; throws when one can't be had. */
  async start(): Promise<void> {
    const begun = this.#work.then(async () => {
      await this.#shields.raise(this.#makeMissing(this.#taps));
      for (const tap of this.#taps) await this.#begin(tap);
      this.#native.netlinkSend(this.#netlink, linkDump());
    });
    // Events that arrive meanwhile wait till every tap has been begun.
    this.#work = begun.catch(() => undefined);
    await begun;
  }

  /** One more tap; throws when it can't be had, and then nothing is left of it. */
  async add(config: TapConfig): Promise<void> {
    await this.#inTurn(async () => {
      const tap = newTap(config, this.#config.name);
      this.#taps.push(tap);
      try {
        await this.#shields.raise(this.#makeMissing([tap]));
        await this.#begin(tap);
      } catch (error) {
        await this.#drop(tap);
        throw error;
      }
      this.#native.netlinkSend(this.#netlink, linkDump());
    });
  }

  /** One less: deleted if it is ours, else as it was. */
  async remove(name: string): Promise<void> {
    await this.#inTurn(async () => {
      const tap = this.#taps.find(candidate => candidate.config.name === name);
      if (tap !== undefined) await this.#drop(tap);
    });
  }

  /** After the events that wait; what it throws is the caller's. */
  #inTurn(task: () => Promise<void>): Promise<void> {
    const done = this.#work.then(task);
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #drop(tap: Tap): Promise<void> {
    const { shielded = tap.config.name } = tap;
    this.#taps.splice(this.#taps.indexOf(tap), 1);
    await (tap.made === undefined
      ? this.#restore(tap, 'it was removed')
      : this.#remove(tap, 'it was removed'));
    await this.#shields.lower(shielded);
  }

  /** The data plane says that a tap's device has vanished. */
  gone(name: string): void {
    const tap = this.#taps.find(candidate => candidate.config.name === name);
    if (tap === undefined) return;
    const { attachment } = tap;
    this.#read(); // where it went, if the kernel has said so already
    this.#enqueue(async () => {
      if (tap.end === 'none' || tap.attachment !== attachment) return; // an event before this one has seen to it
      const { end } = tap;
      this.#leave(tap, 'its device is gone');
      // A device end fails only when the device has been deleted, an interface end also when it was moved.
      if (end === 'device') this.#disown(tap);
      else await this.#pursue(tap);
      this.#native.netlinkSend(this.#netlink, linkDump()); // it may be here again, under a name that we know
    });
  }

  /** Closes what is open and removes the taps that we made, wherever they are; the others stay as they were. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watch.close();
    clearInterval(this.#lookAround);
    await this.#work;
    for (const tap of this.#taps) {
      try {
        await (tap.made === undefined ? this.#restore(tap, STOPS) : this.#remove(tap, STOPS));
      } catch (error) {
        this.#listener.warn(`${tap.config.name}: ${messageOf(error)}`); // the others are seen to all the same
      }
    }
    this.#native.close(this.#netlink);
  }

  /** What is open, by now. */
  held(): HeldTap[] {
    return this.#taps.flatMap(({ config: { name }, end, ifindex, netns, fd }) =>
      end === 'none' ? [] : [{ name, end, ifindex, netns, fd }],
    );
  }

  /** Closes what is open, for another process goes on with it, and follows the taps no more; what was open. */
  release(): HeldTap[] {
    const held = this.held();
    this.#stopped = true;
    this.#watch.close();
    clearInterval(this.#lookAround);
    for (const tap of this.#taps) this.#leave(tap, 'another process goes on with it');
    return held;
  }

  async #restore(tap: Tap, reason: string): Promise<void> {
    const { end, ifindex } = tap;
    this.#leave(tap, reason);
    if (end === 'interface') await undo(this.#journal, this.#setUpByUs(ifindex));
  }

  async #remove(tap: Tap, reason: string): Promise<void> {
    const { end, ifindex } = tap;
    // A tap that does not persist goes with its last file, in whatever namespace it is.
    const goes = end === 'device' && this.#unpersist(tap);
    this.#leave(tap, reason);
    if (end === 'interface') await deleteTap(this.#native, ifindex);
    else if (!goes) await deleteByAlias(tap.alias);
    this.#disown(tap);
  }

  #unpersist(tap: Tap): boolean {
    try {
      this.#native.setPersist(tap.fd, false);
      return true;
    } catch {
      return false; // the device has gone before
    }
  }

  /** What the journal, ours or a killed instance's, says of a link that was down before. */
  #setUpByUs(ifindex: number): readonly Change[] {
    return this.#journal.changes.filter(change => change.kind === 'link' && change.ifindex === ifindex);
  }

  /** The tap that we made or found is no more: one that has its name from now on is somebody else's. */
  #disown(tap: Tap): void {
    if (tap.made !== undefined) this.#journal.forget([tap.made]);
    tap.made = undefined;
    tap.busy = undefined;
  }

  /** Makes what is to be served here and is not there; the names of those whose interface end is to be served. */
  #makeMissing(taps: readonly Tap[]): string[] {
    const here = taps.filter(tap => tap.config.netns === undefined && this.#madeBefore(tap) === undefined);
    for (const tap of here)
      if (this.#indexOf(tap.config.name) === undefined) this.#make(tap, tap.config.name);
    return here.filter(tap => tap.config.end !== 'device' && !this.#isHeld(tap)).map(tap => tap.config.name);
  }

  #isHeld = (tap: Tap): boolean => this.#held.some(({ name, fd }) => name === tap.config.name && fd >= 0);

  /** What the journal of a killed instance says of the tap. */
  #madeBefore(tap: Tap): TapChange | undefined {
    const isIt = (change: Change): change is TapChange => change.kind === 'tap' && change.alias === tap.alias;
    return tap.made === undefined ? this.#journal.changes.find(isIt) : undefined;
  }

  async #begin(tap: Tap): Promise<void> {
    const before = this.#madeBefore(tap);
    tap.made ??= before;
    const held = this.#held.find(({ name }) => name === tap.config.name);
    if (held !== undefined && held.fd >= 0) return this.#adopt(tap, held);
    // One that a killed instance made may be anywhere by now, under any name; its guest is to keep it.
    const found = before === undefined ? undefined : await findTap(tap.alias);
    if (before !== undefined && found === undefined) this.#disown(tap);
    if (found?.netns !== undefined) this.#openDevice(tap, openNetns(found.netns), found.ifindex);
    else if (tap.config.netns !== undefined) await this.#beginElsewhere(tap, tap.config.netns);
    else await this.#beginHere(tap, found?.ifindex);
  }

  /** Serves a tap by a file that another process has opened. */
  async #adopt(tap: Tap, { end, ifindex, netns, fd }: HeldTap): Promise<void> {
    const isDevice = end === 'device';
    if (!isDevice) {
      tap.shielded = this.#native.interfaceName(ifindex, -1);
      await this.#shields.raise([tap.shielded], true);
    }
    Object.assign(tap, { fd, ifindex, end, netns, carrier: isDevice });
    this.#attach(tap, isDevice ? 'tap' : 'packet');
    this.#listener.carrier(tap.config.name, isDevice);
    if (!isDevice) this.#native.netlinkSend(this.#netlink, linkRequest(ifindex)); // the answer may say otherwise
  }

  async #beginHere(tap: Tap, known: number | undefined): Promise<void> {
    const there = known ?? this.#indexOf(tap.config.name);
    const ifindex = there ?? this.#make(tap, tap.config.name).ifindex;
    if (tap.config.end === 'device') this.#openDevice(tap, undefined, ifindex);
    else await this.#join(tap, ifindex);
  }

  async #beginElsewhere(tap: Tap, where: string): Promise<void> {
    const netns = openNetns(where);
    const ifindex = this.#indexOf(tap.config.name, netns.fd);
    if (ifindex !== undefined) {
      this.#openDevice(tap, netns, ifindex);
      return;
    }
    this.#native.close(netns.fd);
    // Made here, where it can get its alias, and then sent there; no guest sees it under this name.
    const passing = `vsw${process.pid}t${this.#taps.indexOf(tap)}`;
    this.#make(tap, passing);
    await run('ip', ['link', 'set', 'dev', passing, 'netns', where, 'name', tap.config.name]);
    const there = openNetns(where);
    this.#openDevice(tap, there, this.#native.interfaceIndex(tap.config.name, there.fd));
  }

  /** A new persistent tap with our alias, in the journal before it exists. */
  #make(tap: Tap, name: string): { readonly ifindex: number } {
    const change: TapChange = { kind: 'tap', name: tap.config.name, alias: tap.alias };
    if (tap.made === undefined) this.#journal.record([change]);
    tap.made ??= change;
    return makeTap(this.#native, this.#netlink, { name, alias: tap.alias, mtu: this.#config.mtu });
  }

  /** Serves the interface end, in our namespace. */
  async #join(tap: Tap, ifindex: number): Promise<void> {
    const name = this.#native.interfaceName(ifindex, -1);
    await this.#shields.raise([name]);
    tap.shielded = name;
    if (tap.made === undefined && !isUp(this.#native, ifindex))
      this.#journal.record([{ kind: 'link', interface: name, ifindex }]);
    this.#native.setUp(name, -1);
    tap.fd = this.#native.openPacket(ifindex);
    tap.ifindex = ifindex;
    tap.end = 'interface';
    tap.carrier = false;
    this.#attach(tap, 'packet');
    this.#listener.carrier(tap.config.name, false);
    this.#native.netlinkSend(this.#netlink, linkRequest(ifindex)); // the answer may say otherwise
  }

  /** Serves the device end of the interface with this index in a namespace, whose file is closed. */
  #openDevice(tap: Tap, netns: Netns | undefined, ifindex: number): void {
    try {
      tap.fd = openDeviceEnd(this.#native, ifindex, netns);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const where = netns === undefined ? '' : ` in namespace ${netns.name}`;
      const denied = code === 'EPERM' && netns !== undefined;
      if (!denied && code !== 'EBUSY') throw cause;
      const why = denied
        ? 'to serve it there takes CAP_SYS_ADMIN'
        : "its device end is held by another program; end that, or leave the tap in the switch's own namespace";
      const details = { code: denied ? 'Privilege' : 'Busy', cause } as const;
      throw new OperatorError(`${tap.config.name}${where}: ${why}`, details);
    } finally {
      if (netns !== undefined) this.#native.close(netns.fd);
    }
    tap.ifindex = ifindex;
    tap.end = 'device';
    tap.netns = netns?.name;
    tap.carrier = true;
    this.#attach(tap, 'tap');
    this.#listener.carrier(tap.config.name, true);
  }

  /**
   * Our fd was opened in its namespace and so keeps it alive, even when its name is deleted and nobody is in it: then we
   * are the last, and go. A tap that was passed on to another namespace is served on, and named by it.
   */
  #visitAll(): void {
    for (const tap of this.#taps) {
      if (tap.busy !== undefined) this.#tryAgain(tap, tap.busy);
      if (tap.end !== 'device' || tap.netns === undefined) continue;
      const inode = netnsInode(this.#native, tap.fd);
      const name = inode === undefined ? undefined : nameOfInode(inode, tap.netns);
      if (name === undefined && inode !== this.#ownInode) {
        if (tap.made !== undefined) this.#unpersist(tap);
        this.#leave(tap, 'its namespace was deleted');
        this.#disown(tap);
      } else if (name !== undefined && name !== tap.netns && inode !== this.#ownInode) {
        tap.netns = name;
        this.#listener.located(tap.config.name, name);
      }
    }
  }

  #tryAgain(tap: Tap, at: Place): void {
    const netns = findNetns(this.#native, at.nsid);
    tap.busy = undefined;
    try {
      if (netns !== undefined) this.#openDevice(tap, netns, at.ifindex);
    } catch (error) {
      if (isBusy(error)) tap.busy = at;
    }
  }

  #attach(tap: Tap, kind: 'tap' | 'packet'): void {
    const { name } = tap.config;
    tap.attachment++;
    tap.busy = undefined;
    this.#listener.attach(name, { name, kind, fd: tap.fd, mtu: this.#config.mtu }, tap.netns);
  }

  #leave(tap: Tap, reason: string): void {
    if (tap.end === 'none') return;
    this.#listener.detach(tap.config.name, reason);
    this.#native.close(tap.fd);
    tap.fd = -1;
    tap.end = 'none';
    tap.netns = undefined;
    tap.carrier = false;
  }

  #read(): void {
    for (;;) {
      const got = this.#native.netlinkReceive(this.#netlink, this.#buffer);
      if (got === 0) return;
      if (got === ENOBUFS) this.#native.netlinkSend(this.#netlink, linkDump());
      else
        for (const event of linkEvents(this.#buffer.subarray(0, got))) this.#enqueue(() => this.#take(event));
    }
  }

  #enqueue(task: () => Promise<void>): void {
    this.#work = this.#work.then(task).catch(error => {
      if (!this.#stopped) this.#listener.warn(messageOf(error));
    });
  }

  async #take(event: LinkEvent): Promise<void> {
    if (this.#stopped) return;
    const tap = this.#taps.find(candidate => concerns(candidate, event));
    if (tap === undefined) return;
    if (event.type === RTM_DELLINK) await this.#lost(tap, event);
    else await this.#seen(tap, event);
  }

  /** The link is in our namespace: new, back, or changed. */
  async #seen(tap: Tap, event: LinkEvent): Promise<void> {
    if (tap.end === 'interface' && tap.ifindex === event.ifindex) {
      if (tap.carrier === event.lowerUp) return;
      tap.carrier = event.lowerUp;
      this.#listener.carrier(tap.config.name, event.lowerUp);
      return;
    }
    if (tap.end === 'interface' || tap.config.end === 'device') return;
    // An event tells of a past moment: the link may have gone on since.
    if (this.#indexOf(event.name) !== event.ifindex) return;
    // Somebody may have made another of that name while ours is away.
    if (tap.end === 'device' && netnsInode(this.#native, tap.fd) !== this.#ownInode) return;
    this.#leave(tap, 'it is back');
    await this.#join(tap, event.ifindex);
  }

  /** The link has left our namespace. */
  async #lost(tap: Tap, event: LinkEvent): Promise<void> {
    if (tap.end === 'interface')
      this.#leave(tap, event.movedTo === undefined ? 'it was deleted' : 'it was moved');
    try {
      if (event.movedTo === undefined) this.#disown(tap);
      else await this.#follow(tap, event.movedTo);
    } finally {
      this.#journal.forget(this.#setUpByUs(event.ifindex)); // what leaves is down
      await this.#lower(tap);
    }
  }

  async #follow(tap: Tap, to: Place): Promise<void> {
    const netns = findNetns(this.#native, to.nsid);
    try {
      if (netns !== undefined) this.#openDevice(tap, netns, to.ifindex);
    } catch (error) {
      if (isBusy(error)) tap.busy = to;
      if (!isGone(error)) throw error; // it has gone on meanwhile
    }
    if (tap.end === 'none') await this.#pursue(tap);
    if (tap.end === 'none')
      this.#listener.warn(`${tap.config.name} went to a namespace where it can't be found`);
  }

  /** Looks for a tap that we made in all named namespaces; others carry no alias to find them by. */
  async #pursue(tap: Tap): Promise<void> {
    const found = tap.made === undefined ? undefined : await findTap(tap.alias);
    if (found?.netns === undefined) return; // nowhere, or here: then an event on it follows
    this.#openDevice(tap, openNetns(found.netns), found.ifindex);
    await this.#lower(tap);
  }

  async #lower(tap: Tap): Promise<void> {
    const { shielded } = tap;
    tap.shielded = undefined;
    if (shielded !== undefined) await this.#shields.lower(shielded);
  }

  #indexOf(name: string, netns = -1): number | undefined {
    try {
      return this.#native.interfaceIndex(name, netns);
    } catch {
      return undefined;
    }
  }
}
