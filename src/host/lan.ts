/**
 * An interface of the host as the uplink: the switch becomes a part of the LAN that it is on, through a packet socket, as
 * a tap's interface end is joined. Here without a shield, for the host goes on using the interface, and without a change
 * to it: that it is promiscuous goes with the socket. It may go down, be renamed, vanish and come back.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PortSpec } from '../dataplane/messages.ts';
import { OperatorError } from '../errors.ts';
import type { Native } from '../port/native.ts';
import { GROUP_LINK, type LinkEvent, linkDump, linkEvents, RTM_DELLINK } from './netlink.ts';
import { linkOf } from './taplinks.ts';

const ENOBUFS = -105;
const LINKS = '/sys/class/net';
const ARPHRD_ETHER = '1';

export interface LanListener {
  /** The interface is served from now on; the file stays open till `detach` has returned. */
  attach(port: PortSpec): void;
  detach(reason: string): void;
  carrier(up: boolean): void;
  warn(sentence: string): void;
}

/** Throws one sentence when there is no such interface, or it can't be bridged. `links`: where the kernel lists them. */
export function checkBridgeable(native: Native, name: string, links = LINKS): void {
  const refuse = (why: string, cause?: unknown): never => {
    throw new OperatorError(
      `--uplink bridge:${name}: ${why}; expected an Ethernet interface of the LAN, such as bridge:eth0`,
      { code: 'Usage', cause },
    );
  };
  try {
    native.interfaceIndex(name, -1);
  } catch (cause) {
    refuse('there is no such interface', cause);
  }
  if (['wireless', 'phy80211'].some(sign => existsSync(join(links, name, sign))))
    refuse("is wireless, and an access point takes no frames from guests' addresses");
  const type = join(links, name, 'type');
  if (existsSync(type) && readFileSync(type, 'utf8').trim() !== ARPHRD_ETHER)
    refuse('is no Ethernet interface');
}

interface Joined {
  readonly fd: number;
  readonly ifindex: number;
  readonly mtu: number;
}

export class LanFollower {
  readonly #native: Native;
  readonly #name: string;
  readonly #listener: LanListener;
  readonly #buffer = new Uint8Array(65_536);
  readonly #netlink: number;
  #watch: { close(): void } | undefined;
  #joined: Joined | undefined;

  constructor(native: Native, name: string, listener: LanListener) {
    this.#native = native;
    this.#name = name;
    this.#listener = listener;
    this.#netlink = native.netlinkOpen(GROUP_LINK);
  }

  start(): void {
    this.#join(this.#native.interfaceIndex(this.#name, -1));
    this.#watch = this.#native.watch(this.#netlink, () => this.#read());
  }

  /** The data plane says that the interface has vanished; one of its name may be here already. */
  gone(): void {
    this.#leave('the interface is gone');
    this.#native.netlinkSend(this.#netlink, linkDump());
  }

  stop(): void {
    this.#watch?.close();
    this.#leave('the switch stops');
    this.#native.close(this.#netlink);
  }

  #join(ifindex: number): void {
    const link = linkOf(this.#native, ifindex);
    if (link === undefined) return; // it has gone meanwhile, and an event will tell
    const fd = this.#native.openPacket(ifindex);
    this.#joined = { fd, ifindex, mtu: link.mtu };
    this.#listener.attach({ name: this.#name, kind: 'packet', fd, mtu: link.mtu });
    this.#listener.carrier(link.lowerUp);
  }

  #leave(reason: string): void {
    const joined = this.#joined;
    if (joined === undefined) return;
    this.#joined = undefined;
    this.#listener.detach(reason);
    this.#native.close(joined.fd);
  }

  #read(): void {
    for (;;) {
      const got = this.#native.netlinkReceive(this.#netlink, this.#buffer);
      if (got === 0) return;
      if (got === ENOBUFS) this.#native.netlinkSend(this.#netlink, linkDump());
      else for (const event of linkEvents(this.#buffer.subarray(0, got))) this.#take(event);
    }
  }

  #take(event: LinkEvent): void {
    const joined = this.#joined;
    try {
      if (joined?.ifindex === event.ifindex) this.#follow(joined, event);
      else if (joined === undefined && event.type !== RTM_DELLINK && event.name === this.#name)
        this.#join(event.ifindex);
    } catch (error) {
      this.#listener.warn(error instanceof Error ? error.message : String(error)); // it has gone again
    }
  }

  #follow(joined: Joined, event: LinkEvent): void {
    if (event.type === RTM_DELLINK) {
      this.#leave(event.movedTo === undefined ? 'the interface was deleted' : 'the interface was moved');
    } else if (event.mtu !== joined.mtu) {
      this.#leave(`its MTU is ${event.mtu} now`);
      this.#join(event.ifindex);
    } else {
      this.#listener.carrier(event.lowerUp);
    }
  }
}
