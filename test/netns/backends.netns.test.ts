// timeout: 300 s
/**
 * Beside each tool that manages a host's firewall, as Debian has it: guests get out and reach the host where it drops what
 * is forwarded and what comes in, a start after a kill changes nothing twice, and what was there before is there after.
 */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StatusView } from '../../src/control/views.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import {
  makeToolsPrivate,
  rulesText,
  sameText,
  startFirewalld,
  startUfw,
  stopUfw,
  useVariant,
  zonesText,
} from './managers.ts';
import { addOutside, GATEWAY, OUTSIDE, plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('be', import.meta.url);
makeToolsPrivate();

const vswitchd = join(projectRoot(), 'bin', 'vswitchd');
const SERVE = `require('node:net').createServer(c => c.end('hello')).listen(7000, () => console.log('listening'))`;

/** What a host drops, by one variant of iptables, with what Docker has of it. */
const dropAll = (tool: string): string => `
  ${tool} -P FORWARD DROP; ${tool} -P INPUT DROP
  ${tool} -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  ${tool} -N DOCKER-USER; ${tool} -A DOCKER-USER -j RETURN
  ${tool} -N DOCKER-ISOLATION-STAGE-1; ${tool} -A DOCKER-ISOLATION-STAGE-1 -j RETURN
  ${tool} -A FORWARD -j DOCKER-USER; ${tool} -A FORWARD -j DOCKER-ISOLATION-STAGE-1
  ${tool} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  ${tool} -t nat -N DOCKER; ${tool} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
  ${tool} -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`;

const NFT_DROPS = `nft 'table inet mine {
  chain in { type filter hook input priority 0; policy drop; ct state established accept; }
  chain pass { type filter hook forward priority 0; policy drop; }
}'`;

interface Host {
  readonly name: string;
  readonly options: readonly string[];
  /** What the log says of the choice. */
  readonly says: RegExp;
  readonly variant?: string;
  readonly firewalld?: true;
  readonly prepare: (stage: Stage) => Promise<unknown>;
  readonly clear?: (stage: Stage) => Promise<unknown>;
}

const script =
  (text: string) =>
  ({ lab, host }: Stage): Promise<string> =>
    lab.inside(host, 'sh', '-ec', text);

/** The kernel keeps tables of the legacy variant once they have been looked at. */
const KEPT = 'for table in filter nat mangle; do iptables-legacy -t $table -S >/dev/null; done';

const HOSTS: readonly Host[] = [
  {
    name: 'nftables that drop, Docker’s rules in iptables-nft',
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
    options: ['--firewall', 'iptables'],
    says: /firewall: iptables/,
    prepare: script(`${dropAll('iptables-nft')}; ${dropAll('iptables-legacy')}`),
  },
  {
    name: 'iptables of the legacy kind, with Docker’s rules, and iptables-nft that drops',
    options: ['--firewall', 'iptables'],
    says: /firewall: iptables/,
    variant: 'legacy',
    prepare: script(`${dropAll('iptables-legacy')}; ${KEPT}; ${dropAll('iptables-nft')}`),
  },
  {
    name: 'ufw',
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
    name: 'firewalld, and Docker’s rules in iptables-nft',
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

function heardFrom(child: ChildProcess): () => string {
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', chunk => {
      said += chunk;
    });
  return () => said;
}

async function kill({ lab }: Stage, child: ChildProcess): Promise<void> {
  const { pid } = await lab.ask<StatusView>('status');
  const gone = new Promise(resolve => child.once('exit', resolve));
  process.kill(pid, 'SIGKILL');
  await gone;
}

/** What a namespace hears from a port that answers `hello`. */
const hello = ({ lab }: Stage, netns: string, address: string): Promise<string> =>
  lab.inside(
    netns,
    process.execPath,
    '-e',
    `require('node:net').connect(7000, '${address}').on('data', d => console.log(String(d))).on('error', () => undefined);
     setTimeout(() => process.exit(), 4000).unref();`,
  );

async function startSwitch({ lab, host }: Stage, { options, says }: Host): Promise<ChildProcess> {
  const child = lab.spawnSwitch(host, ...TAPS, ...options);
  const heard = heardFrom(child);
  await lineFrom(child, /ready/, 30_000);
  assert.match(heard(), says);
  return child;
}

async function guestGetsThrough(stage: Stage): Promise<void> {
  const { lab, red } = stage;
  await lab.ping(red, OUTSIDE);
  await lab.ping(red, GATEWAY);
  assert.match(await hello(stage, red, OUTSIDE), /hello/);
  assert.match(await hello(stage, red, GATEWAY), /hello/);
}

for (const each of HOSTS) {
  inStage(each.name, async stage => {
    const { lab, host, red } = stage;
    const out = await addOutside(stage);
    useVariant(each.variant ?? 'nft');
    try {
      await each.prepare(stage);
      const text = async (): Promise<string> =>
        (await rulesText(stage)) + (each.firewalld === undefined ? '' : await zonesText(stage));
      const before = await text();
      const first = await startSwitch(stage, each);
      const running = await text();
      assert.is.not(running, before);
      await plugIn(stage, 'tap0', red);
      const address = await lab.lease(red, 'tap0');
      for (const netns of [host, out])
        await lineFrom(lab.spawn(netns, process.execPath, '-e', SERVE), /listening/, 10_000);
      await guestGetsThrough(stage);
      await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', '203.0.113.1');
      for (const inside of [address, '192.168.100.254'])
        await lab.ping(out, inside, 1).then(
          () => assert.unreachable(`${inside} is reached from outside`),
          () => undefined,
        );
      await kill(stage, first);
      const second = await startSwitch(stage, each);
      await until('the tap is served again', 5_000, () =>
        lab.ping(red, GATEWAY, 1).then(
          () => true,
          () => false,
        ),
      );
      await guestGetsThrough(stage);
      sameText(shieldless(await text()), shieldless(running), 'started again');
      assert.is(await ended(second, 'SIGTERM', 10_000), 0);
      sameText(await text(), before, 'stopped');
      await kill(stage, await startSwitch(stage, each));
      assert.match(await lab.inside(host, vswitchd, '--undo', '--state-dir', lab.folder), /undid/);
      sameText(await text(), before, 'undone');
    } finally {
      await each.clear?.(stage);
      useVariant('nft');
    }
  });
}

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
  },
);

/** Without the netdev table, whose chains follow the taps. */
const shieldless = (text: string): string => text.replace(/^table netdev [\s\S]*?^}\n/gm, '');

test.run();
