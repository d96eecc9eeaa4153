/** Taps by their index or alias: opened, found and deleted, in our namespace and in all named ones, where they may have gone. */
import { fstatSync } from 'node:fs';
import type { Native } from '../port/native.ts';
import { TAP_QUEUE } from './changes.ts';
import { aliasRequest, type LinkEvent, linkEvents, linkRequest } from './netlink.ts';
import { type Netns, namedNetns } from './netns.ts';
import { run } from './run.ts';

/** A rename between our look-up and our open is tried again this often. */
const OPEN_TRIES = 5;

export interface FoundTap {
  /** A name under /run/netns; undefined: in our own namespace. */
  readonly netns: string | undefined;
  readonly name: string;
  readonly ifindex: number;
}

interface ShownLink {
  readonly ifname: string;
  readonly ifindex: number;
  readonly ifalias?: string;
}

/** The link with this alias, or undefined. */
export async function findTap(alias: string): Promise<FoundTap | undefined> {
  for (const netns of [undefined, ...namedNetns()]) {
    const where = netns === undefined ? [] : ['-n', netns];
    const shown = await run('ip', [...where, '-j', 'link', 'show']).catch(() => '[]'); // a name without a namespace
    const link = (JSON.parse(shown || '[]') as ShownLink[]).find(candidate => candidate.ifalias === alias);
    if (link !== undefined) return { netns, name: link.ifname, ifindex: link.ifindex };
  }
  return undefined;
}

/**
 * Opens the device end of the interface with this index, in a namespace or in ours, whatever its name is at the moment.
 * EBUSY: another program has it. ENODEV, ENXIO: there is no such interface.
 */
export function openDeviceEnd(native: Native, ifindex: number, netns: Netns | undefined): number {
  const where = netns?.fd ?? -1;
  for (let tries = OPEN_TRIES; ; tries--) {
    const name = native.interfaceName(ifindex, where);
    try {
      return native.openTun({ name, mode: 'tap', netns: where, mustExist: true, ifindex }).fd;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENODEV' || tries === 0) throw error;
    }
  }
}

/** A new persistent tap, by a netlink socket's way to its alias. */
export function makeTap(
  native: Native,
  netlink: number,
  { name, alias, mtu }: { readonly name: string; readonly alias: string; readonly mtu: number },
): { readonly ifindex: number } {
  const opened = native.openTun({ name, mode: 'tap', netns: -1, mustExist: false, ifindex: 0 });
  try {
    native.netlinkSend(netlink, aliasRequest(opened.ifindex, alias));
    native.setMtu(name, mtu, -1);
    native.setQueue(name, TAP_QUEUE, -1);
    // Last: until then a kill takes it along, from now on undo finds it by its alias.
    native.setPersist(opened.fd, true);
  } finally {
    native.close(opened.fd);
  }
  return opened;
}

/** The namespace that a device is in, by its inode; undefined: the device has gone. */
export function netnsInode(native: Native, fd: number): number | undefined {
  try {
    const netns = native.deviceNetns(fd);
    const { ino } = fstatSync(netns);
    native.close(netns);
    return ino;
  } catch {
    return undefined;
  }
}

/** Is the link of our namespace set up? */
export const isUp = (native: Native, ifindex: number): boolean => linkOf(native, ifindex)?.up === true;

/** A link of our namespace as it is now; undefined when there is none of this index. */
export function linkOf(native: Native, ifindex: number): LinkEvent | undefined {
  const socket = native.netlinkOpen(0);
  try {
    const answer = new Uint8Array(32_768);
    native.netlinkSend(socket, linkRequest(ifindex)); // answered by the time that it returns
    const got = Math.max(0, native.netlinkReceive(socket, answer));
    return linkEvents(answer.subarray(0, got))[0];
  } finally {
    native.close(socket);
  }
}

/** Deletes a tap of our namespace; no fault when it is gone. */
export async function deleteTap(native: Native, ifindex: number): Promise<void> {
  let name: string;
  try {
    name = native.interfaceName(ifindex, -1);
  } catch {
    return;
  }
  await run('ip', ['link', 'delete', 'dev', name]);
}

/** Deletes the link with this alias, wherever it is. */
export async function deleteByAlias(alias: string): Promise<void> {
  const found = await findTap(alias);
  if (found === undefined) return;
  const where = found.netns === undefined ? [] : ['-n', found.netns];
  await run('ip', [...where, 'link', 'delete', 'dev', found.name]);
}
