/** Network namespaces: found by name, by path, or by the id that an rtnetlink event gives. */
import { closeSync, openSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { OperatorError } from '../errors.ts';
import type { Native } from '../port/native.ts';
import { nsidOf, nsidRequest } from './netlink.ts';

const NAMED = '/run/netns';

/** An open namespace; `fd` is the holder's to close. */
export interface Netns {
  readonly fd: number;
  /** Its name under /run/netns, else the path by which it was found. */
  readonly name: string;
}

/** Opens a namespace by its name (`ip netns`) or a path such as /proc/1234/ns/net. */
export function openNetns(nameOrPath: string): Netns {
  const path = nameOrPath.includes('/') ? nameOrPath : join(NAMED, nameOrPath);
  try {
    return { fd: openSync(path, 'r'), name: nameOrPath };
  } catch (cause) {
    throw new OperatorError(
      `there is no network namespace ${nameOrPath} (${path}); make it with 'ip netns add ${basename(path)}'`,
      {
        code: 'Usage',
        cause,
      },
    );
  }
}

/** The namespace with this id: a named one, or that of a process (a container's). Undefined when it is gone. */
export function findNetns(native: Native, nsid: number): Netns | undefined {
  const socket = native.netlinkOpen(0);
  try {
    for (const [path, name] of candidates()) {
      const fd = tryOpen(path);
      if (fd === undefined) continue;
      if (idOf(native, socket, fd) === nsid) return { fd, name };
      closeSync(fd);
    }
    return undefined;
  } finally {
    native.close(socket);
  }
}

function* candidates(): Generator<[path: string, name: string]> {
  for (const name of list(NAMED)) yield [join(NAMED, name), name];
  for (const pid of list('/proc'))
    if (/^\d+$/.test(pid)) yield [`/proc/${pid}/ns/net`, `/proc/${pid}/ns/net`];
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function tryOpen(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined; // a process that has ended meanwhile, or a name whose namespace is gone
  }
}

function idOf(native: Native, socket: number, fd: number): number | undefined {
  const answer = new Uint8Array(4096);
  native.netlinkSend(socket, nsidRequest(fd));
  // The kernel has answered by the time that send returns.
  const got = native.netlinkReceive(socket, answer);
  return got > 0 ? nsidOf(answer.subarray(0, got)) : undefined;
}

/**
 * A name for the namespace with this inode: under /run/netns, else by a process in it; undefined when nobody has it.
 * `likely` is looked at first.
 */
export function nameOfInode(inode: number, likely: string): string | undefined {
  if (inodeOf(likely.includes('/') ? likely : join(NAMED, likely)) === inode) return likely;
  for (const [path, name] of candidates()) if (inodeOf(path) === inode) return name;
  return undefined;
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

/** The names under /run/netns. */
export const namedNetns = (): string[] => list(NAMED);
