/**
 * Segmentation and checksums against the kernel's own, byte for byte. The same large packet goes to the finisher, and
 * through a packet socket to a tap whose reader takes no offloads, so that the kernel must finish it. Both ends are a few
 * lines of Python: nothing of ours touches what the kernel made, and the kernel segments only for a sender that does not
 * pass the queueing discipline by.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Finisher } from '../../src/port/offload.ts';
import * as sums from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import { VNET_SIZE } from '../../src/wire/vnet.ts';
import { type Large, unfinished } from './gso.ts';
import { enterNamespace } from './namespace.ts';

enterNamespace(import.meta.url);

const TAP = 'vsoff0';
const KERNEL = `
import fcntl, os, socket, struct, sys, threading
fd = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', b'${TAP}', 0x1002))  # TUNSETIFF, IFF_TAP | IFF_NO_PI
os.system('ip link set ${TAP} mtu 9000 up')
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sender.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
sender.bind(('${TAP}', 0))
def read():
    while True:
        print(os.read(fd, 70000).hex(), flush=True)
threading.Thread(target=read, daemon=True).start()
print('ready', flush=True)
for line in sys.stdin:
    sender.send(bytes.fromhex(line))
`;
const MARK = `${'02'.repeat(12)}88b5`; // ends what one packet became; the EtherType is for experiments

const kernel = spawn('python3', ['-c', KERNEL], { stdio: ['pipe', 'pipe', 'inherit'] });
const lines = createInterface({ input: kernel.stdout })[Symbol.asyncIterator]();
const line = async (): Promise<string> => {
  const { value, done } = await lines.next();
  if (done) throw new Error('the kernel refused the packet');
  return value;
};

/** What the kernel makes of bytes that begin with a virtio-net header. */
async function byKernel(bytes: Uint8Array): Promise<string[]> {
  const mark = '00'.repeat(VNET_SIZE) + MARK.padEnd(120, '0');
  kernel.stdin.write(`${Buffer.from(bytes).toString('hex')}\n${mark}\n`);
  const frames: string[] = [];
  for (let frame = await line(); !frame.startsWith(MARK); frame = await line()) frames.push(frame);
  return frames;
}

const finisher = new Finisher();
function byUs(bytes: Uint8Array): string[] {
  const mem = new DataView(bytes.buffer);
  assert.is(Drop[finisher.finish(bytes, mem, VNET_SIZE, bytes.length - VNET_SIZE)], 'None');
  return Array.from({ length: finisher.count }, (_, i) => {
    const at = finisher.offset[i]!;
    return Buffer.from(finisher.slab.subarray(at, at + finisher.length[i]!)).toString('hex');
  });
}

async function compare(name: string, bytes: Uint8Array, pieces: number): Promise<void> {
  const theirs = await byKernel(bytes);
  const ours = byUs(bytes);
  assert.is(theirs.length, pieces, `${name}: pieces by the kernel`);
  assert.is(ours.length, pieces, `${name}: pieces by us`);
  for (const [i, frame] of ours.entries()) assert.is(frame, theirs[i], `${name}: piece ${i}`);
}

test.before(async () => {
  assert.is(await line(), 'ready');
});
test.after(() => {
  kernel.kill();
});

const COMMON: readonly (readonly [string, Partial<Large>])[] = [
  ['plain', {}],
  ['a last piece of one byte', { payload: 4001 }],
  ['exact pieces', { payload: 4000 }],
  ['odd pieces', { payload: 5000, size: 777 }],
  ['small pieces', { payload: 9000, size: 88 }],
  ['as large as can be', { payload: 65_000, size: 1400 }],
  ['a VLAN tag', { tags: [0x8100] }],
  ['two VLAN tags', { tags: [0x88a8, 0x8100] }],
];

for (const version of [4, 6] as const) {
  const large: Large = { version, protocol: 'tcp', payload: 5555, size: 1000 };
  const own: readonly (readonly [string, Partial<Large>])[] = [
    ['all flags', { flags: 0xff }],
    ['FIN, PSH and CWR', { flags: 0x99 }],
    ['options', { tcpOptions: 12 }],
    ['the most options', { tcpOptions: 40 }],
    ['a sequence that wraps', { sequence: 0xffff_ff00 }],
  ];
  const ip4: readonly (readonly [string, Partial<Large>])[] = [
    ['an IP id that wraps', { id: 0xfffd }],
    ['IP options', { ipOptions: 40 }],
  ];
  const withNetwork = version === 4 ? [...COMMON, ...ip4] : COMMON;

  for (const [name, change] of [...withNetwork, ...own]) {
    test(`offload: TCP over IPv${version}, ${name}: as the kernel does it`, async () => {
      const asked = { ...large, ...change };
      await compare(name, unfinished(asked).bytes, Math.ceil(asked.payload / asked.size));
    });
  }

  for (const [name, change] of withNetwork) {
    test(`offload: UDP over IPv${version}, ${name}: as the kernel does it`, async () => {
      const asked: Large = { ...large, protocol: 'udp', ...change };
      await compare(name, unfinished(asked).bytes, Math.ceil(asked.payload / asked.size));
    });
  }

  for (const protocol of ['tcp', 'udp'] as const) {
    test(`offload: a checksum alone, ${protocol} over IPv${version}: as the kernel does it`, async () => {
      for (const payload of [1, 2, 1400, 1401])
        await compare(`${payload} bytes`, unfinished({ ...large, protocol, payload, size: 0 }).bytes, 1);
    });

    test(`offload: a checksum of zero, ${protocol} over IPv${version}: as the kernel does it`, async () => {
      const { bytes, l4, headers } = unfinished({ ...large, protocol, payload: 2, size: 0 });
      const mem = new DataView(bytes.buffer, VNET_SIZE);
      mem.setUint16(headers, 0);
      mem.setUint16(headers, sums.checksum(mem, l4, headers + 2 - l4));
      await compare('zero', bytes, 1);
    });
  }
}

test.run();
