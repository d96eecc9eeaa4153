// timeout: 300 s
// coverage: none
/**
 * Beside nftables and iptables, of both kinds and with Docker's rules, as Debian has them: guests get through, a start after
 * a kill changes nothing twice, and what was there before is there after.
 */
import { rmSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, lineFrom } from '../../src/lab.ts';
import { dropAll, type Host, heardFrom, leavesNothing, script, TABLES } from './beside.ts';
import { makeToolsPrivate, rulesText, useVariant, withoutTools } from './managers.ts';
import { stageTests, TAPS } from './stage.ts';

const inStage = stageTests('be', import.meta.url);
makeToolsPrivate();

const NFT_DROPS = `nft 'table inet mine {
  chain in { type filter hook input priority 0; policy drop; ct state established accept; }
  chain pass { type filter hook forward priority 0; policy drop; }
}'`;

/** The kernel keeps tables of the legacy variant once they have been looked at. */
const KEPT = 'for table in filter nat mangle; do iptables-legacy -t $table -S >/dev/null; done';

const HOSTS: readonly Host[] = [
  {
    name: 'nftables that drop, Docker’s rules in iptables-nft',
    undone: true,
    options: [],
    says: /firewall: nft, for neither firewalld nor ufw is active, and nft is installed/,
    prepare: script(`${NFT_DROPS}; ${dropAll('iptables-nft')}`),
  },
  {
    name: 'nftables, and iptables-legacy that drops',
    options: ['--firewall', 'nft'],
    says: /firewall: nft, for asked for/,
    prepare: script(dropAll('iptables-legacy')),
  },
  {
    name: 'iptables made of nftables, nothing there before',
    options: ['--firewall', 'iptables'],
    says: /firewall: iptables, for asked for/,
    prepare: async () => undefined,
  },
  {
    name: 'iptables made of nftables, with Docker’s rules, and iptables-legacy that drops',
    undone: true,
    options: ['--firewall', 'iptables'],
    says: /firewall: iptables/,
    prepare: script(`${dropAll('iptables-nft')}; ${dropAll('iptables-legacy')}`),
  },
  {
    name: 'iptables of the legacy kind, with Docker’s rules, and iptables-nft that drops',
    undone: true,
    options: ['--firewall', 'iptables'],
    says: /firewall: iptables/,
    variant: 'legacy',
    prepare: script(`${dropAll('iptables-legacy')}; ${KEPT}; ${dropAll('iptables-nft')}`),
  },
  {
    name: 'iptables where nft is not installed',
    options: [],
    says: /firewall: iptables, for nft is not installed, and iptables is/,
    without: 'nft',
    prepare: script(`${dropAll('iptables-nft')}; ${TABLES}`),
  },
];

for (const each of HOSTS) inStage(each.name, stage => leavesNothing(stage, each));

inStage(
  'a tool that is asked for and is not there or not running is told, and nothing is changed',
  async stage => {
    const { lab, host } = stage;
    const before = await rulesText(stage);
    const refused = async (wanted: RegExp, ...options: string[]): Promise<void> => {
      const child = lab.spawnSwitch(host, ...TAPS, ...options);
      const heard = heardFrom(child);
      const code = await new Promise(resolve => child.once('close', resolve));
      assert.match(heard(), wanted);
      assert.is(code, 1);
      assert.is(heard().trim().split('\n').length, 1, heard());
      assert.is(await rulesText(stage), before);
      assert.match(await lab.ip(host, '-br', 'link'), /^lo [^\n]*\n$/);
    };
    await refused(
      /--firewall ufw: ufw is not active; ufw enable, or use --firewall auto/,
      '--firewall',
      'ufw',
    );
    await refused(/--firewall firewalld: firewalld is not running; start it/, '--firewall', 'firewalld');
    await withoutTools(['ufw', 'firewall-cmd'], async () => {
      await refused(/--firewall ufw: ufw is not installed; apt-get install ufw/, '--firewall', 'ufw');
      await refused(/--firewall firewalld: firewall-cmd is not installed/, '--firewall', 'firewalld');
    });
    rmSync('/etc/alternatives/iptables');
    try {
      await refused(/--firewall iptables: iptables is not installed; apt-get/, '--firewall', 'iptables');
    } finally {
      useVariant('nft');
    }
  },
);

inStage('with neither nft nor iptables the network is up, and the log says what it can’t', async stage => {
  const { lab, host } = stage;
  rmSync('/etc/alternatives/iptables');
  try {
    await withoutTools(['nft'], async () => {
      const child = lab.spawnSwitch(host, ...TAPS);
      const heard = heardFrom(child);
      await lineFrom(child, /ready/, 30_000);
      assert.match(heard(), /firewall: none, for neither nft nor iptables is installed/);
      assert.match(heard(), /guests can reach the host but not the outside; apt-get install nftables/);
      assert.is(await ended(child, 'SIGTERM', 20_000), 0);
      const pinned = lab.spawnSwitch(host, ...TAPS, '--lan', 'lo');
      const said = heardFrom(pinned);
      assert.is(await new Promise(resolve => pinned.once('close', resolve)), 1);
      assert.match(said(), /--lan lo: neither nft nor iptables is installed; apt-get install nftables/);
    });
  } finally {
    useVariant('nft');
  }
});

test.run();
