/**
 * `vswitchd demo`: the whole job on one machine without a VM. Five network namespaces stand for two guests, the host that
 * runs the switch, its LAN's router and a server outside; real clients do what guests do, and each step is timed.
 *
 *   red  ── tap ┐                                            each name with a prefix and this process's number,
 *               ├ switch (vswitchd) ── lan (router) ── out   and all of it gone afterwards
 *   blue ── tap ┘      192.168.100.0/24    198.51.100/24  203.0.113/24
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask } from './control/client.ts';
import { flowsText, leasesText, macsText, portsText } from './control/screen.ts';
import type { FlowView, LeaseView, MacView, PortView } from './control/views.ts';
import { OperatorError } from './errors.ts';
import { findTool, run } from './host/run.ts';
import { projectRoot } from './port/native.ts';

const SUBNET = '192.168.100.0/24';
const GATEWAY = '192.168.100.1';
const OUTSIDE = '203.0.113.2';
const FILE_BYTES = 8 << 20;
const READY_TIMEOUT_MS = 10_000;
const STEP_TIMEOUT_MS = 15_000;

/** A server of `FILE_BYTES` bytes, and a client that fetches and counts them: both run in namespaces of their own. */
const SERVE = `require('node:http').createServer((q, r) => r.end(Buffer.alloc(${FILE_BYTES}, 7)))
  .listen(8080, '${OUTSIDE}', () => console.log('listening'))`;
const FETCH = `fetch('http://${OUTSIDE}:8080/').then(async r => {
  const body = new Uint8Array(await r.arrayBuffer());
  if (body.length !== ${FILE_BYTES} || body.some(b => b !== 7)) throw new Error('the file arrived changed');
  console.log(body.length + ' bytes');
}).catch(e => { console.error(String(e.cause ?? e)); process.exit(1); })`;

interface Step {
  readonly title: string;
  readonly act: () => Promise<string>;
}

/** Runs the demonstration; true when every step passed. */
export async function demo(print: (line: string) => void): Promise<boolean> {
  requireTools();
  const stage = new DemoStage();
  const stop = (): void => void stage.strike().finally(() => process.exit(130));
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    const passed = await play(stage.steps(), print);
    if (passed) print(await stage.tables());
    return passed;
  } finally {
    await stage.strike();
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

async function play(steps: readonly Step[], print: (line: string) => void): Promise<boolean> {
  let failed = 0;
  for (const step of steps) {
    const start = performance.now();
    try {
      const result = await step.act();
      print(`ok    ${step.title.padEnd(52)} ${took(start)}  ${result}`.trimEnd());
    } catch (error) {
      failed++;
      print(`FAIL  ${step.title.padEnd(52)} ${took(start)}  ${(error as Error).message}`);
      if (failed > 2) break; // what follows needs what failed
    }
  }
  print(failed === 0 ? `\nall ${steps.length} steps passed` : `\n${failed} of ${steps.length} steps failed`);
  return failed === 0;
}

const took = (start: number): string => `${Math.round(performance.now() - start)} ms`.padStart(8);

function requireTools(): void {
  const missing = ['ip', 'nft', 'ping', 'udhcpc'].filter(tool => findTool(tool) === undefined);
  if (missing.length > 0) {
    throw new OperatorError(
      `the demo needs ${missing.join(', ')}: apt-get install iproute2 nftables iputils-ping udhcpc, or 'npm run demo', which does`,
      { code: 'MissingTool' },
    );
  }
}

class DemoStage {
  readonly #prefix = `vswdemo${process.pid}`;
  readonly #red = `${this.#prefix}-red`;
  readonly #blue = `${this.#prefix}-blue`;
  readonly #host = `${this.#prefix}-host`;
  readonly #lan = `${this.#prefix}-lan`;
  readonly #out = `${this.#prefix}-out`;
  readonly #folder = mkdtempSync(join(tmpdir(), 'vswitchd-demo-'));
  readonly #children: ChildProcess[] = [];
  #switch: ChildProcess | undefined;

  steps(): readonly Step[] {
    const { red, blue } = { red: this.#red, blue: this.#blue };
    return [
      { title: 'namespaces for two guests, the host, a LAN, outside', act: () => this.#build() },
      { title: `vswitchd --subnet ${SUBNET} --taps tap0,tap1`, act: () => this.#start() },
      { title: 'tap0 moves into red while the switch runs', act: () => this.#move('tap0', red) },
      { title: 'tap1 moves into blue, renamed eth0 at once', act: () => this.#move('tap1', blue) },
      { title: 'red takes a lease', act: () => this.#lease(red, 'tap0') },
      { title: 'blue takes a lease', act: () => this.#lease(blue, 'eth0') },
      { title: 'red pings the gateway', act: () => this.#ping(red, GATEWAY) },
      { title: 'red pings blue', act: async () => this.#ping(red, await this.#address(blue, 'eth0')) },
      {
        title: 'the host pings red',
        act: async () => this.#ping(this.#host, await this.#address(red, 'tap0')),
      },
      { title: 'blue pings the outside, through the NAT', act: () => this.#ping(blue, OUTSIDE) },
      { title: 'red fetches 8 MiB from the outside, through the NAT', act: () => this.#fetch(red) },
    ];
  }

  async #build(): Promise<string> {
    for (const name of [this.#red, this.#blue, this.#host, this.#lan, this.#out]) {
      await run('ip', ['netns', 'add', name]);
      await this.#ip(name, 'link', 'set', 'lo', 'up');
    }
    await this.#cable(this.#host, 'eth0', '198.51.100.2/24', this.#lan, 'lan0', '198.51.100.1/24');
    await this.#cable(this.#lan, 'wan0', '203.0.113.1/24', this.#out, 'eth0', `${OUTSIDE}/24`);
    await this.#ip(this.#host, 'route', 'add', 'default', 'via', '198.51.100.1');
    await this.#ip(this.#out, 'route', 'add', 'default', 'via', '203.0.113.1');
    await this.#inside(this.#lan, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    const server = this.#spawn(this.#out, process.execPath, '-e', SERVE);
    await lineFrom(server, /listening/, STEP_TIMEOUT_MS);
    return '';
  }

  async #start(): Promise<string> {
    const start = performance.now();
    const program = join(projectRoot(), 'bin', 'vswitchd');
    this.#switch = this.#spawn(
      this.#host,
      program,
      ...['--subnet', SUBNET, '--taps', 'tap0,tap1', '--state-dir', this.#folder, '--run-dir', this.#folder],
    );
    await lineFrom(this.#switch, /ready/, READY_TIMEOUT_MS);
    return `ready after ${Math.round(performance.now() - start)} ms`;
  }

  async #move(tap: string, netns: string): Promise<string> {
    const name = tap === 'tap1' ? 'eth0' : tap;
    await this.#ip(this.#host, 'link', 'set', tap, 'netns', netns, 'name', name);
    await this.#ip(netns, 'link', 'set', name, 'up');
    return this.#served(tap);
  }

  async #served(tap: string): Promise<string> {
    const deadline = performance.now() + STEP_TIMEOUT_MS;
    while (performance.now() < deadline) {
      const port = (await this.#ask<PortView[]>('ports')).find(candidate => candidate.name === tap);
      if (port?.kind === 'tap' && port.up) return `served at its device end`;
      await new Promise(resolve => setTimeout(resolve, 10));
    }
    throw new Error(`${tap} was not served again in ${STEP_TIMEOUT_MS} ms`);
  }

  /** udhcpc leaves the address to a script; this one sets address and route and no more. */
  async #lease(netns: string, name: string): Promise<string> {
    const script = join(projectRoot(), 'tools', 'udhcpc-script.sh');
    await this.#inside(netns, 'udhcpc', '-i', name, '-n', '-q', '-f', '-t', '5', '-T', '1', '-s', script);
    return this.#address(netns, name);
  }

  async #address(netns: string, name: string): Promise<string> {
    const shown = await run('ip', ['-n', netns, '-j', '-4', 'addr', 'show', 'dev', name]);
    const [link] = JSON.parse(shown) as { addr_info: { local: string }[] }[];
    const address = link?.addr_info[0]?.local;
    if (address === undefined) throw new Error(`${name} has no address`);
    return address;
  }

  async #ping(netns: string, address: string): Promise<string> {
    const said = await this.#inside(netns, 'ping', '-c', '3', '-i', '0.2', '-W', '2', address);
    const average = /= [\d.]+\/([\d.]+)\//.exec(said)?.[1];
    return average === undefined ? address : `${address} in ${average} ms`;
  }

  async #fetch(netns: string): Promise<string> {
    const start = performance.now();
    const said = (await this.#inside(netns, process.execPath, '-e', FETCH)).trim();
    return `${said}, ${((FILE_BYTES * 8) / (performance.now() - start) / 1000).toFixed(0)} Mbit/s with Node's start`;
  }

  async tables(): Promise<string> {
    const [ports, macs, leases, flows] = await Promise.all([
      this.#ask<PortView[]>('ports'),
      this.#ask<MacView[]>('macs'),
      this.#ask<LeaseView[]>('leases'),
      this.#ask<FlowView[]>('flows'),
    ]);
    return ['', portsText(ports), macsText(macs), leasesText(leases), flowsText(flows)]
      .join('\n\n')
      .trimStart();
  }

  /** Ends what it started and removes what it made; what was never made is no fault. */
  async strike(): Promise<void> {
    if (this.#switch !== undefined) await ended(this.#switch, 'SIGTERM', 3_000);
    for (const child of this.#children) await ended(child, 'SIGKILL', 1_000);
    for (const name of [this.#red, this.#blue, this.#host, this.#lan, this.#out])
      await run('ip', ['netns', 'delete', name]).catch(() => undefined);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #ask<T>(resource: string): Promise<T> {
    return ask<T>(join(this.#folder, 'vsw0.sock'), resource);
  }

  #ip(netns: string, ...words: string[]): Promise<string> {
    return run('ip', ['-n', netns, ...words]);
  }

  #inside(netns: string, ...words: string[]): Promise<string> {
    return run('ip', ['netns', 'exec', netns, ...words], { timeoutMs: STEP_TIMEOUT_MS });
  }

  #spawn(netns: string, ...words: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', netns, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.push(child);
    return child;
  }

  async #cable(
    left: string,
    leftName: string,
    leftIp: string,
    right: string,
    rightName: string,
    rightIp: string,
  ) {
    await run('ip', [
      'link',
      'add',
      leftName,
      'netns',
      left,
      'type',
      'veth',
      'peer',
      rightName,
      'netns',
      right,
    ]);
    for (const [netns, name, address] of [
      [left, leftName, leftIp],
      [right, rightName, rightIp],
    ] as const) {
      await this.#ip(netns, 'addr', 'add', address, 'dev', name);
      await this.#ip(netns, 'link', 'set', name, 'up');
    }
  }
}

/** Waits for a line that matches; the child's end or the time's is an error that quotes what it said last. */
function lineFrom(child: ChildProcess, wanted: RegExp, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`${why}: ${said.trim().split('\n').slice(-3).join(' / ')}`));
    };
    const timer = setTimeout(() => fail(`no '${wanted.source}' in ${timeoutMs} ms`), timeoutMs);
    const hear = (chunk: Buffer): void => {
      said += chunk.toString();
      if (!wanted.test(said)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('exit', code => fail(`it ended with code ${code}`));
    child.once('error', error => fail(error.message));
  });
}

function ended(child: ChildProcess, signal: NodeJS.Signals, patienceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise(resolve => {
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill(signal);
  });
}
