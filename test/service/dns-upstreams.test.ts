/** Which servers the host has: what is read out of resolv.conf, what is left out of it, and how changes are followed. */
import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hostUpstreams, upstreamsIn, watchedFile } from '../../src/service/dns/upstreams.ts';

const OWN = ['192.168.100.1'];
const addresses = (text: string): string[] => upstreamsIn(text, OWN).map(({ address }) => address);

test('name servers of resolv.conf, in order, of both families, loopback ones too', () => {
  const text = [
    '# nameserver 192.0.2.9',
    '; nameserver 192.0.2.9',
    'search example.com',
    'nameserver 127.0.0.53',
    'nameserver\tfe80::1%eth0 # the router',
    'options timeout:1 rotate edns0 trust-ad',
    'nameserver 2001:db8::53',
    'nameserver 192.0.2.9',
  ].join('\n');
  assert.equal(addresses(text), ['127.0.0.53', 'fe80::1%eth0', '2001:db8::53'], 'three at most');
  assert.ok(upstreamsIn(text, OWN).every(({ port }) => port === 53));
});

test('what is no address, or ours, or there twice, is passed over', () => {
  assert.equal(addresses('nameserver\nnameserver dns.example\nnameserver 300.1.1.1\nnameserver 1.1'), []);
  assert.equal(
    addresses(' nameserver 192.0.2.1\nxnameserver 192.0.2.1\nnameservers 192.0.2.1'),
    [],
    'resolv.conf(5)',
  );
  assert.equal(addresses('nameserver 192.168.100.1\nnameserver ::ffff:192.168.100.1\nnameserver 192.0.2.1'), [
    '192.0.2.1',
  ]);
  assert.equal(addresses('nameserver 192.0.2.1\r\nnameserver 192.0.2.1\nnameserver 192.0.2.2'), [
    '192.0.2.1',
    '192.0.2.2',
  ]);
  assert.equal(addresses('nameserver 0.0.0.0\nnameserver ::'), ['127.0.0.1', '::1'], 'the host itself');
  assert.equal(addresses(''), []);
});

test('a file is looked at once a second at most, and read where it has changed: rewritten, replaced, elsewhere, gone', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-dns-'));
  try {
    const path = join(folder, 'resolv.conf');
    const logged: string[] = [];
    let nowMs = 0;
    const upstreams = hostUpstreams({
      own: OWN,
      nowMs: () => nowMs,
      log: (level, sentence) => logged.push(`${level}: ${sentence}`),
      file: watchedFile(path),
    });
    const now = (): string =>
      upstreams()
        .map(({ address }) => address)
        .join(' ');
    const later = (): string => {
      nowMs += 1_000;
      return now();
    };
    assert.is(now(), '', 'there is none');
    writeFileSync(path, 'nameserver 192.0.2.1\n');
    nowMs = 999;
    assert.is(now(), '', 'too soon');
    assert.is(later(), '192.0.2.1');
    const same = upstreams();
    writeFileSync(path, 'nameserver 192.0.2.1\nsearch other.example\n');
    assert.is(later(), '192.0.2.1');
    assert.is(upstreams(), same, 'the same servers: the same array');
    writeFileSync(path, 'nameserver 192.0.2.2\nsearch other.example\n');
    assert.is(later(), '192.0.2.2');
    writeFileSync(`${path}.new`, 'nameserver 192.0.2.3\nsearch other.example\n');
    renameSync(`${path}.new`, path);
    assert.is(later(), '192.0.2.3');
    unlinkSync(path);
    writeFileSync(join(folder, 'stub'), 'nameserver 127.0.0.53\n');
    symlinkSync('stub', path);
    assert.is(later(), '127.0.0.53');
    writeFileSync(join(folder, 'stub'), 'nameserver 192.0.2.53\n');
    assert.is(later(), '192.0.2.53', 'through the link');
    unlinkSync(join(folder, 'stub'));
    assert.is(later(), '');
    assert.is(logged.length, 7);
    assert.match(logged[0] ?? '', /^warn: .* names no DNS server/);
    assert.is(logged[1], "info: guests' questions about other names are asked of 192.0.2.1");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
