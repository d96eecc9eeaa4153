/** What a service manager is told of how we do: when, and when not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { keepWatchdog, watchdogMs } from '../src/notify.ts';

test('the watchdog: as long as the manager says, if it means this process', () => {
  assert.is(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 7), 30_000);
  assert.is(watchdogMs({ WATCHDOG_USEC: '1500' }, 7), 1.5);
  assert.is(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, 7), undefined);
  for (const text of ['0', '', '-1', '1e6', '30s'])
    assert.is(watchdogMs({ WATCHDOG_USEC: text }, 7), undefined);
  assert.is(watchdogMs({}, 7), undefined);
});

test('the watchdog: two pings in its time while there are answers, none when there are none', async () => {
  const sent: string[] = [];
  let alive = true;
  const env = { WATCHDOG_USEC: '100000', NOTIFY_SOCKET: '/run/notify' };
  const end = keepWatchdog(
    () => alive,
    env,
    (path, text) => void sent.push(`${path} ${text}`),
  );
  await sleep(280);
  assert.ok(sent.length >= 3 && sent.length <= 5, sent.join());
  assert.equal([...new Set(sent)], ['/run/notify WATCHDOG=1']);
  alive = false;
  sent.length = 0;
  await sleep(120);
  assert.equal(sent, []);
  alive = true;
  await sleep(120);
  assert.ok(sent.length > 0);
  end();
  sent.length = 0;
  await sleep(120);
  assert.equal(sent, []);
});

test('the watchdog: a manager without one is told nothing, and nothing is asked', () => {
  const unasked = (): never => {
    throw new Error('nobody wants to know');
  };
  keepWatchdog(unasked, { NOTIFY_SOCKET: '/run/notify' }, unasked)();
});

test.run();
