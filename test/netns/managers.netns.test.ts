// timeout: 300 s
// coverage: none
/**
 * Beside ufw and firewalld, as Debian has them: guests get through, a start after a kill changes nothing twice, and what was
 * there before is there after, in their files too.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, until } from '../../src/lab.ts';
import { dropAll, type Host, leavesNothing, script, TABLES } from './beside.ts';
import {
  makeToolsPrivate,
  rulesText,
  sameText,
  startFirewalld,
  startUfw,
  stopUfw,
  zonesText,
} from './managers.ts';
import { addOutside, OUTSIDE, plugIn, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('ma', import.meta.url);
makeToolsPrivate();

const HOSTS: readonly Host[] = [
  {
    name: 'ufw',
    undone: true,
    options: [],
    says: /firewall: ufw, for ufw is active/,
    prepare: startUfw,
    clear: stopUfw,
  },
  {
    name: 'ufw over iptables-legacy, and Docker’s rules in iptables-nft',
    options: ['--firewall', 'ufw'],
    says: /firewall: ufw, for asked for/,
    variant: 'legacy',
    prepare: async stage => {
      await startUfw(stage);
      await script(dropAll('iptables-nft'))(stage);
    },
    clear: stopUfw,
  },
  {
    name: 'ufw where nft is not installed',
    undone: true,
    options: [],
    says: /firewall: ufw, for ufw is active/,
    without: 'nft',
    prepare: async stage => {
      await startUfw(stage);
      await script(TABLES)(stage);
    },
    clear: stopUfw,
  },
  {
    name: 'firewalld, and Docker’s rules in iptables-nft',
    undone: true,
    options: [],
    says: /firewall: firewalld, for firewalld is running/,
    firewalld: true,
    prepare: async stage => {
      await startFirewalld(stage);
      // firewalld makes a zone's chains for the first interface in it, and keeps them till it is loaded again
      await script(`firewall-cmd --zone=trusted --add-interface=docker0; ${dropAll('iptables-nft')}`)(stage);
    },
  },
];

for (const each of HOSTS) inStage(each.name, stage => leavesNothing(stage, each));

inStage(
  'what firewalld loads anew has the uplink in its zone again soon, and nothing of it afterwards',
  async stage => {
    const { lab, host, red } = stage;
    await addOutside(stage);
    await startFirewalld(stage);
    const before = (await rulesText(stage)) + (await zonesText(stage));
    const child = await lab.startSwitch(host, ...TAPS);
    await plugIn(stage, 'tap0', red);
    await lab.lease(red, 'tap0');
    await lab.ping(red, OUTSIDE);
    await lab.inside(host, 'firewall-cmd', '--reload');
    const zone = (): Promise<string> =>
      lab.inside(host, 'firewall-cmd', '--get-zone-of-interface=vsw0').catch(() => '');
    assert.is(await zone(), '');
    await until('the uplink is in its zone again', 30_000, async () => (await zone()).trim() === 'trusted');
    await lab.ping(red, OUTSIDE);
    assert.is(await ended(child, 'SIGTERM', 10_000), 0);
    assert.is(await zone(), '');
    await lab.inside(host, 'firewall-cmd', '--reload');
    sameText((await rulesText(stage)) + (await zonesText(stage)), before, 'loaded anew');
  },
);

inStage('what ufw and firewalld were told by the user in the same words stays his', async stage => {
  const { lab, host } = stage;
  await startUfw(stage);
  try {
    await lab.inside(host, 'ufw', 'allow', 'in', 'on', 'vsw0');
    await lab.inside(host, 'ufw', 'route', 'allow', 'in', 'on', 'vsw0', 'comment', 'mine');
    const before = await rulesText(stage);
    const child = await lab.startSwitch(host, ...TAPS);
    assert.match(
      await lab.inside(host, 'ufw', 'show', 'added'),
      /route allow out on vsw0 comment 'vswitchd:vsw0'/,
    );
    assert.is(await ended(child, 'SIGTERM', 10_000), 0);
    sameText(await rulesText(stage), before, 'stopped');
    await lab.inside(host, 'ufw', 'delete', 'allow', 'in', 'on', 'vsw0');
    await lab.inside(host, 'ufw', 'route', 'delete', 'allow', 'in', 'on', 'vsw0');
  } finally {
    await stopUfw(stage);
  }
  await startFirewalld(stage);
  await lab.inside(host, 'firewall-cmd', '--zone=internal', '--add-interface=vsw0');
  const before = await zonesText(stage);
  const child = await lab.startSwitch(host, ...TAPS, '--firewall', 'firewalld');
  assert.is(await zonesText(stage), before);
  assert.is(await ended(child, 'SIGTERM', 10_000), 0);
  assert.is(await zonesText(stage), before);
});

test.run();
