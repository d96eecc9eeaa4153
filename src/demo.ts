/**
 * `vswitchd demo`: the whole job on one machine without a VM. Five network namespaces stand for two guests, the host that
 * runs the switch, its LAN's router and a server outside; real clients do what guests do, and each step is timed.
 *
 *   red  ── tap ┐                                            each name with a prefix and this process's number,
 *               ├ switch (vswitchd) ── lan (router) ── out   and all of it gone afterwards
 *   blue ── tap ┘      192.168.100.0/24    198.51.100/24  203.0.113/24
 */
import { flowsText, leasesText, macsText, portsText } from './control/screen.ts';
import type { FlowView, LeaseView, MacView, PortView } from './control/views.ts';
import { OperatorError } from './errors.ts';
import { findTool } from './host/run.ts';
import { inLab, type Lab, lineFrom, until } from './lab.ts';

const SUBNET = '192.168.100.0/24';
const GATEWAY = '192.168.100.1';
const OUTSIDE = '203.0.113.2';
const FILE_BYTES = 8 << 20;
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
  return inLab('demo', async lab => {
    const stage = new DemoStage(lab);
    const passed = await play(stage.steps(), print);
    if (passed) print(await stage.tables());
    return passed;
  });
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
  readonly #lab: Lab;
  #red = '';
  #blue = '';
  #host = '';

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  steps(): readonly Step[] {
    const lab = this.#lab;
    return [
      { title: 'namespaces for two guests, the host, a LAN, outside', act: () => this.#build() },
      { title: `vswitchd --subnet ${SUBNET} --taps tap0,tap1`, act: () => this.#start() },
      {
        title: 'tap0 moves into red while the switch runs',
        act: () => this.#move('tap0', this.#red, 'tap0'),
      },
      {
        title: 'tap1 moves into blue, renamed eth0 at once',
        act: () => this.#move('tap1', this.#blue, 'eth0'),
      },
      { title: 'red takes a lease', act: () => lab.lease(this.#red, 'tap0') },
      { title: 'blue takes a lease', act: () => lab.lease(this.#blue, 'eth0') },
      { title: 'red pings the gateway', act: () => this.#ping(this.#red, GATEWAY) },
      {
        title: 'red pings blue',
        act: async () => this.#ping(this.#red, await lab.address(this.#blue, 'eth0')),
      },
      {
        title: 'the host pings red',
        act: async () => this.#ping(this.#host, await lab.address(this.#red, 'tap0')),
      },
      { title: 'blue pings the outside, through the NAT', act: () => this.#ping(this.#blue, OUTSIDE) },
      { title: 'red fetches 8 MiB from the outside, through the NAT', act: () => this.#fetch(this.#red) },
    ];
  }

  async #build(): Promise<string> {
    const lab = this.#lab;
    this.#red = await lab.netns('red');
    this.#blue = await lab.netns('blue');
    this.#host = await lab.netns('host');
    const router = await lab.netns('lan');
    const out = await lab.netns('out');
    await lab.cable([this.#host, 'eth0', '198.51.100.2/24'], [router, 'lan0', '198.51.100.1/24']);
    await lab.cable([router, 'wan0', '203.0.113.1/24'], [out, 'eth0', `${OUTSIDE}/24`]);
    await lab.ip(this.#host, 'route', 'add', 'default', 'via', '198.51.100.1');
    await lab.ip(out, 'route', 'add', 'default', 'via', '203.0.113.1');
    await lab.inside(router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    await lineFrom(lab.spawn(out, process.execPath, '-e', SERVE), /listening/, STEP_TIMEOUT_MS);
    return '';
  }

  async #start(): Promise<string> {
    const start = performance.now();
    await this.#lab.startSwitch(this.#host, '--subnet', SUBNET, '--taps', 'tap0,tap1');
    return `ready after ${Math.round(performance.now() - start)} ms`;
  }

  async #move(tap: string, netns: string, name: string): Promise<string> {
    await this.#lab.ip(this.#host, 'link', 'set', tap, 'netns', netns, 'name', name);
    const ms = await until(`${tap} is served at its device end`, STEP_TIMEOUT_MS, async () => {
      const ports = await this.#lab.ask<PortView[]>('ports');
      return ports.some(port => port.name === tap && port.kind === 'tap' && port.up);
    });
    await this.#lab.ip(netns, 'link', 'set', name, 'up');
    return `served at its device end after ${Math.round(ms)} ms`;
  }

  async #ping(netns: string, address: string): Promise<string> {
    const average = /= [\d.]+\/([\d.]+)\//.exec(await this.#lab.ping(netns, address))?.[1];
    return average === undefined ? address : `${address} in ${average} ms`;
  }

  async #fetch(netns: string): Promise<string> {
    const start = performance.now();
    const said = (await this.#lab.inside(netns, process.execPath, '-e', FETCH)).trim();
    return `${said}, ${((FILE_BYTES * 8) / (performance.now() - start) / 1000).toFixed(0)} Mbit/s with Node's start`;
  }

  async tables(): Promise<string> {
    const lab = this.#lab;
    const [ports, macs, leases, flows] = await Promise.all([
      lab.ask<PortView[]>('ports'),
      lab.ask<MacView[]>('macs'),
      lab.ask<LeaseView[]>('leases'),
      lab.ask<FlowView[]>('flows'),
    ]);
    return `\n${[portsText(ports), macsText(macs), leasesText(leases), flowsText(flows)].join('\n\n')}`;
  }
}
