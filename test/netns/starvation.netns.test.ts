// timeout: 120 s
// coverage: none
/** A guest that asks with thousands of MACs gets what there is; who has an address keeps it, and the operator is told once. */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { ended, type Lab, until } from '../../src/lab.ts';
import { addGuest, addressed, type Ear, type Guest, leaseOf, listen, tapsOf, udhcpc } from './dhcp.ts';
import { portOf, type Stage, SUBNET, stageTests } from './stage.ts';

const inStage = stageTests('sv', import.meta.url);
const ROUND = ['DISCOVER', 'OFFER', 'REQUEST selecting', 'ACK'];

interface Crowd {
  /** Has had an address before the others came. */
  readonly known: Guest;
  readonly address: string;
  readonly client: ChildProcess;
  readonly ear: Ear;
  /** What the switch has logged. */
  readonly told: () => string;
}

/** Leases in a state. */
const count = async (lab: Lab, wanted: string): Promise<number> =>
  (await lab.ask<LeaseView[]>('leases')).filter(({ state }) => state === wanted).length;

/** A switch for such a subnet with a client on one port; then another port asks, till so many leases are in that state. */
async function crowd(
  { lab, host }: Stage,
  subnet: string,
  words: readonly string[],
  [wanted, state]: readonly [number, string],
): Promise<Crowd> {
  const [hostile, known] = [await addGuest(lab, 0), await addGuest(lab, 1)];
  const vswitchd = await lab.startSwitch(host, '--subnet', subnet, ...tapsOf([hostile, known]));
  let told = '';
  vswitchd.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  const ear = await listen(known);
  const client = udhcpc(known);
  const address = await addressed(known);
  // It sends from an address of its own, as a relay would.
  await lab.ip(hostile.netns, 'addr', 'add', '192.168.100.2/24', 'dev', hostile.tap);
  const load = ['-4', '-l', hostile.tap, '-r', '2500', '-p', '20', ...words, 'all'];
  lab.spawn(hostile.netns, 'perfdhcp', ...load);
  await until(`${wanted} leases are ${state}`, 15_000, async () => {
    await new Promise(resolve => setTimeout(resolve, 200)); // the list is long
    return (await count(lab, state)) >= wanted;
  });
  return { known, address, client, ear, told: () => told };
}

inStage(
  "all addresses taken by one port: another's client renews, and comes back to its own",
  async stage => {
    const all = [244, 'bound'] as const; // .10 to .253
    const { known, address, client, ear, told } = await crowd(stage, SUBNET, ['-R', '5000'], all);
    client.kill('SIGUSR1');
    await ear.expect([...ROUND, 'REQUEST renewing', 'ACK']);
    await ended(client, 'SIGKILL', 1_000);
    udhcpc(known, '-q');
    await ear.expect([...ROUND, 'REQUEST renewing', 'ACK', ...ROUND]);
    assert.is((await leaseOf(known))?.address, address);
    assert.is(await count(stage.lab, 'bound'), 244);
    assert.is(told().match(/gets no address, as none is left/g)?.length, 1, told());
  },
);

inStage(
  "as many offers as a port may have taken by one: another's client that starts anew gets its own",
  async stage => {
    const all = [2_048, 'offered'] as const;
    const words = ['-i', '-R', '50000']; // it does not take up what it is offered
    const { known, address, client, ear } = await crowd(stage, '192.168.0.0/16', words, all);
    await ended(client, 'SIGKILL', 1_000);
    udhcpc(known, '-q');
    await ear.expect([...ROUND, ...ROUND]);
    assert.is((await leaseOf(known))?.address, address);
  },
);

/** A DISCOVER of another client each, for trafgen: Ethernet, IPv4, UDP, BOOTP, the cookie, option 53. */
const DISCOVER = `{ 255,255,255,255,255,255, 2, drnd(5), 8, 0,
  0x45, 0, const16(276), 0, 0, 0, 0, 64, 17, csumip(14, 33), 0, 0, 0, 0, 255, 255, 255, 255,
  const16(68), const16(67), const16(256), const16(0),
  1, 1, 6, 0, drnd(4), fill(0, 20), 2, drnd(5), fill(0, 202), 99, 130, 83, 99, 53, 1, 1, 255, fill(0, 4) }`;

inStage(
  "a flood of questions on one port: another's client is answered at its first",
  async ({ lab, host }) => {
    const [hostile, known] = [await addGuest(lab, 0), await addGuest(lab, 1)];
    await lab.startSwitch(host, '--subnet', SUBNET, ...tapsOf([hostile, known]));
    const ear = await listen(known);
    const client = udhcpc(known, '-T', '5'); // it asks again after that long
    await addressed(known);
    const config = join(hostile.folder, 'discover.cfg');
    writeFileSync(config, DISCOVER);
    lab.spawn(hostile.netns, 'trafgen', '-o', hostile.tap, '-c', config, '-P', '1', '-q');
    await until('a lot could not wait', 10_000, async () => {
      const port = await portOf(lab, hostile.tap);
      return port.rxFrames > 100_000 && (port.drops.PuntFull ?? 0) > 10_000;
    });
    const expected = [...ROUND];
    for (let i = 0; i < 5; i++) {
      await new Promise(resolve => setTimeout(resolve, 1_200)); // while it is busy with an answer, it would begin anew
      client.kill('SIGUSR1');
      await ear.expect(expected.concat('REQUEST renewing', 'ACK'), 4_000);
      expected.push('REQUEST renewing', 'ACK');
    }
  },
);

test.run();
