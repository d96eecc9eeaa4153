/** What monitors are told of ports. QEMU's words are tried on QEMU in test/netns/ctl.netns.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { adviceFor, type Monitor, type Plug, shellWord } from '../../src/control/monitors.ts';

const MAC = '02:00:00:00:00:01';
const words = (monitor: Monitor, plug: Plug): string => {
  const advice = adviceFor(monitor, plug, MAC, '512M');
  return 'refused' in advice ? `refused: ${advice.refused}` : advice.arguments.join(' ');
};
const vhost = { kind: 'vhost-user', path: '/run/v', mode: 'server', queues: 1 } as const;

test('QEMU: who listens is said from its side', () => {
  assert.match(words('qemu', { kind: 'stream', path: '/run/s', mode: 'server' }), 'server=off');
  assert.match(words('qemu', { kind: 'stream', path: '/run/s', mode: 'client' }), 'server=on');
  assert.not.match(words('qemu', vhost), 'server');
  assert.match(words('qemu', { ...vhost, mode: 'client' }), 'path=/run/v,server=on,wait=off');
});

test('QEMU: several queues, and commas in a path', () => {
  assert.match(words('qemu', { ...vhost, queues: 4 }), /queues=4.*mq=on,vectors=10$/);
  assert.match(
    words('qemu', { kind: 'dgram', path: '/a,b', peer: '/c' }),
    'local.path=/c,remote.type=unix,remote.path=/a,,b',
  );
});

test('Firecracker: taps as JSON, and nothing else', () => {
  assert.equal(JSON.parse(words('firecracker', { kind: 'tap', name: 'tap0' })), {
    'network-interfaces': [{ iface_id: 'eth0', guest_mac: MAC, host_dev_name: 'tap0' }],
  });
  assert.is(words('firecracker', vhost), 'refused: Firecracker has taps alone, no vhost-user');
});

test('cloud-hypervisor: taps and vhost-user', () => {
  assert.is(words('cloud-hypervisor', { kind: 'tap', name: 'tap0' }), `--net tap=tap0,mac=${MAC}`);
  assert.is(
    words('cloud-hypervisor', { ...vhost, mode: 'client', queues: 2 }),
    `--memory size=512M,shared=on --net vhost_user=true,socket=/run/v,num_queues=4,mac=${MAC},vhost_mode=server`,
  );
  assert.match(
    words('cloud-hypervisor', { kind: 'dgram', path: '/d', peer: undefined }),
    /^refused: .*no dgram$/,
  );
});

test('words for a shell', () => {
  assert.is(shellWord('tap,id=net0,script=no'), 'tap,id=net0,script=no');
  assert.is(shellWord("it's"), `'it'\\''s'`);
  assert.is(shellWord('{"a": 1}'), `'{"a": 1}'`);
});

test.run();
