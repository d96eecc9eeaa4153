// timeout: 120 s
/** Ports on interfaces of the kernel's, held to what every port owes (conformance.ts), in a namespace of the test's own. */
import { test } from 'uvu';
import { Batch, HEADROOM } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';
import { PacketPort } from '../../src/port/packet.ts';
import type { Port } from '../../src/port/port.ts';
import { TapPort } from '../../src/port/tap.ts';
import { setFinished } from '../../src/wire/vnet.ts';
import { conforms, type Kind, type Opened, type Peer, type Socket } from './conformance.ts';
import { enterNamespace, sh } from './namespace.ts';

enterNamespace(import.meta.url);
const native = loadNative();
const MTU = 65_500;
const NAME = 'g';
const ROW_0 = new Int32Array(1);
const LOOK_MS = 20;

const TAP = { name: NAME, mode: 'tap', netns: -1, ifindex: 0 } as const;
const openTap = (): number => native.openTun({ ...TAP, mustExist: true }).fd;
const openPacket = (): number => native.openPacket(native.interfaceIndex(NAME, -1));
const link = (): string => sh(`ip -o link show ${NAME} 2>&1 || true`);
const there = (): boolean => link().includes(` ${NAME}: `);
/** Up, and with somebody at the other end: the kernel loses what is sent before. */
const isUp = (): boolean => link().includes('state UP');

/** One that stays when nobody holds it. */
function makeTap(): void {
  native.close(native.openTun({ ...TAP, mustExist: false, persist: true }).fd);
  sh(`ip link set ${NAME} mtu ${MTU} up`);
}

/** A guest's end that is a port, too: what a kernel's interface has on its other side. */
abstract class PortPeer implements Peer {
  readonly #batch = new Batch();
  protected end: Port | undefined;
  #turn = (): void => undefined;

  protected abstract plug(): Port | undefined;
  abstract kill(): void;

  arrive(turn: () => void): boolean {
    this.#turn = turn;
    this.end ??= this.plug();
    return this.end !== undefined && isUp();
  }

  send(frame: Uint8Array): void {
    const batch = this.#batch;
    batch.reset(0);
    const at = batch.arena + HEADROOM;
    batch.slab.set(frame, at);
    setFinished(batch.mem, at);
    batch.offset[0] = at;
    batch.length[0] = frame.length;
    while (this.end!.transmit(batch, ROW_0, 1) !== 1) this.#turn();
  }

  received(): Uint8Array[] {
    const batch = this.#batch;
    const frames: Uint8Array[] = [];
    for (;;) {
      batch.reset(0);
      const count = this.end?.receive(batch, 0) ?? 0;
      if (count <= 0) return frames;
      for (let row = 0; row < count; row++) {
        const at = batch.offset[row] as number;
        frames.push(batch.slab.slice(at, at + (batch.length[row] as number)));
      }
    }
  }
}

/** A tap's interface in the guest's namespace; its death is the namespace's. */
class InterfacePeer extends PortPeer {
  constructor() {
    super();
    makeTap();
  }

  protected plug(): Port | undefined {
    return new PacketPort(NAME, openPacket(), MTU);
  }

  kill(): void {
    if (this.end !== undefined) native.close(this.end.fd);
    this.end = undefined;
    sh(`ip link del ${NAME}`);
  }
}

/** A device end, as a VM monitor holds it; the interface stays. */
class DevicePeer extends PortPeer {
  constructor() {
    super();
    if (!there()) makeTap();
  }

  protected plug(): Port | undefined {
    return new TapPort(NAME, openTap(), MTU);
  }

  kill(): void {
    if (this.end !== undefined) native.close(this.end.fd);
    this.end = undefined;
  }
}

/** The switch's end, opened again whenever the interface is there again. */
function open(socket: Socket, file: () => number, portOf: (fd: number) => Port): Opened {
  let fd = -1;
  const begin = (): void => {
    if (fd >= 0 || !there()) return;
    fd = file();
    socket.attach(portOf(fd));
  };
  const end = (): void => {
    if (fd < 0) return;
    socket.detach();
    native.close(fd);
    fd = -1;
  };
  begin();
  const look = setInterval(begin, LOOK_MS);
  return {
    gone: end,
    close() {
      clearInterval(look);
      end();
    },
  };
}

// The kernel loses what a guest does not read, and counts it at the interface or at the guest's socket.
const ofInterfaces = { ways: 'both', counts: false, offloads: true, largest: 65_514 } as const;

const kinds: readonly Kind[] = [
  {
    ...ofInterfaces,
    name: 'tap',
    open: (_, socket) => open(socket, openTap, fd => new TapPort(NAME, fd, MTU)),
    peer: () => new InterfacePeer(),
  },
  {
    ...ofInterfaces,
    name: 'packet',
    open: (_, socket) => open(socket, openPacket, fd => new PacketPort(NAME, fd, MTU)),
    peer: () => new DevicePeer(),
  },
];
for (const kind of kinds) conforms(kind);

test.run();
