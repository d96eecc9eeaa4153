/**
 * The guests' way out, of whichever kind, with the wires to the data plane:
 *
 *   tun      the host's own stack, which routes and masquerades       passt   a process that needs nothing of the host
 *   bridge   an interface's LAN, of which the switch is a part         none    there is none
 */
import type { Config } from './config.ts';
import { UPLINK_PORT } from './dataplane/messages.ts';
import type { Plane } from './dataplane/plane.ts';
import { OperatorError } from './errors.ts';
import { checkBridgeable, LanFollower } from './host/lan.ts';
import { setUpUplink } from './host/links.ts';
import { Passt, type PasstSettings, passtWords } from './host/passt.ts';
import { ownMac } from './identity.ts';
import type { Log } from './log.ts';
import type { Native } from './port/native.ts';
import { type PortTable, uplinkName } from './porttable.ts';

export interface Uplink {
  /** The tun's, once it is open; -1: there is none. */
  readonly file: number;
  /** Takes what it stands on, before anything of the host is changed; throws a sentence when it can't be had. */
  open(): Promise<void>;
  /** Gives the data plane its port, when the host is as it shall be. */
  attach(): Promise<void>;
  detach(): void;
  close(): Promise<void>;
}

export interface UplinkParts {
  readonly config: Config;
  readonly native: Native;
  readonly plane: Plane;
  readonly ports: PortTable;
  readonly log: Log;
  /** A tun that is open and set up already; -1: there is none. */
  readonly left: number;
}

export function uplinkOf(parts: UplinkParts): Uplink {
  switch (parts.config.uplink.kind) {
    case 'tun':
      return tunUplink(parts);
    case 'passt':
      return passtUplink(parts);
    case 'bridge':
      return lanUplink(parts, parts.config.uplink.interface);
    case 'none':
      return {
        file: -1,
        open: async () => {},
        attach: async () => {},
        detach: () => {},
        close: async () => {},
      };
  }
}

/** The uplink for people to read before it is there: what else than the plan's changes there will be. */
export function describeUplink(config: Config): string[] {
  switch (config.uplink.kind) {
    case 'tun':
      return [`# the uplink ${config.name}: a tun that goes with the process`];
    case 'passt':
      return [`# the uplink ${config.name}: passt ${passtWords(passtSettings(config)).join(' ')}`];
    case 'bridge':
      return [`# the uplink ${config.uplink.interface}: joined by a packet socket; it stays as it is`];
    case 'none':
      return [];
  }
}

function tunUplink({ config, native, plane, ports, left }: UplinkParts): Uplink {
  const { name, mtu } = config;
  let fd = left;
  return {
    get file() {
      return fd;
    },
    open: async () => {
      if (left < 0) fd = openTun(native, name);
    },
    attach: async () => {
      if (left < 0) await setUpUplink(config);
      plane.attach(UPLINK_PORT, { name, kind: 'tun', fd, mtu });
      ports.attached(name, 'tun', undefined);
      ports.carrier(name, true);
    },
    detach: () => plane.detach(UPLINK_PORT),
    close: async () => {
      if (fd >= 0) native.close(fd);
    },
  };
}

/** Makes the tun, which goes with its file. */
function openTun(native: Native, name: string): number {
  try {
    return native.openTun({ name, mode: 'tun', netns: -1, mustExist: false, ifindex: 0 }).fd;
  } catch (cause) {
    throw new OperatorError(
      `the uplink ${name} can't be made: ${(cause as Error).message}; is there another interface of that name? --name chooses another`,
      { code: 'Busy', cause },
    );
  }
}

const passtSettings = ({ name, natAddress, subnet }: Config): PasstSettings => ({
  address: natAddress,
  mac: ownMac(name, 'gateway'),
  prefix: subnet.prefix,
  ownMac: ownMac(name, 'uplink'),
  gateway: subnet.gateway,
});

function passtUplink({ config, native, plane, ports, log }: UplinkParts): Uplink {
  const name = uplinkName(config);
  const detach = (): void => {
    plane.detach(UPLINK_PORT);
    ports.detached(name);
  };
  const passt = new Passt(native, passtSettings(config), {
    up: fd => {
      plane.attach(UPLINK_PORT, { name, kind: 'stream', fd, mtu: config.mtu });
      ports.attached(name, 'stream', undefined);
      ports.carrier(name, true);
      log.info(`${name}: up, through passt`);
    },
    down: detach,
    warn: sentence => log.warn(sentence),
  });
  plane.on('gone', (index, fault) => {
    if (index === UPLINK_PORT) passt.gone(fault);
  });
  return {
    file: -1,
    open: () => passt.open(),
    attach: async () => passt.serve(),
    detach,
    close: () => passt.stop(),
  };
}

function lanUplink({ native, plane, ports, log }: UplinkParts, name: string): Uplink {
  let follower: LanFollower | undefined;
  plane.on('gone', index => {
    if (index === UPLINK_PORT) follower?.gone();
  });
  return {
    file: -1,
    open: async () => checkBridgeable(native, name),
    attach: async () => {
      follower = new LanFollower(native, name, {
        attach: port => {
          plane.attach(UPLINK_PORT, port);
          ports.attached(name, port.kind, undefined);
          log.info(`${name}: the LAN is joined`);
        },
        detach: reason => {
          plane.detach(UPLINK_PORT);
          ports.detached(name);
          log.info(`${name}: down, ${reason}`);
        },
        carrier: up => {
          if (ports.carrier(name, up)) log.info(`${name}: ${up ? 'up' : 'no carrier'}`);
          if (!up) plane.flush(UPLINK_PORT);
        },
        warn: sentence => log.warn(`${name}: ${sentence}`),
      });
      follower.start();
    },
    detach: () => follower?.stop(),
    close: async () => {},
  };
}
