/** Port forwards on the host: which ports it can give away, and the set in our own table that its rules look in. */
import { readFileSync } from 'node:fs';
import type { Config, Forward } from '../config.ts';
import { tableName } from './plan.ts';
import { run } from './run.ts';

const LISTEN = '0A'; // states of /proc/net/tcp and its likes, include/net/tcp_states.h
const UNCONNECTED = '07';

/** Makes the ports that the host's rules pass on exactly these. They stand in our own table and go with it. */
export async function setForwards(config: Config, forwards: readonly Forward[]): Promise<void> {
  const set = `inet ${tableName(config.name)} forwards`;
  const elements = forwards.map(({ protocol, port }) => `${protocol} . ${port}`).join(', ');
  const lines = [`flush set ${set}`, ...(elements === '' ? [] : [`add element ${set} { ${elements} }`])];
  await run('nft', ['-f', '-'], { input: lines.map(line => `${line}\n`).join('') });
}

/** Why a port can't be forwarded, as the end of a sentence; undefined: no program of this host has it. */
export function portTaken({ protocol, port }: Forward): string | undefined {
  const wanted = protocol === 'tcp' ? LISTEN : UNCONNECTED;
  const isTaken = [protocol, `${protocol}6`].some(name =>
    socketsIn(`/proc/net/${name}`).some(socket => socket.port === port && socket.state === wanted),
  );
  return isTaken
    ? `a program of this host has ${protocol} port ${port} (see ss -lnp); expected a port that is free`
    : undefined;
}

interface Socket {
  readonly port: number;
  readonly state: string;
}

function socketsIn(path: string): Socket[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return []; // a kernel without IPv6
  }
  return [...text.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) /gm)].map(
    ([, port = '', state = '']) => ({ port: Number.parseInt(port, 16), state }),
  );
}
