/** An upgrade to a program that understands another form of the hand-over: it says so, and takes nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SUCCEEDS } from '../../src/handover/channel.ts';
import { projectRoot } from '../../src/port/native.ts';
import { enterNamespace } from '../port/namespace.ts';

enterNamespace(import.meta.url);

for (const form of [undefined, 99])
  test(`a switch that hands over by form ${form} is told that it has to go on`, async () => {
    const words = ['--subnet', '192.168.100.0/24', '--taps', 'tap0'];
    const child = spawn(join(projectRoot(), 'bin', 'vswitchd'), words, {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: { ...process.env, [SUCCEEDS]: String(process.pid) },
    });
    const ended = once(child, 'exit');
    let said = '';
    child.stderr?.on('data', chunk => {
      said += String(chunk);
    });
    const channel = child.stdio[3] as Socket;
    channel.on('error', () => undefined); // its end is known by the exit
    channel.write(
      `${JSON.stringify({ say: 'hello', form, pid: process.pid, written: {}, tun: -1, sockets: [] })}\n`,
    );
    const [answer] = (await once(channel.setEncoding('utf8'), 'data')) as [string];
    const { say, why } = JSON.parse(answer) as { say: string; why: string };
    assert.is(say, 'failed');
    assert.match(why, /takes over by form \d+, .* hands over by form \d+; expected a stop and a start/);
    const [code] = (await ended) as [number];
    assert.is(code, 3);
    assert.match(said, why);
  });

test.run();
