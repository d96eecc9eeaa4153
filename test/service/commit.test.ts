/** Group commit: who waits for the disk, with whom, and what becomes of all of it when the disk refuses. */
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/dhcp.ts';
import { GroupCommit } from '../../src/service/dhcp/commit.ts';
import { type Change, type LeaseRecord, LeaseState } from '../../src/service/dhcp/leases.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';

const change = (last: number): Change => {
  const address = ip(`192.168.100.${last}`);
  const after: LeaseRecord = {
    ip: address,
    state: LeaseState.Bound,
    key: `hw:1:${last}`,
    mac: '',
    hostname: '',
    port: 'tap0',
    expiresS: 1,
  };
  return { ip: address, before: undefined, after };
};

/** A store that takes as long as it is told to, and fails when it is told to. */
class SlowStore extends MemoryStore {
  fails = false;
  release: (() => void) | undefined;
  override async commit(): Promise<void> {
    await new Promise<void>(resolve => {
      this.release = resolve;
    });
    if (this.fails) throw new Error('the disk is full');
    await super.commit();
  }
}

function bench(store: MemoryStore) {
  const heard: string[] = [];
  const text = (changes: readonly Change[]): string => changes.map(({ after }) => after?.key).join();
  const commit = new GroupCommit({
    store,
    stored: changes => heard.push(`stored ${text(changes)}`),
    failed: changes => heard.push(`failed ${text(changes)}`),
  });
  const add = (last: number): void =>
    commit.add([change(last)], stored => heard.push(`${last} ${stored ? 'yes' : 'no'}`));
  return { commit, heard, add };
}

test('what comes in one turn shares a commit, and so does what comes soon after it', async () => {
  const store = new MemoryStore();
  const { commit, heard, add } = bench(store);
  add(1);
  add(2);
  await commit.settled();
  assert.equal(heard, ['stored hw:1:1,hw:1:2', '1 yes', '2 yes']);
  for (let last = 3; last < 23; last++) {
    add(last);
    await turn();
  }
  await commit.settled();
  assert.is(store.records.size, 22);
  assert.ok(store.commits < 11, `${store.commits} commits for 21 turns`);
});

test('nobody hears anything before the commit has ended', async () => {
  const store = new SlowStore();
  const { commit, heard, add } = bench(store);
  add(1);
  await pause(10);
  assert.equal(heard, []);
  assert.ok(commit.pending);
  store.release?.();
  await commit.settled();
  assert.equal(heard, ['stored hw:1:1', '1 yes']);
  assert.not.ok(commit.pending);
});

test('with a failed commit goes what was added while it ran; the next one is a new beginning', async () => {
  const store = new SlowStore();
  store.fails = true;
  const { commit, heard, add } = bench(store);
  add(1);
  await pause(5);
  add(2);
  store.release?.();
  await commit.settled();
  assert.equal(heard.splice(0), ['failed hw:1:1,hw:1:2', '1 no', '2 no']);
  store.fails = false;
  add(3);
  await pause(10);
  store.release?.();
  await commit.settled();
  assert.equal(heard, ['stored hw:1:3', '3 yes']);
});

test.run();
