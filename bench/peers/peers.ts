/**
 * The switch beside its peers, all standing at once and measured in turn: TCP and short frames between two namespaces, and TCP
 * from a guest through a gateway to a server outside. A peer whose program is not installed is left out, with a word.
 */
import { inLab, type Lab } from '../../src/lab.ts';
import { bridgeWay, type Ends, makeEnds, middle, packetWay, switchWay, type Way } from '../stage.ts';
import { flood, tcp } from '../traffic.ts';
import {
  type Gateways,
  type Guest,
  kernelGuest,
  makeOutside,
  ourGuest,
  pastaGuest,
  SERVER,
  slirpGuest,
} from './gateways.ts';
import { loopWay, ovsWay, vdeWay } from './switches.ts';

/** What was measured, and by peer what came out. */
export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly by: Readonly<Record<string, number>>;
}

const ROUNDS = 5;
const FRAME_BYTES = 60;

const SWITCHES: readonly ((lab: Lab, ends: Ends) => Promise<Way>)[] = [
  switchWay,
  packetWay,
  bridgeWay,
  vdeWay,
  ovsWay,
  loopWay,
];
const GATEWAYS: readonly ((lab: Lab, gateways: Gateways) => Promise<Guest>)[] = [
  ourGuest,
  kernelGuest,
  slirpGuest,
  pastaGuest,
];

export async function peersBench(): Promise<Row[]> {
  return [...(await inLab('peers', switches)), ...(await inLab('gates', gateways))];
}

async function switches(lab: Lab): Promise<Row[]> {
  const ends = await makeEnds(lab);
  const ways = await present(SWITCHES, make => make(lab, ends));
  return [
    await compare('TCP, iperf3', 'Gbit/s', ways, way => tcp(lab, ends.red, ends.blue, way.target)),
    await compare(
      `${FRAME_BYTES} B frames, trafgen`,
      'M frames/s',
      ways,
      async way => (await flood(lab, ends, way, FRAME_BYTES)).delivered,
    ),
  ];
}

async function gateways(lab: Lab): Promise<Row[]> {
  const around = await makeOutside(lab);
  const guests = await present(GATEWAYS, make => make(lab, around));
  const bits =
    (...words: string[]) =>
    (guest: Guest) =>
      tcp(lab, guest.netns, around.outside, SERVER, ...words);
  return [
    await compare('guest to outside, TCP', 'Gbit/s', guests, bits()),
    await compare('outside to guest, TCP', 'Gbit/s', guests, bits('-R')),
  ];
}

/** Those that could be started. */
async function present<M, P>(makers: readonly M[], start: (make: M) => Promise<P>): Promise<P[]> {
  const started: P[] = [];
  for (const make of makers) {
    try {
      started.push(await start(make));
    } catch (error) {
      console.error(`bench: left out: ${(error as Error).message}`);
    }
  }
  return started;
}

/** Round by round each peer in turn, so that a slow minute of the machine is everybody's. */
async function compare<P extends { readonly name: string }>(
  what: string,
  unit: string,
  peers: readonly P[],
  measure: (peer: P) => Promise<number>,
): Promise<Row> {
  const values = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS; round++)
    for (const peer of peers) values.get(peer.name)?.push(await measure(peer));
  return {
    what,
    unit,
    by: Object.fromEntries([...values].map(([name, measured]) => [name, middle(measured)])),
  };
}
