/** `vswitchctl qemu PORT`: how a virtual machine monitor is told of a port of the running switch. */
import { createHash } from 'node:crypto';
import { ask } from './control/client.ts';
import { type Advice, adviceFor, MONITORS, type Monitor, type Plug, shellWord } from './control/monitors.ts';
import type { LeaseView, MacView, PortView, StatusView } from './control/views.ts';
import { OperatorError } from './errors.ts';
import { parseOne } from './settings/ports.ts';
import { Refusal } from './settings/schema.ts';

export interface QemuOptions {
  readonly for?: string;
  readonly memory: string;
}

/** What is printed with --json. */
export interface Advised {
  readonly port: string;
  readonly mac: string;
  /** Where the monitor must be started: the namespace that the tap is in. */
  readonly netns?: string;
  readonly monitors: Readonly<Partial<Record<Monitor, Advice>>>;
}

export async function advise(socketPath: string, name: string, options: QemuOptions): Promise<Advised> {
  const monitors = options.for === undefined ? MONITORS : [monitorIn(options.for)];
  if (!/^[1-9]\d{0,9}[KMGT]?$/.test(options.memory))
    throw usage(`qemu --memory ${options.memory}: expected a size such as 512M or 2G`);
  const ports = await ask<PortView[]>(socketPath, 'ports');
  const port = ports.find(each => each.name === name);
  if (port === undefined)
    throw usage(
      `qemu ${name}: there is no such port; expected one of ${ports.map(each => each.name).join(', ')}`,
    );
  if (port.made === undefined)
    throw usage(`qemu ${name}: no guest is plugged in there; expected a port that was configured or added`);
  const made = parseOne(port.made);
  if (made instanceof Refusal) throw new Error(`the switch calls a port ${port.made}, which ${made.why}`);
  if (made.kind === 'pcap') throw usage(`qemu ${name}: it is a capture file; expected a port for a guest`);
  const plug: Plug = made;
  const mac = await macOf(socketPath, name);
  return {
    port: name,
    mac,
    ...(port.netns === undefined ? {} : { netns: port.netns }),
    monitors: Object.fromEntries(
      monitors.map(monitor => [monitor, adviceFor(monitor, plug, mac, options.memory)]),
    ),
  };
}

/** For a shell: with one monitor its arguments alone, else a comment before each. */
export function adviceText({ port, netns, monitors }: Advised): string {
  const all = Object.entries(monitors);
  const where = netns === undefined ? [] : [`# ${port} is in the namespace ${netns}: start it there`];
  return [
    ...where,
    ...all.map(([monitor, advice]) => {
      if ('refused' in advice) return `# ${monitor}: ${advice.refused}`;
      const note = advice.note === undefined ? '' : `; ${advice.note}`;
      const words = advice.arguments.map(shellWord).join(' ');
      return all.length === 1 ? words : `# ${monitor}${note}\n${words}`;
    }),
  ].join('\n');
}

/**
 * The guest's that has a lease there or, without one, is seen there: so it keeps its address. Where there is none, or
 * there are several, one that is locally administered and always the same for that port of that switch.
 */
async function macOf(socketPath: string, name: string): Promise<string> {
  const leases = await ask<LeaseView[]>(socketPath, 'leases');
  const bound = new Set(
    leases.filter(({ port, state }) => port === name && state === 'bound').map(({ mac }) => mac),
  );
  if (bound.size === 1) return [...bound].join();
  const macs = await ask<MacView[]>(socketPath, 'macs');
  const seen = new Set(macs.filter(({ port }) => port === name).map(({ mac }) => mac));
  if (bound.size === 0 && seen.size === 1) return [...seen].join();
  const { name: switchName } = await ask<StatusView>(socketPath, 'status');
  const hash = createHash('sha256').update(`vswitchd guest ${switchName} ${name}`).digest();
  return ['02', ...[0, 1, 2, 3, 4].map(at => hash.subarray(at, at + 1).toString('hex'))].join(':');
}

function monitorIn(text: string): Monitor {
  const monitor = MONITORS.find(each => each === text);
  if (monitor !== undefined) return monitor;
  throw usage(`qemu --for ${text}: expected ${MONITORS.slice(0, -1).join(', ')} or ${MONITORS.at(-1)}`);
}

const usage = (message: string): OperatorError => new OperatorError(message, { code: 'Usage' });
