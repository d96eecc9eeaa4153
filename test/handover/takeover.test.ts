/** What a new process makes of what it was left. */
import { fstatSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeftData } from '../../src/handover/predecessor.ts';
import { heldFiles } from '../../src/handover/takeover.ts';
import { loadNative } from '../../src/port/native.ts';

const native = loadNative();

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

test('a front end whose transcript is not whole loses its connection, and has to join anew', () => {
  const [connection, peer] = native.socketPair();
  const [transcript, written] = native.socketPair();
  const guest = { name: 'vm', file: connection, transcript };
  const left = (transcribed: readonly string[]): LeftData => ({
    ...{
      flows: new Int32Array(0),
      neighbours: new Int32Array(0),
      macs: [],
      taps: [],
      bytes: [],
      stoppedMs: 0,
      transcribed,
    },
    sockets: [{ name: 'vm', file: -1, guests: [guest] }],
  });
  assert.equal(heldFiles(left(['vm'])).sockets, [
    { name: 'vm', fd: -1, rest: undefined, guests: [{ name: 'vm', fd: connection, transcript }] },
  ]);
  assert.ok(isOpen(connection) && isOpen(transcript));
  assert.equal(heldFiles(left([])).sockets, [{ name: 'vm', fd: -1, rest: undefined, guests: [] }]);
  assert.not.ok(isOpen(connection) || isOpen(transcript));
  for (const fd of [peer, written]) native.close(fd);
});

test('what a stream held goes along by its name', () => {
  const guest = { name: 'vm.2', file: 40, transcript: -1 };
  const held = heldFiles({
    ...{
      flows: new Int32Array(0),
      neighbours: new Int32Array(0),
      macs: [],
      taps: [],
      transcribed: [],
      stoppedMs: 0,
    },
    bytes: [{ name: 'vm.2', received: 'AAEC', unsent: '' }],
    sockets: [{ name: 'vm', file: 39, guests: [guest] }],
  });
  const [socket] = held.sockets;
  assert.is(socket?.fd, 39);
  assert.equal([...(socket?.guests[0]?.rest?.received ?? [])], [0, 1, 2]);
});

test.run();
