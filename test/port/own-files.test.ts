/** The data plane's thread has files of its own: what is closed here is closed, what it needs it fetches. */
import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadNative, projectRoot } from '../../src/port/native.ts';

const ADDON = join(projectRoot(), 'native/build/Release/vswitchd.node');

interface Told {
  readonly own: boolean;
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly event: string;
}

/** In a thread: what its table holds before and after, and a signal through a file that it fetches. */
const CODE = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { readdirSync, readlinkSync } = require('node:fs');
  const native = require(workerData.addon);
  const table = () => readdirSync('/proc/thread-self/fd').flatMap(fd => {
    try { return [readlinkSync('/proc/thread-self/fd/' + fd)]; } catch { return []; }
  });
  const before = table();
  const own = native.ownFiles();
  const after = table();
  const fd = own ? native.fetchFile(workerData.event) : workerData.event;
  native.eventSignal(fd);
  const event = readlinkSync('/proc/thread-self/fd/' + fd);
  if (own) native.close(fd);
  parentPort.postMessage({ own, before, after, event });
`;

test('own files: paths and sockets are not copied, an eventfd is fetched', async () => {
  const native = loadNative();
  const path = join(projectRoot(), 'package.json');
  const file = openSync(path, 'r');
  const netlink = native.netlinkOpen(0);
  const socket = readlinkSync(`/proc/self/fd/${netlink}`); // standard output may be another, which stays
  const event = native.eventCreate();
  const worker = new Worker(CODE, { eval: true, workerData: { addon: ADDON, event } });
  const ended = new Promise(resolve => worker.once('exit', resolve));
  const told = await new Promise<Told>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await ended;
  assert.ok(told.before.includes(path) && told.before.includes(socket));
  assert.is(told.own, true);
  assert.not(told.after.includes(path) || told.after.includes(socket), told.after.join(' '));
  assert.is(told.event, 'anon_inode:[eventfd]');
  const count = new BigUint64Array(1);
  readSync(event, count); // the worker's close has not closed it here
  assert.is(count[0], 1n);
  closeSync(file);
  native.close(netlink);
  native.close(event);
});

test.run();
