/** A guest on a stream: it has a MAC and an address, and says no more than ARP and what a test gives it. */
import { createServer, connect as dial, type Socket } from 'node:net';
import { until } from '../../src/lab.ts';
import { type Ip4, parseIp4 } from '../../src/wire/address.ts';
import * as arp from '../../src/wire/arp.ts';
import * as ethernet from '../../src/wire/ethernet.ts';

const LENGTH_BYTES = 4;

/** A MAC of ours, by its last octet. */
const MAC_HI = 0x0242;

export class StreamGuest {
  readonly received: Buffer[] = [];
  closed = false;
  #rest = Buffer.alloc(0);

  constructor(
    readonly socket: Socket,
    readonly lo: number,
  ) {
    socket.on('data', chunk => this.#take(chunk));
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('error', () => undefined); // the switch may cut it off
  }

  static async connect(path: string, lo: number): Promise<StreamGuest> {
    const socket = dial(path);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new StreamGuest(socket, lo);
  }

  send(frame: Uint8Array): void {
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(frame.length);
    this.socket.write(Buffer.concat([length, frame]));
  }

  /** Asks for an address, and waits till somebody says that it has it. */
  async resolves(target: string, source: string, timeoutMs = 3_000): Promise<boolean> {
    const from = this.received.length;
    this.send(arpFrame(this.lo, parseIp4(source)!, parseIp4(target)!));
    const wanted = parseIp4(target)!;
    return until(`an answer for ${target}`, timeoutMs, async () =>
      this.received.slice(from).some(frame => isAnswer(frame, wanted)),
    ).then(
      () => true,
      () => false,
    );
  }

  end(): void {
    this.socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + this.#rest.readUInt32BE(0);
      if (this.#rest.length < end) return;
      this.received.push(this.#rest.subarray(LENGTH_BYTES, end));
      this.#rest = this.#rest.subarray(end);
    }
  }
}

/** Waits for one connection at a path, as a monitor with `server=on` does. */
export async function listening(
  path: string,
): Promise<{ next(lo: number): Promise<StreamGuest>; close(): void }> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(path, resolve));
  const waiting: Socket[] = [];
  server.on('connection', socket => waiting.push(socket));
  return {
    next: async lo => {
      await until(`a connection at ${path}`, 4_000, async () => waiting.length > 0);
      return new StreamGuest(waiting.shift()!, lo);
    },
    close: () => server.close(),
  };
}

export function arpFrame(lo: number, source: Ip4, target: Ip4): Uint8Array {
  const frame = new Uint8Array(ethernet.ETHERNET_SIZE + arp.ARP_SIZE);
  const mem = new DataView(frame.buffer);
  ethernet.setHeader(mem, 0, 0xffff, -1, MAC_HI, lo, ethernet.ETHERTYPE_ARP);
  arp.emit(mem, ethernet.ETHERNET_SIZE, arp.REQUEST, MAC_HI, lo, source, 0, 0, target);
  return frame;
}

export function isAnswer(frame: Uint8Array, address: Ip4): boolean {
  const mem = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < ethernet.ETHERNET_SIZE + arp.ARP_SIZE) return false;
  return (
    ethernet.type(mem, 0) === ethernet.ETHERTYPE_ARP &&
    arp.operation(mem, ethernet.ETHERNET_SIZE) === arp.REPLY &&
    mem.getInt32(ethernet.ETHERNET_SIZE + 14) === address
  );
}
