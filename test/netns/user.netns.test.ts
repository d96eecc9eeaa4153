// timeout: 120 s
// coverage: none
/** `--user`: no thread is root's, three rights are left, and the host is as before after an end, and after a kill. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, lineFrom } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { sh } from '../port/namespace.ts';
import { StreamGuest } from './guest.ts';
import { GATEWAY, type Stage, snapshot, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('us', import.meta.url);
// where anybody may read it, whoever the folders above belong to
sh(`mount --bind ${projectRoot()} /srv`);
sh('mknod -m 666 /mnt/tun c 10 200; mount --bind /mnt/tun /dev/net/tun'); // as udev has it
const VSWITCHD = '/srv/bin/vswitchd';
const [USER, UID] = ['nobody', 65_534];
/** CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW. */
const RIGHTS = '0000000000003400';

const words = ({ lab }: Stage, ...more: string[]): string[] => [
  ...['--user', USER, '--firewall', 'nft', '--state-dir', lab.folder, '--run-dir', lab.folder, ...more],
];

inStage(
  'every thread is the user’s, with three rights and no way to more; guests are served',
  async stage => {
    const { lab, host } = stage;
    const before = await snapshot(stage);
    const path = join(lab.folder, 'vsw0.vm.sock');
    const child = lab.spawn(host, VSWITCHD, ...TAPS, ...words(stage, '--port', `stream:${path},name=vm`));
    await lineFrom(child, /ready/, 20_000);
    // ip, env, node, setpriv, node: each in the place of the one before
    for (const thread of readdirSync(`/proc/${child.pid}/task`)) {
      const status = readFileSync(`/proc/${child.pid}/task/${thread}/status`, 'utf8');
      assert.match(status, new RegExp(`^Uid:\\s+${UID}\\s+${UID}\\s+${UID}\\s+${UID}$`, 'm'));
      for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        assert.match(status, new RegExp(`^${set}:\\s+${RIGHTS}$`, 'm'));
      assert.match(status, /^NoNewPrivs:\s+1$/m);
      assert.match(status, /^Seccomp:\s+2$/m);
    }
    for (const file of readdirSync(lab.folder)) assert.is(statSync(join(lab.folder, file)).uid, UID, file);
    // a folder that anybody may write in, and the switch may not all the same
    sh('mkdir -p -m 777 /mnt/open');
    const ctl = (...line: string[]): Promise<string> =>
      lab.inside(host, '/srv/bin/vswitchctl', '--run-dir', lab.folder, 'port', 'add', ...line);
    assert.match(
      await ctl('stream:/mnt/open/x.sock,name=x').catch(String),
      /x\.sock.*EACCES|permission denied/i,
    );
    await ctl(`stream:${join(lab.folder, 'vsw0.y.sock')},name=y`);
    const guest = await StreamGuest.connect(path, 1);
    assert.ok(await guest.resolves(GATEWAY, '192.168.100.10'));
    guest.end();
    assert.is(await ended(child, 'SIGTERM', 10_000), 0);
    assert.is(await snapshot(stage), before);
  },
);

inStage(
  'what root’s switch has left is the user’s, and what the user’s has left root undoes',
  async stage => {
    const { lab, host } = stage;
    const before = await snapshot(stage);
    const first = await lab.startSwitch(host, ...TAPS, '--firewall', 'nft');
    await ended(first, 'SIGKILL', 5_000);
    const second = lab.spawn(host, VSWITCHD, ...TAPS, ...words(stage));
    await lineFrom(second, /ready/, 20_000);
    await ended(second, 'SIGKILL', 5_000);
    await lab.inside(host, VSWITCHD, '--undo', '--state-dir', lab.folder, '--run-dir', lab.folder);
    assert.is(await snapshot(stage), before);
  },
);

inStage('who can’t be, may not, or has nowhere to write is told so in one sentence', async stage => {
  const { lab, host } = stage;
  const refused = async (wanted: RegExp, code: number, ...line: string[]): Promise<void> => {
    const { status, stderr } = spawnSync('ip', ['netns', 'exec', host, ...line], { encoding: 'utf8' });
    assert.match(stderr, wanted);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
    assert.is(status, code);
  };
  await refused(
    /--user nobody-here: this host has no such user/,
    2,
    VSWITCHD,
    ...TAPS,
    '--user',
    'nobody-here',
  );
  const other = ['setpriv', '--reuid=1', '--regid=1', '--clear-groups', VSWITCHD];
  await refused(/--user nobody: user 1 can't become another/, 2, ...other, ...TAPS, ...words(stage));
  writeFileSync(join(lab.folder, 'other.journal'), '');
  await refused(/other\.journal in it is another's/, 1, VSWITCHD, ...TAPS, ...words(stage));
  assert.is(statSync(lab.folder).uid, 0);
});

test('where files may still be changed is for programs that are started as well', () => {
  const code = `
    const native = require(process.argv[1]);
    native.restrictWrites(Buffer.from('/mnt/mine\\0/mnt/not-there\\0'));
    const { spawnSync } = require('node:child_process');
    for (const folder of ['/mnt/mine', '/mnt/other'])
      for (const act of ['echo >F/new', 'echo >>F/old', 'mkdir F/folder', 'rm F/old', 'cat F/kept'])
        process.stdout.write(spawnSync('sh', ['-c', act.replace('F', folder)], { stdio: 'inherit' }).status === 0 ? '+' : '-');`;
  sh('mkdir -p /mnt/mine /mnt/other; touch /mnt/mine/old /mnt/other/old /mnt/mine/kept /mnt/other/kept');
  const addon = join(projectRoot(), 'native/build/Release/vswitchd.node');
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code, addon], { encoding: 'utf8' });
  assert.is(stdout, '+++++----+', stderr);
});

test.run();
