/** What the follower knows of a tap, and which of the kernel's link events are about it: no system call in here. */
import type { TapConfig } from '../config.ts';
import type { PortSpec } from '../dataplane/messages.ts';
import type { TapChange } from './changes.ts';
import { type LinkEvent, RTM_DELLINK } from './netlink.ts';
import { aliasOf } from './plan.ts';

/** Where the kernel said that an interface went: the namespace's id, as ours numbers it, and the index there. */
export interface Place {
  readonly nsid: number;
  readonly ifindex: number;
}

export interface Tap {
  readonly config: TapConfig;
  readonly alias: string;
  /** Is it ours to remove? */
  made: TapChange | undefined;
  end: 'none' | 'interface' | 'device';
  fd: number;
  ifindex: number;
  /** The interface's name in our namespace, while it is there. */
  shielded: string | undefined;
  netns: string | undefined;
  /** Where another program holds its device end; it is tried again. */
  busy: Place | undefined;
  carrier: boolean;
  /** Counts attachments: what is said of an earlier one is not about this one, though its file may have the same number. */
  attachment: number;
}

export interface TapListener {
  /** The tap is served at this end from now on; the file stays open till `detach` has returned. */
  attach(name: string, port: PortSpec, netns: string | undefined): void;
  detach(name: string, reason: string): void;
  /** Does somebody hold the other end of the interface? */
  carrier(name: string, up: boolean): void;
  /** The tap has gone from one foreign namespace to another. */
  located(name: string, netns: string): void;
  warn(sentence: string): void;
}

/** A tap that is open already. */
export interface HeldTap {
  readonly name: string;
  readonly end: 'interface' | 'device';
  readonly ifindex: number;
  readonly netns: string | undefined;
  /** -1: to be opened anew. */
  readonly fd: number;
}

/** A tap that nothing is known of yet, for the switch of this name. */
export const newTap = (config: TapConfig, switchName: string): Tap => ({
  config,
  alias: aliasOf(switchName, config.name),
  made: undefined,
  end: 'none',
  fd: -1,
  ifindex: 0,
  shielded: undefined,
  netns: undefined,
  busy: undefined,
  carrier: false,
  attachment: 0,
});

/**
 * Is the event about this tap? While its interface is served here, by index alone: it may have any name. Else one that
 * comes is known by its name or alias, and one that goes also by the name that it had here: its end may be lost before
 * the kernel says where it went.
 */
export function concerns(tap: Tap, event: LinkEvent): boolean {
  if (tap.end === 'interface') return tap.ifindex === event.ifindex;
  const goes = event.type === RTM_DELLINK;
  if (goes && tap.end === 'device') return false; // it left before we opened it elsewhere, or it is another
  if (event.alias === tap.alias) return true;
  // One that is served in a namespace from the start has no name here but what we give it with the alias.
  if (event.name === tap.config.name && tap.config.netns === undefined) return true;
  return goes && event.name === tap.shielded && event.ifindex === tap.ifindex;
}
