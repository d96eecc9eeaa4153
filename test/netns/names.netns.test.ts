// timeout: 120 s
// coverage: none
/**
 * Guests' names with real clients: dig and the C library in guests' namespaces, on the host and outside, and dnsmasq as the
 * server above, whose log says what it was asked.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { DnsView } from '../../src/control/views.ts';
import { ended } from '../../src/lab.ts';
import { ctl, GATEWAY, OUTSIDE, plugIn, type Stage, stageTests, TAPS } from './stage.ts';
import { startUpstream } from './upstream.ts';

const inStage = stageTests('na', import.meta.url);

/** A script for udhcpc that sets the guest's address, and says what resolvers and domain it was told. */
const SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
printf 'nameserver %s\\nsearch %s\\n' "$dns" "$domain" >"$RESOLV"
`;

const BIG = Array.from({ length: 40 }, (_, i) => `--txt-record=big.example.com,${i}-${'x'.repeat(50)}`);

/** A guest gets a lease under a name; the file that says what it was told. */
async function lease({ lab }: Stage, netns: string, tap: string, name: string): Promise<string> {
  const script = join(lab.folder, 'udhcpc.sh');
  writeFileSync(script, SCRIPT, { mode: 0o755 });
  const resolv = join(lab.folder, `${name}.resolv`);
  const words = ['-i', tap, '-n', '-q', '-f', '-t', '5', '-T', '1', '-x', `hostname:${name}`, '-s', script];
  await lab.inside(netns, 'env', `RESOLV=${resolv}`, 'udhcpc', ...words);
  return resolv;
}

/** What dig says, in a line: the status and the data. */
async function dig({ lab }: Stage, netns: string, ...words: string[]): Promise<string> {
  const said = await lab
    .inside(netns, 'dig', `@${GATEWAY}`, '+tries=1', '+time=2', '+noall', '+answer', '+comments', ...words)
    .catch((error: Error) => error.message);
  const status =
    /status: (\w+)/.exec(said)?.[1] ?? (/timed out|no servers|reset|refused/.test(said) ? 'nobody' : said);
  const data = said.split('\n').flatMap(line => /^[^;\s].*\sIN\s+\S+\s+(.*)$/.exec(line)?.[1] ?? []);
  return [status, ...data].join(' ');
}

inStage(
  'guests are found by name, everybody else by the server above, and strangers are not served',
  async stage => {
    const { lab, host, red, blue } = stage;
    const asked = await startUpstream(stage, ...BIG);
    const records = ['--dns-record', 'nas=192.168.100.9', '--dns-record', 'www CNAME vm1'];
    await lab.startSwitch(host, ...TAPS, '--dns', OUTSIDE, ...records);
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    const resolv = await lease(stage, red, 'tap0', 'vm1');
    assert.is(readFileSync(resolv, 'utf8'), `nameserver ${GATEWAY}\nsearch vsw.internal\n`);
    assert.is(await dig(stage, red, 'vm2.vsw.internal'), 'NXDOMAIN');
    await lease(stage, blue, 'tap1', 'vm2');
    const [one, two] = [await lab.address(red, 'tap0'), await lab.address(blue, 'tap1')];
    const rows: [string, string[], string][] = [
      // right behind the ACK: before anything else is done
      [red, ['vm2.vsw.internal'], `NOERROR ${two}`],
      [blue, ['VM1.vsw.internal'], `NOERROR ${one}`],
      [blue, ['vm1'], `NOERROR ${one}`],
      [red, ['+search', '+domain=vsw.internal', 'vm2'], `NOERROR ${two}`],
      [red, ['-x', two], 'NOERROR vm2.vsw.internal.'],
      [red, ['-x', GATEWAY], 'NOERROR gateway.vsw.internal.'],
      [red, ['gateway.vsw.internal'], `NOERROR ${GATEWAY}`],
      [red, ['+tcp', 'vm2.vsw.internal'], `NOERROR ${two}`],
      [red, ['+noedns', 'www.vsw.internal'], `NOERROR vm1.vsw.internal. ${one}`],
      [red, ['nas.vsw.internal'], 'NOERROR 192.168.100.9'],
      [red, ['vm2.vsw.internal', 'AAAA'], 'NOERROR'],
      [red, ['vm3.vsw.internal'], 'NXDOMAIN'],
      [red, ['vm3'], 'NXDOMAIN'],
      [red, ['-x', '192.168.100.77'], 'NXDOMAIN'],
      [red, ['-x', '10.1.2.3'], 'NXDOMAIN'],
      [red, ['printer.local'], 'NXDOMAIN'],
      [red, ['localhost'], 'NOERROR 127.0.0.1'],
      [red, ['a.example.com'], 'NOERROR 9.9.9.9'],
      [red, ['+tcp', 'b.example.com'], 'NOERROR 9.9.9.9'],
      [host, ['vm1.vsw.internal'], `NOERROR ${one}`],
      [host, ['+tcp', 'vm1.vsw.internal'], `NOERROR ${one}`],
      [host, ['-x', two], 'NOERROR vm2.vsw.internal.'],
      [host, ['c.example.com'], 'NOERROR 9.9.9.9'],
    ];
    for (const [netns, words, wanted] of rows)
      assert.is(await dig(stage, netns, ...words), wanted, words.join(' '));
    const big = await dig(stage, red, 'big.example.com', 'TXT'); // cut, and asked for again by TCP
    assert.is(big.split(' ').length, 1 + BIG.length, big);
    assert.match(
      await lab.inside(red, 'dig', `@${GATEWAY}`, '+ignore', 'big.example.com', 'TXT'),
      /flags: qr tc/,
    );

    // the C library, told by DHCP alone
    const inGuest = `mount --bind ${resolv} /etc/resolv.conf && getent ahostsv4 vm2 && getent hosts ${two}`;
    const said = await lab.inside(red, 'unshare', '-m', 'sh', '-c', inGuest);
    assert.match(said, new RegExp(`^${two} +STREAM vm2(.vsw.internal)?\n(.*\n)*${two} +vm2.vsw.internal\n$`));

    const out = await lab.netns('far');
    await lab.cable([host, 'eth1', '198.51.100.1/24'], [out, 'eth0', '198.51.100.2/24']);
    await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', '198.51.100.1');
    for (const words of [['vm1.vsw.internal'], ['d.example.com'], ['+tcp', 'vm1.vsw.internal']])
      assert.match(await dig(stage, out, ...words), /nobody|end of file|connection/, words.join(' '));

    const view = await lab.ask<DnsView>('dns');
    assert.ok((view.byHost.strangers ?? 0) >= 2, JSON.stringify(view.byHost));
    assert.ok(
      view.names.some(
        ({ name, address, origin }) => name === 'vm2.vsw.internal' && address === two && origin === 'lease',
      ),
    );
    assert.equal(
      view.upstreams.map(({ address, alive }) => [address, alive]),
      [[OUTSIDE, true]],
    );
    assert.match(
      await ctl(stage, 'dns'),
      new RegExp(`vm2.vsw.internal +${two.replaceAll('.', '\\.')} +lease`),
    );
    const log = asked();
    assert.match(log, /query\[A\] a\.example\.com/i);
    assert.not.match(log, /vm\d|vsw|in-addr|local|nas/i);
  },
);

inStage('a guest that floods the service takes neither names nor addresses from another', async stage => {
  const { lab, host, red, blue } = stage;
  await startUpstream(stage);
  await lab.startSwitch(host, ...TAPS, '--dns', OUTSIDE);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  await lease(stage, red, 'tap0', 'vm1');
  const flood = lab.spawn(red, process.execPath, '-e', FLOOD);
  await new Promise(resolve => setTimeout(resolve, 500));
  const begun = performance.now();
  await lease(stage, blue, 'tap1', 'vm2');
  const leaseMs = performance.now() - begun;
  const answers = [];
  for (let i = 0; i < 10; i++) answers.push(await dig(stage, blue, `n${i}.example.com`));
  const view = await lab.ask<DnsView>('dns');
  assert.is(flood.exitCode, null, 'it still runs');
  await ended(flood, 'SIGKILL', 1_000);
  assert.ok(leaseMs < 5_000, `${leaseMs} ms`);
  assert.ok((view.byUdp.queries ?? 0) > 10_000, JSON.stringify(view.byUdp));
  // one question and one answer may be lost to a machine that is busy with the flood itself
  assert.ok(answers.filter(said => said === 'NOERROR 9.9.9.9').length >= 9, answers.join());
});

/** Questions for names that the server above has to be asked for, as fast as they can be sent. */
const FLOOD = `
  const packet = Buffer.from('0000010000010000000000000700000000000000076578616d706c6503636f6d0000010001', 'hex');
  const socket = require('node:dgram').createSocket('udp4');
  let n = 0;
  const burst = () => {
    for (let i = 0; i < 64; i++) {
      const one = Buffer.from(packet);
      one.write(String(n++ % 1e7).padStart(7, '0'), 13);
      socket.send(one, 53, '${GATEWAY}', () => undefined);
    }
    setImmediate(burst);
  };
  burst();`;

test.run();
