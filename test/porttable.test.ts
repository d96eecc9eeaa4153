/** Which port has which index: names that rules are about keep theirs while their ports come and go. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readConfig } from '../src/config.ts';
import { GATEWAY_PORT } from '../src/dataplane/batch.ts';
import { PortTable } from '../src/porttable.ts';

const table = (): PortTable =>
  new PortTable(readConfig({ subnet: '10.0.0.0/24', taps: 'tap0,tap1' }), () => undefined);

test('a name that is kept has its index before its port comes, and nobody else gets it', () => {
  const ports = table();
  assert.is(ports.indexFor('vm1'), -1);
  assert.ok(ports.keep(['tap0', 'tap1', 'vm1']));
  const kept = ports.indexFor('vm1');
  assert.ok(ports.add('other', 'stream'));
  assert.is.not(ports.indexOf('other'), kept);
  assert.ok(ports.add('vm1', 'stream'));
  assert.is(ports.indexOf('vm1'), kept);
  ports.remove('vm1');
  assert.is(ports.indexFor('vm1'), kept);
});

test('a port that is there keeps its index when its name comes to be kept', () => {
  const ports = table();
  ports.add('vm1', 'stream');
  const index = ports.indexOf('vm1');
  assert.ok(ports.keep(['tap0', 'tap1', 'vm1']));
  ports.remove('vm1');
  ports.add('other', 'stream');
  assert.is(ports.indexFor('vm1'), index);
  assert.is.not(ports.indexOf('other'), index);
});

test('names that are kept no more give their indices back, once their ports have gone', () => {
  const ports = table();
  const [gone, stays] = [ports.indexOf('tap0'), ports.indexOf('tap1')];
  ports.remove('tap0');
  assert.ok(ports.keep([]));
  const indices = Array.from({ length: GATEWAY_PORT - 2 }, (_, number) => {
    assert.ok(ports.add(`p${number}`, 'stream'), `port ${number}`);
    return ports.indexOf(`p${number}`);
  });
  assert.ok(indices.includes(gone));
  assert.not(indices.includes(stays));
  assert.is(new Set(indices).size, indices.length);
  assert.not(ports.add('more', 'stream'));
  assert.not(ports.keep(['more']), 'there is no index left');
  assert.is(ports.indexFor('more'), -1);
  ports.remove('tap1');
  assert.ok(ports.keep(['more']));
  assert.is(ports.indexFor('more'), stays);
});

test.run();
