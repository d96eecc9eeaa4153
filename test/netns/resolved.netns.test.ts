// timeout: 120 s
// coverage: none
/**
 * The host finds guests by name, through the real systemd-resolved: it asks the gateway for them and for nothing else, knows
 * nothing of it afterwards, and is itself whom guests' other questions go to.
 */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { makeResolvedPrivate, setResolvConf, startResolved } from './resolved.ts';
import { GATEWAY, OUTSIDE, plugIn, type Stage, stageTests, TAPS } from './stage.ts';
import { startUpstream } from './upstream.ts';

const inStage = stageTests('re', import.meta.url);
makeResolvedPrivate();

const vswitchd = join(projectRoot(), 'bin/vswitchd');

/** What resolvectl shows, without which server answered last and the columns that depend on it. */
const statusOf = async ({ lab, host }: Stage): Promise<string> =>
  (await lab.inside(host, 'resolvectl', 'status'))
    .replace(/^ *Current DNS Server.*\n/gm, '')
    .replace(/^ +/gm, '');

const LINK = /Link \d+ \(vsw0\)[\s\S]*?(?=\nLink|$)/;

inStage('names of guests are asked of the gateway, the rest is not, and all is undone', async stage => {
  const { lab, host, red } = stage;
  const asked = await startUpstream(stage);
  setResolvConf('127.0.0.53');
  await startResolved(stage, OUTSIDE);
  const status = (): Promise<string> => statusOf(stage);
  const before = await status();
  const dry = await lab.inside(host, vswitchd, ...TAPS, '--dry-run');
  assert.match(
    dry,
    `resolvectl dns vsw0 ${GATEWAY}\nresolvectl domain vsw0 '~vsw.internal' '~100.168.192.in-addr.arpa'\nresolvectl default-route vsw0 no\n`,
  );
  assert.is(await status(), before);

  const child = await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  const address = await lab.lease(red, 'tap0', '-x', 'hostname:vm1');
  await until('the link is asked', 5_000, async () =>
    /Current Scopes: DNS/.test(LINK.exec(await status())?.[0] ?? ''),
  );
  const query = (name: string): Promise<string> =>
    lab.inside(host, 'resolvectl', 'query', '--legend=no', name);
  assert.match(
    await query('vm1.vsw.internal'),
    new RegExp(`vm1\\.vsw\\.internal: ${address} +-- link: vsw0`),
  );
  assert.match(await query(address), /: vm1\.vsw\.internal +-- link: vsw0/);
  assert.match(await query('a.example.com'), /a\.example\.com: 9\.9\.9\.9/);
  // through its stub, as the host's programs ask; and guests by it, which is what the host's resolv.conf names
  const dig = (netns: string, server: string, name: string): Promise<string> =>
    lab.inside(netns, 'dig', '+short', '+tries=2', '+time=2', `@${server}`, name);
  assert.is(await dig(host, '127.0.0.53', 'vm1.vsw.internal'), `${address}\n`);
  assert.is(await dig(red, GATEWAY, 'b.example.com'), '9.9.9.9\n');
  assert.is(await dig(red, GATEWAY, 'vm2.vsw.internal'), '');
  const text = await status();
  assert.match(
    LINK.exec(text)?.[0] ?? '',
    /-DefaultRoute[\s\S]*DNS Domain: ~100.168.192.in-addr.arpa ~vsw.internal|-DefaultRoute[\s\S]*DNS Domain: ~vsw.internal ~100.168.192.in-addr.arpa/,
  );
  const log = asked();
  assert.match(log, /b\.example\.com/i);
  assert.not.match(log, /vsw|vm\d|in-addr/i);

  assert.is(await ended(child, 'SIGTERM', 10_000), 0);
  assert.is(await status(), before);
});

inStage('after a kill nothing is left, and the next start sets it again', async stage => {
  const { lab, host } = stage;
  await startUpstream(stage);
  setResolvConf('127.0.0.53');
  await startResolved(stage, OUTSIDE);
  const status = (): Promise<string> => statusOf(stage);
  const before = await status();
  const first = await lab.startSwitch(host, ...TAPS);
  assert.match(await status(), LINK);
  await ended(first, 'SIGKILL', 5_000);
  await until(
    'the link has gone',
    5_000,
    async () => (await status()) === before || !LINK.test(await status()),
  );
  const second = await lab.startSwitch(host, ...TAPS);
  assert.match(LINK.exec(await status())?.[0] ?? '', `DNS Servers: ${GATEWAY}`);
  await ended(second, 'SIGKILL', 5_000);
  const where = ['--state-dir', lab.folder, '--run-dir', lab.folder];
  assert.match(await lab.inside(host, vswitchd, '--undo', ...where), /^undid \d+ changes of vsw0/);
  assert.not.match(await status(), LINK);
});

inStage(
  'where it does not run a line says what to add by hand, and nobody is asked to start it',
  async stage => {
    const { lab, host } = stage;
    const dry = await lab.inside(host, vswitchd, ...TAPS, '--dry-run');
    assert.match(
      dry,
      `# this host does not find guests by name, as systemd-resolved does not run; give dnsmasq server=/vsw.internal/${GATEWAY}`,
    );
    assert.not.match(dry, /resolvectl/);
    const child = lab.spawnSwitch(host, ...TAPS);
    let said = '';
    child.stdout?.on('data', chunk => {
      said += String(chunk);
    });
    await until('it is ready', 10_000, async () => said.includes('ready'));
    assert.match(said, /this host does not find guests by name, as systemd-resolved does not run/);
    assert.not.match(await lab.inside(host, vswitchd, ...TAPS, '--dry-run', '--no-dns'), /guests by name/);
  },
);

test.run();
