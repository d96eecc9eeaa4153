/** What a port that is a capture file takes behind its path: `mode=record,limit=100M,files=5`, `mode=replay,speed=2`. */
import type { PcapConfig } from '../config.ts';
import { MAX_CAPTURED } from '../wire/pcap.ts';
import { Refusal } from './schema.ts';

/** What stands behind a port's first comma, by key. */
export type Keys = ReadonlyMap<string, string>;

/** The keys of each mode. */
export const PCAP_KEYS = {
  record: ['limit', 'files', 'snaplen'],
  replay: ['speed', 'loop'],
} as const;

const [KILO, MEGA, GIGA] = [1_024, 1_048_576, 1_073_741_824];
const UNITS: Readonly<Record<string, number>> = { '': 1, K: KILO, M: MEGA, G: GIGA };
const [LEAST_LIMIT, USUAL_LIMIT, MOST_LIMIT] = [256 * KILO, 100 * MEGA, 1_024 * GIGA];
const [USUAL_FILES, MOST_FILES] = [5, 1_000];
/** An Ethernet header; the most is what is read of a capture, too. */
const LEAST_SNAP = 14;
const MOST_ROUNDS = 1_000_000;
const [LEAST_SPEED, MOST_SPEED] = [0.001, 1_000];

/** Throws a Refusal. */
export function pcapIn(keys: Keys): Omit<PcapConfig, 'kind' | 'name' | 'path'> {
  const mode = modeIn(keys);
  const foreign = PCAP_KEYS[mode === 'record' ? 'replay' : 'record'].find(key => keys.has(key));
  if (foreign !== undefined)
    throw new Refusal(
      `has ${foreign}=, which mode=${mode} has no use for; expected ${PCAP_KEYS[mode].map(key => `${key}=`).join(', ')} beside it`,
    );
  return {
    mode,
    limit: limitIn(keys),
    files: wholeIn(keys, 'files', 1, MOST_FILES, USUAL_FILES),
    snapLength: wholeIn(keys, 'snaplen', LEAST_SNAP, MAX_CAPTURED, MAX_CAPTURED),
    speed: speedIn(keys),
    loop: wholeIn(keys, 'loop', 1, MOST_ROUNDS, 1),
  };
}

function modeIn(keys: Keys): PcapConfig['mode'] {
  const mode = keys.get('mode');
  if (mode === 'record' || mode === 'replay') return mode;
  throw new Refusal(
    `has ${mode === undefined ? 'no mode=' : `mode=${mode}`}; expected mode=record, which writes the file, or mode=replay, which plays it`,
  );
}

function wholeIn(keys: Keys, key: string, least: number, most: number, usual: number): number {
  const text = keys.get(key);
  if (text === undefined) return usual;
  const value = /^\d{1,7}$/.test(text) ? Number(text) : -1;
  if (value >= least && value <= most) return value;
  throw new Refusal(`has ${key}=${text}; expected a whole number from ${least} to ${most}`);
}

function limitIn(keys: Keys): number {
  const text = keys.get('limit');
  if (text === undefined) return USUAL_LIMIT;
  const [, digits = '', unit = ''] = /^(\d{1,13})([KMG]?)$/.exec(text) ?? [];
  const bytes = digits === '' ? -1 : Number(digits) * (UNITS[unit] as number);
  if (bytes >= LEAST_LIMIT && bytes <= MOST_LIMIT) return bytes;
  throw new Refusal(`has limit=${text}; expected bytes from 256K to 1024G, such as 100M`);
}

function speedIn(keys: Keys): number {
  const text = keys.get('speed');
  if (text === undefined) return 1;
  if (text === 'max') return Number.POSITIVE_INFINITY;
  const speed = /^\d{1,4}(\.\d{1,3})?$/.test(text) ? Number(text) : -1;
  if (speed >= LEAST_SPEED && speed <= MOST_SPEED) return speed;
  throw new Refusal(
    `has speed=${text}; expected max, or times the recorded pace, from ${LEAST_SPEED} to ${MOST_SPEED}, such as 2 or 0.5`,
  );
}

/** As they could have been written. */
export function pcapWords(port: PcapConfig): string[] {
  const { mode, limit, files, snapLength, speed, loop } = port;
  if (mode === 'record')
    return [
      ...[`mode=${mode}`, `limit=${limit}`, `files=${files}`],
      ...(snapLength === MAX_CAPTURED ? [] : [`snaplen=${snapLength}`]),
    ];
  return [`mode=${mode}`, `speed=${speed === Number.POSITIVE_INFINITY ? 'max' : speed}`, `loop=${loop}`];
}
