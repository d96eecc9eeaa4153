/** Which of the host's ports its own programs have. */
import { readFileSync } from 'node:fs';
import type { Forward } from '../config.ts';
import { formatIp4, type Ip4 } from '../wire/address.ts';

/** States in /proc/net: a TCP socket that listens; a UDP socket without a peer, which hears everybody. */
const WAITS = { tcp: '0A', udp: '07' } as const;

/**
 * Why a port of the host can't be passed on: a socket of its own waits there, and would hear nothing any more. The part of a
 * sentence, undefined when the port is free.
 */
export function portFault({ protocol, port }: Pick<Forward, 'protocol' | 'port'>): string | undefined {
  for (const file of [protocol, `${protocol}6`]) {
    const holder = waiting(file, WAITS[protocol]).find(socket => socket.port === port);
    if (holder !== undefined)
      return `${protocol}/${port} is taken on this host, by a socket at ${holder.address}; expected a port that no program waits at`;
  }
  return undefined;
}

interface Waiting {
  readonly address: string;
  readonly port: number;
}

/** Lines such as `0: 0100007F:0035 00000000:0000 0A …`: the local address as the machine has it in memory, and its port. */
function waiting(file: string, state: string): Waiting[] {
  return readLines(`/proc/net/${file}`)
    .map(line => line.trim().split(/\s+/))
    .filter(words => words[3] === state)
    .map(words => {
      const [address = '', port = ''] = (words[1] ?? '').split(':');
      return { address: addressOf(address), port: Number.parseInt(port, 16) };
    });
}

function addressOf(hex: string): string {
  if (/^0+$/.test(hex)) return 'any address';
  if (hex.length !== 8) return 'an IPv6 address';
  return formatIp4(Buffer.from(hex, 'hex').readInt32LE() as Ip4);
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(1);
  } catch {
    return []; // this kernel has no IPv6
  }
}
