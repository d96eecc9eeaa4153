/** Replay with what a hostile guest is kept to: the same limits as in a running switch, on the guests' ports alone. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readReplayConfig } from '../src/config.ts';
import { type ReplayInput, type ReplayResult, replay } from '../src/replay.ts';
import { parseIp4 } from '../src/wire/address.ts';
import { arpFrame } from './netns/guest.ts';

const GATEWAY = parseIp4('192.168.100.1')!;

/** A guest of this MAC asks for the gateway from an address. */
const asks = (seconds: number, lo: number, source: string): ReplayInput['frames'][number] => {
  const data = arpFrame(lo, parseIp4(source)!, GATEWAY);
  return { seconds, nanoseconds: 0, data, originalLength: data.length };
};

const run = (
  given: Record<string, string | string[]>,
  inputs: readonly ReplayInput[],
): Promise<ReplayResult> => replay(readReplayConfig({ subnet: '192.168.100.0/24', ...given }), inputs);

test('a strict guard hears who has his address by reservation, by MAC or by port, and nobody else', async () => {
  const hosts = ['a,02:42:00:00:00:01,192.168.100.11', 'b,second,192.168.100.12'];
  const given = { guard: 'strict', host: hosts, port: ['stream:/x,name=other', 'stream:/y,name=second'] };
  const { ports } = await run(given, [
    { port: 'first', frames: [asks(1, 1, '192.168.100.11'), asks(2, 1, '192.168.100.12')] },
    { port: 'second', frames: [asks(3, 2, '192.168.100.12'), asks(4, 2, '192.168.100.11')] },
  ]);
  for (const name of ['first', 'second']) {
    assert.equal(ports[name]?.counters.drops, { GuardAddress: 1 }, name);
    assert.is(ports[name]?.sent.filter(({ data }) => data[21] === 2).length, 1, name);
  }
});

test('a port has as many addresses as it may, and the uplink as many as it likes', async () => {
  const frames = [1, 2, 3, 4].map(lo => asks(lo, lo, `192.168.100.${lo + 10}`));
  const { ports } = await run({ 'port-macs': '3' }, [
    { port: 'uplink', frames: frames.map(frame => ({ ...frame })) },
    { port: 'tap0', frames },
  ]);
  assert.is(ports.tap0?.counters.drops.MacLimit, 1);
  assert.is(ports.uplink?.counters.drops.MacLimit, undefined);
});

test.run();
