/** Which interfaces can be a part of a switch: what the kernel's lists say of them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OperatorError } from '../../src/errors.ts';
import { checkBridgeable } from '../../src/host/lan.ts';
import { loadNative } from '../../src/port/native.ts';

/** What is said of the one interface that every machine has, if the kernel listed it so. */
function verdict(type: string, ...signs: string[]): string {
  const links = mkdtempSync(join(tmpdir(), 'vswitchd-links-'));
  try {
    mkdirSync(join(links, 'lo'));
    writeFileSync(join(links, 'lo', 'type'), `${type}\n`);
    for (const sign of signs) mkdirSync(join(links, 'lo', sign));
    checkBridgeable(loadNative(), 'lo', links);
    return 'fine';
  } catch (error) {
    assert.instance(error, OperatorError);
    assert.is((error as OperatorError).exitCode, 2);
    return (error as OperatorError).message;
  } finally {
    rmSync(links, { recursive: true });
  }
}

test('Ethernet is fine; wireless and others are not', () => {
  assert.is(verdict('1'), 'fine');
  assert.match(verdict('1', 'wireless'), /^--uplink bridge:lo: is wireless, .*; expected/);
  assert.match(verdict('1', 'phy80211'), /is wireless/);
  assert.match(verdict('772'), /is no Ethernet interface; expected/);
});

test.run();
