/** Classic BPF: the same frames as tcpdump finds, by its own programs; what no program may be; and that any other ends. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../../src/port/native.ts';
import { readCaptureSync } from '../../src/port/pcap-file.ts';
import { fault, filterOf, parseProgram } from '../../src/wire/bpf.ts';
import { emit, parse } from '../../src/wire/pcap.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-bpf-'));
test.after(() => rmSync(folder, { recursive: true }));

/** All frames that the golden cases bring in, each once: sound and broken ones of every protocol that the switch knows. */
function corpus(): Uint8Array[] {
  const root = join(projectRoot(), 'fixtures');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name =>
    name.endsWith('.pcap'),
  );
  const frames = new Map<string, Uint8Array>();
  for (const name of files)
    for (const { data } of readCaptureSync(join(root, name)))
      frames.set(Buffer.from(data).toString('hex'), data);
  return [...frames.values()];
}

/** Two tags before what is behind the addresses, so that there is something to find behind VLANs. */
function tagged(frame: Uint8Array, vlan: number): Uint8Array {
  const tag = [0x81, 0x00, vlan >> 8, vlan & 255];
  return Uint8Array.from([...frame.subarray(0, 12), ...tag, ...frame.subarray(12)]);
}

const EXPRESSIONS = [
  'ip',
  'arp',
  'ip6',
  'udp',
  'tcp port 80',
  'udp port 67 or udp port 68',
  'port 53 and not udp',
  'portrange 1000-5000',
  'icmp[icmptype] == icmp-echo',
  'icmp[0] = 8 or icmp[0] = 0',
  'host 192.168.100.10',
  'src host 192.168.100.10 and dst net 203.0.113.0/24',
  'net 192.168.100.0/28',
  'ether host 02:00:00:00:00:0a',
  'ether broadcast',
  'ether multicast',
  'broadcast and not arp',
  'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
  'tcp[13] & 2 != 0 and tcp[13] & 16 == 0',
  'ip[6:2] & 0x1fff != 0',
  'ip[6] & 0x20 != 0 or ip[6:2] & 0x1fff != 0',
  'ip[8] < 5',
  'ip[2:2] > 600',
  'len > 1000',
  'less 60',
  'greater 600',
  'ip and (ip[2:2] - ((ip[0] & 0xf) << 2)) > 100',
  'ip[0] & 0xf > 5',
  'ether[12:2] = 0x88b5',
  'ether[0] & 1 = 0 and ether[6] >= 2',
  'ip[16:4] >= 0xc0000000',
  'ip[12:4] > 0x7fffffff',
  'ip[4:2] * 3 / 2 % 7 = 1',
  'ip[10:2] ^ 0xffff > 0x8000',
  'ip[ip[0] & 0xf] | 1 = 1',
  'udp[4:2] = 13',
  'vlan',
  'vlan 5',
  'vlan 5 and udp',
  'vlan and vlan',
  'not ip and not arp',
  'proto 17',
  'ip proto 1 and dst host 192.168.100.1',
  'ether[1000] = 0',
] as const;

const compile = (expression: string): Int32Array => {
  const text = execFileSync('tcpdump', ['-y', 'EN10MB', '-ddd', '--', expression], { encoding: 'utf8' });
  const program = parseProgram(text);
  assert.ok(program !== undefined, text);
  return program as Int32Array;
};

const hasTcpdump = spawnSync('tcpdump', ['--version']).status === 0;
if (!hasTcpdump) console.log('tcpdump is not installed: what it would be compared with is skipped');

(hasTcpdump ? test : test.skip)('bpf: tcpdump finds the same frames', () => {
  const plain = corpus();
  const frames = [
    ...plain,
    ...plain.map(frame => tagged(frame, 5)),
    ...plain.map(frame => tagged(tagged(frame, 7), 5)),
  ];
  const path = join(folder, 'frames.pcap');
  writeFileSync(path, emit(frames.map(data => ({ seconds: 1, nanoseconds: 0, data }))));
  const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
  let some = 0;
  for (const expression of EXPRESSIONS) {
    const program = compile(expression);
    assert.is(fault(program), undefined, expression);
    const accepts = filterOf(program);
    // Beside other bytes, at an odd place: what is outside the frame must not count.
    const ours = frames.filter(data => {
      const memory = new Uint8Array(data.length + 300).fill(0xff);
      memory.set(data, 101);
      return accepts(new DataView(memory.buffer), 101, data.length, false);
    });
    const { stdout, stderr, status } = spawnSync('tcpdump', ['-r', path, '-w', '-', '--', expression], {
      maxBuffer: 1 << 26,
    });
    assert.is(status, 0, `${stderr}`);
    const theirs = parse(stdout).map(({ data }) => data);
    assert.equal(ours.map(hex), theirs.map(hex), expression);
    if (ours.length > 0 && ours.length < frames.length) some++;
  }
  assert.ok(some > EXPRESSIONS.length - 4, `${some} expressions tell frames apart`);
});

(hasTcpdump ? test : test.skip)('bpf: inbound and outbound are known', () => {
  const frame = new DataView(new ArrayBuffer(60));
  for (const outgoing of [true, false]) {
    assert.is(filterOf(compile('outbound'))(frame, 0, 60, outgoing), outgoing);
    assert.is(filterOf(compile('inbound'))(frame, 0, 60, outgoing), !outgoing);
  }
  assert.match(fault(compile('ifindex 3')) ?? '', /only a socket of the kernel knows/);
});

const RET = [6, 0, 0, 1];
const of = (...numbers: number[]): Int32Array => Int32Array.from(numbers);

for (const [name, program, wrong] of [
  ['nothing', of(), /has 0 instructions/],
  ['half an instruction', of(6, 0), /has 0.5 instructions/],
  ['too many', of(...Array.from({ length: 4_097 }, () => RET).flat()), /has 4097 instructions/],
  ['no return at the end', of(0, 0, 0, 1), /does not end/],
  ['an unknown code', of(0xff, 0, 0, 0, ...RET), /instruction 0 has the unknown code 255/],
  ['a jump beyond the end', of(0x15, 0, 1, 1, ...RET), /jumps out/],
  ['a jump back', of(5, 0, 0, -2, ...RET), /jumps out/],
  ['a long jump', of(5, 0, 0, 0x7fff_ffff, ...RET), /jumps out/],
  ['memory beyond', of(2, 0, 0, 16, ...RET), /memory word 16/],
  ['memory before', of(0x60, 0, 0, -1, ...RET), /memory word -1/],
  ['a division by nought', of(0x34, 0, 0, 0, ...RET), /divides/],
  ['a long shift', of(0x64, 0, 0, 32, ...RET), /shifts by 32/],
  ['what only a socket knows', of(0x28, 0, 0, -4_052, ...RET), /only a socket/],
] as const)
  test(`bpf: refused: ${name}`, () => assert.match(fault(program) ?? 'accepted', wrong));

for (const text of ['', '2\n6 0 0 1', 'x\n6 0 0 1', '1\n6 0 0', '1\n6 0 0 -1', '1\n6 0 0 1.5', 'tcpdump: no'])
  test(`bpf: no program: ${JSON.stringify(text)}`, () => assert.is(parseProgram(text), undefined));

test('bpf: numbers are unsigned, whatever their sign here', () => {
  // A = k; A > 0x7fffffff ? accept : refuse
  const program = parseProgram('4\n0 0 0 4294967295\n37 0 1 2147483647\n6 0 0 1\n6 0 0 0') as Int32Array;
  assert.ok(filterOf(program)(new DataView(new ArrayBuffer(1)), 0, 1, false));
  const quotient = parseProgram(
    '5\n0 0 0 4294967295\n52 0 0 2\n21 0 1 2147483647\n6 0 0 1\n6 0 0 0',
  ) as Int32Array;
  assert.ok(filterOf(quotient)(new DataView(new ArrayBuffer(1)), 0, 1, false));
});

test('bpf: what passes the check ends, reads the frame alone, and throws nothing', () => {
  const CODES = [
    0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0, 0x60, 0x80, 1, 0x61, 0x81, 0xb1, 2, 3, 7, 0x87, 5, 0x15,
  ]
    .concat([
      0x25, 0x35, 0x45, 0x1d, 0x2d, 0x3d, 0x4d, 6, 0x16, 4, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84,
    ])
    .concat([0x94, 0xa4, 0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac]);
  const k = fc.oneof(fc.nat(40), fc.integer(), fc.constantFrom(-4_096, -4_092, -1, 0x7fff_ffff));
  const instruction = fc.tuple(fc.constantFrom(...CODES), fc.nat(3), fc.nat(3), k);
  const programs = fc.array(instruction, { maxLength: 30 });
  let ran = 0;
  fc.assert(
    fc.property(programs, fc.uint8Array({ maxLength: 40 }), (list, bytes) => {
      const program = of(...list.flat(), ...RET);
      if (fault(program) !== undefined) return;
      ran++;
      // All memory there is is the frame: a load beyond it would throw.
      const mem = new DataView(bytes.slice().buffer);
      assert.type(filterOf(program)(mem, 0, bytes.length, false), 'boolean');
    }),
    { numRuns: 20_000, seed: 5 },
  );
  assert.ok(ran > 1_000, `${ran}`);
});

test.run();
