/** Sockets for guests' monitors: what is left when one can't be made as it should be. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { SocketConfig } from '../../src/config.ts';
import { GuestSockets } from '../../src/host/guestsockets.ts';
import { loadNative } from '../../src/port/native.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-guestsockets-'));
test.after(() => rmSync(folder, { recursive: true }));

/** No group's number. */
const NO_GROUP = 2 ** 32;

const native = loadNative();
const path = join(folder, 'vm1.sock');
const CONFIGS: readonly SocketConfig[] = [
  { kind: 'stream', name: 'vm1', path, mode: 'server', guests: 1 },
  { kind: 'dgram', name: 'vm1', path, peer: undefined },
];

for (const config of CONFIGS)
  test(`${config.kind}: a socket whose group can't be set leaves no file and nothing open`, () => {
    const unasked = (): never => {
      throw new Error('nobody is there');
    };
    const sockets = new GuestSockets({
      ...{ native, mtu: 1500, group: NO_GROUP },
      listener: { attach: unasked, detach: unasked, added: unasked, removed: unasked, warn: unasked },
    });
    const open = (): number => readdirSync('/proc/self/fd').length;
    const before = open();
    assert.throws(() => sockets.open(config), /no socket can be made/);
    assert.is(open(), before);
    assert.not(existsSync(path));
  });

test.run();
