// timeout: 120 s
/**
 * The follower against the kernel: taps made, found, moved, renamed, brought back and lost. The test's own namespace is
 * the switch's; a line of shell holds the follower up while it runs, so two moves in one line are a race that it loses.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readConfig } from '../../src/config.ts';
import type { PortSpec } from '../../src/dataplane/messages.ts';
import { Journal } from '../../src/host/journal.ts';
import { Shields } from '../../src/host/shield.ts';
import { TapFollower } from '../../src/host/taps.ts';
import { until } from '../../src/lab.ts';
import { loadNative, type Native } from '../../src/port/native.ts';
import { addNamespace, enterNamespace, sh } from '../port/namespace.ts';

enterNamespace(import.meta.url);
const native = loadNative();

/** Set, all that the kernel has to say is lost at the next look, as when its buffer for us is full. */
let lose = false;
const ENOBUFS = -105;
const forgetful: Native = {
  ...native,
  netlinkReceive(fd, buffer) {
    const got = native.netlinkReceive(fd, buffer);
    if (!lose || got <= 0) return got;
    while (native.netlinkReceive(fd, buffer) > 0);
    lose = false;
    return ENOBUFS;
  },
};

/** The shield comes off a moment after the port has moved. */
const unshielded = (name: string): Promise<unknown> =>
  until(`${name} has no shield`, 1_000, async () => !shield().includes(`"${name}"`));

/** A follower with a listener that writes down what it hears. */
class Scene {
  readonly heard: string[] = [];
  readonly ports = new Map<string, PortSpec>();
  readonly journal: Journal;
  readonly follower: TapFollower;
  readonly #shields: Shields;

  constructor(folder: string, taps: string) {
    const config = readConfig({ subnet: '10.9.0.0/24', taps, mtu: '1400' });
    this.journal = new Journal(join(folder, 'vsw0.journal'));
    this.#shields = new Shields(config.name, this.journal, 'nft');
    this.follower = new TapFollower(forgetful, config, this.journal, this.#shields, {
      attach: (name, port, netns) => {
        this.ports.set(name, port);
        this.heard.push(`${name} ${port.kind}${netns === undefined ? '' : ` in ${netns}`}`);
      },
      detach: (name, reason) => {
        this.ports.delete(name);
        this.heard.push(`${name} down: ${reason}`);
      },
      carrier: (name, up) => this.heard.push(`${name} carrier ${up}`),
      located: (name, netns) => this.heard.push(`${name} now in ${netns}`),
      warn: sentence => this.heard.push(`warning: ${sentence}`),
    });
  }

  /** Waits till it has been heard; what was heard up to then is forgotten. How long it took, ms. */
  async hears(text: string): Promise<number> {
    const start = performance.now();
    for (;;) {
      const at = this.heard.findIndex(heard => heard.includes(text));
      if (at >= 0) this.heard.splice(0, at + 1);
      if (at >= 0) return performance.now() - start;
      if (performance.now() - start > 3_000)
        throw new Error(`nobody said '${text}', but: ${this.heard.join(' | ')}`);
      await sleep(5);
    }
  }

  async stop(): Promise<void> {
    await this.follower.stop();
    await this.#shields.lowerAll();
  }
}

type Open = (taps: string) => Promise<Scene>;

/** A test with namespaces red and blue, in which followers are opened, and stopped at the end if they have not been. */
function scene(name: string, act: (open: Open) => Promise<void>): void {
  test(name, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vswitchd-taps-'));
    const scenes: Scene[] = [];
    sh('nft add table netdev vswitchd_vsw0');
    for (const netns of ['red', 'blue']) addNamespace(netns);
    try {
      await act(async taps => {
        const opened = new Scene(folder, taps);
        scenes.push(opened);
        await opened.follower.start();
        return opened;
      });
    } finally {
      for (const left of scenes) await left.stop().catch(() => undefined); // most have been stopped by their test
      for (const netns of ['red', 'blue']) sh(`ip netns delete ${netns} 2>/dev/null || true`);
      for (const name of links()) sh(`ip link delete ${name}`);
      sh('nft delete table netdev vswitchd_vsw0');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

const links = (netns?: string): string[] =>
  sh(`ip ${netns === undefined ? '' : `-n ${netns} `}-br link`)
    .split('\n')
    .map(line => line.split(/[ @]/)[0] ?? '')
    .filter(name => name !== '' && name !== 'lo' && !name.startsWith('gre') && !name.startsWith('sit'))
    .sort();
const shown = (tap: string, netns?: string): string =>
  sh(`ip ${netns === undefined ? '' : `-n ${netns} `}-d link show dev ${tap}`);
const shield = (): string => sh('nft list table netdev vswitchd_vsw0');
const hold = (name: string): number =>
  native.openTun({ name, mode: 'tap', netns: -1, mustExist: true, ifindex: 0 }).fd;

scene('makes what is missing, shielded and up, and takes it away again', async open => {
  const { heard, journal, ...rest } = await open('tap0,tap1');
  assert.equal(links(), ['tap0', 'tap1']);
  assert.match(shown('tap0'), /mtu 1400 .*\bUP\b|<[^>]*\bUP\b[^>]*> mtu 1400/);
  assert.match(shown('tap0'), /alias vswitchd:vsw0:tap0/);
  assert.match(shown('tap0'), /persist on/);
  assert.match(shown('tap0'), /promiscuity [1-9]/);
  for (const tap of ['tap0', 'tap1']) assert.match(shield(), new RegExp(`device "${tap}" .*policy drop`));
  assert.equal(
    heard.filter(text => !text.includes('carrier')),
    ['tap0 packet', 'tap1 packet'],
  );
  assert.is(journal.changes.filter(change => change.kind === 'tap').length, 2);
  await rest.follower.stop();
  assert.equal(links(), []);
  assert.is(journal.changes.filter(change => change.kind === 'tap').length, 0);
});

scene('a tap that was there stays, as it was: down ones down, up ones up, none promiscuous', async open => {
  sh('ip tuntap add dev tap0 mode tap; ip tuntap add dev tap1 mode tap; ip link set tap1 up');
  const opened = await open('tap0,tap1');
  assert.match(shown('tap0'), /[<,]UP[,>]/);
  assert.not.match(shown('tap0'), /alias/);
  await opened.stop();
  assert.not.match(shown('tap0'), /[<,]UP[,>]/);
  assert.match(shown('tap1'), /[<,]UP[,>]/);
  for (const tap of ['tap0', 'tap1']) assert.match(shown(tap), /promiscuity 0/);
});

scene('carrier comes and goes with who holds the device end, before the start or after', async open => {
  sh('ip tuntap add dev tap0 mode tap vnet_hdr');
  const early = hold('tap0');
  const opened = await open('tap0,tap1');
  await opened.hears('tap0 carrier true');
  native.close(early);
  await opened.hears('tap0 carrier false');
  const late = hold('tap1');
  await opened.hears('tap1 carrier true');
  assert.not.ok(opened.heard.some(text => text.startsWith('tap0')));
  native.close(late);
  await opened.hears('tap1 carrier false');
});

scene(
  'moved and renamed at once: served there within a second, untouched; the other is let alone',
  async open => {
    const opened = await open('tap0,tap1');
    await opened.hears('tap1 packet');
    await opened.hears('carrier');
    sh('ip link set tap0 netns red name eth0');
    assert.ok((await opened.hears('tap0 tap in red')) < 1_000);
    assert.not.match(shown('eth0', 'red'), /[<,]UP[,>]/); // that is for those who live there
    sh('ip -n red link set eth0 up');
    assert.match(shown('eth0', 'red'), /LOWER_UP/);
    await unshielded('tap0');
    assert.not.ok(opened.heard.some(text => text.startsWith('tap1')));
    await opened.stop();
    assert.equal(links('red'), []);
  },
);

scene(
  'moved back, under any name: the interface end again, up and shielded, and away once more',
  async open => {
    const opened = await open('tap0,tap1');
    sh('ip link set tap0 netns red name eth0');
    await opened.hears('tap0 tap in red');
    sh(`ip -n red link set eth0 netns ${process.pid} name eth9`);
    assert.ok((await opened.hears('tap0 packet')) < 1_000);
    assert.match(shown('eth9'), /[<,]UP[,>]/);
    assert.match(shield(), /device "eth9"/);
    sh('ip link set eth9 netns blue name tap0');
    await opened.hears('tap0 tap in blue');
    await unshielded('eth9');
    await opened.stop();
    assert.equal([...links(), ...links('blue')], []);
  },
);

scene('away and back in one go, and away twice in one go: it ends up where the tap is', async open => {
  const opened = await open('tap0,tap1');
  await opened.hears('tap1 packet');
  sh(`ip link set tap0 netns red; ip -n red link set tap0 netns ${process.pid}`);
  await opened.hears('tap0 packet');
  assert.is(opened.ports.get('tap0')?.kind, 'packet');
  assert.match(shield(), /device "tap0"/);
  sh('ip link set tap1 netns red; ip -n red link set tap1 netns blue name eth1');
  await opened.hears('tap1 tap in blue');
  await opened.stop();
  assert.equal([...links(), ...links('red'), ...links('blue')], []);
});

scene('passed on from red to blue it is served on, and removed there', async open => {
  const opened = await open('tap0');
  sh('ip link set tap0 netns red');
  await opened.hears('tap0 tap in red');
  const { fd } = opened.ports.get('tap0') as PortSpec;
  sh('ip -n red link set tap0 netns blue name eth0; ip -n blue link set eth0 up');
  await opened.hears('tap0 now in blue');
  assert.is(opened.ports.get('tap0')?.fd, fd);
  assert.match(shown('eth0', 'blue'), /LOWER_UP/);
  await opened.stop();
  assert.equal(links('blue'), []);
});

scene(
  'its namespace deleted: the port goes down alone; a new tap of the name is joined, and stays',
  async open => {
    const opened = await open('tap0,tap1');
    await opened.hears('tap1 packet');
    sh('ip link set tap0 netns red');
    await opened.hears('tap0 tap in red');
    sh('ip netns delete red');
    await opened.hears('tap0 down: its namespace was deleted');
    assert.not.ok(opened.heard.some(text => text.startsWith('tap1')));
    sh('ip tuntap add dev tap0 mode tap');
    await opened.hears('tap0 packet');
    await opened.stop();
    assert.equal(links(), ['tap0']);
  },
);

scene(
  'deleted there, as the data plane tells, or here: down, and a new one is joined and stays',
  async open => {
    const opened = await open('tap0,tap1');
    sh('ip link set tap0 netns red');
    await opened.hears('tap0 tap in red');
    sh('ip -n red link delete tap0');
    opened.follower.gone('tap0');
    await opened.hears('tap0 down: its device is gone');
    sh('ip link delete tap1');
    await opened.hears('tap1 down: it was deleted');
    sh('ip tuntap add dev tap0 mode tap; ip tuntap add dev tap1 mode tap');
    await opened.hears('tap1 packet');
    assert.equal(
      [...opened.ports.values()].map(port => port.kind),
      ['packet', 'packet'],
    );
    await opened.stop();
    assert.equal(links(), ['tap0', 'tap1']);
  },
);

scene('what the data plane says of an earlier attachment is not held against the next', async open => {
  const opened = await open('tap0');
  await opened.hears('tap0 packet');
  sh('ip link set tap0 netns red');
  opened.follower.gone('tap0'); // the packet socket fails at the same moment; the new file may have its number
  await opened.hears('tap0 tap in red');
  await sleep(100);
  assert.is(opened.ports.get('tap0')?.kind, 'tap');
});

scene('events lost: what is here is asked for again, and what has gone is looked for', async open => {
  const opened = await open('tap0,tap1');
  await opened.hears('tap1 packet');
  await sleep(50); // what the start has stirred up has been heard
  lose = true;
  const held = hold('tap0');
  await opened.hears('tap0 carrier true');
  assert.not.ok(lose);
  lose = true;
  sh('ip link set tap1 netns blue name eth0');
  await sleep(50);
  assert.not.ok(lose);
  opened.follower.gone('tap1'); // all that is left to tell it: the packet socket has failed
  await opened.hears('tap1 tap in blue');
  await unshielded('tap1');
  native.close(held);
});

scene('another tap of the name here, while ours is in red, is not ours', async open => {
  const opened = await open('tap0');
  sh('ip link set tap0 netns red');
  await opened.hears('tap0 tap in red');
  sh('ip tuntap add dev tap0 mode tap; ip link set tap0 up');
  await sleep(200);
  assert.is(opened.ports.get('tap0')?.kind, 'tap');
  await opened.stop();
  assert.equal(links(), ['tap0']);
  assert.equal(links('red'), []);
});

scene('moved with its device end held by a program: one sentence, and served when that ends', async open => {
  const opened = await open('tap0');
  const held = hold('tap0');
  await opened.hears('tap0 carrier true');
  sh('ip link set tap0 netns red');
  await opened.hears('warning: tap0 in namespace red: its device end is held by another program');
  assert.is(opened.ports.size, 0);
  await sleep(700);
  assert.equal(opened.heard, []); // it is said once
  native.close(held);
  await opened.hears('tap0 tap in red');
});

scene('moved with its device end held, it is removed at the end all the same', async open => {
  const opened = await open('tap0');
  const held = hold('tap0');
  sh('ip link set tap0 netns red');
  await opened.hears('warning: tap0 in namespace red');
  await opened.stop();
  assert.equal(links('red'), []);
  native.close(held);
});

scene('tap@NETNS: made there, or found there and left; one of its name here is not touched', async open => {
  sh('ip tuntap add dev tap0 mode tap; ip -n blue tuntap add dev tap1 mode tap');
  const opened = await open('tap0@red,tap1@blue');
  assert.ok(opened.heard.includes('tap0 tap in red'));
  assert.ok(opened.heard.includes('tap1 tap in blue'));
  assert.match(shown('tap0', 'red'), /alias vswitchd:vsw0:tap0/);
  sh('ip link set tap0 up; ip link delete tap0');
  await sleep(100);
  assert.equal(
    opened.heard.filter(text => /down|packet|warning/.test(text)),
    [],
  );
  await opened.stop();
  assert.equal([links('red'), links('blue')], [[], ['tap1']]);
});

scene('tap0:device serves the device end here', async open => {
  const opened = await open('tap0:device');
  assert.ok(opened.heard.includes('tap0 tap'));
  sh('ip link set tap0 up');
  await sleep(100);
  assert.is(opened.ports.get('tap0')?.kind, 'tap');
  await opened.stop();
  assert.equal(links(), []);
});

scene('after a kill: a tap is found where it went; one that is gone is not taken for ours', async open => {
  const killed = await open('tap0,tap1,tap2');
  sh('ip link set tap0 netns red name eth0; ip link delete tap1; ip tuntap add dev tap1 mode tap');
  await killed.hears('tap0 tap in red');
  await killed.hears('tap1 packet');
  const journal = readFileSync(killed.journal.path);
  await killed.follower.stop();
  // What a kill leaves: the journal as it was, tap0 and tap2 where they were.
  sh('ip -n red tuntap add dev eth0 mode tap; ip -n red link set eth0 alias vswitchd:vsw0:tap0');
  writeFileSync(killed.journal.path, journal);
  sh('ip tuntap add dev tap2 mode tap');
  const next = await open('tap0,tap1,tap2');
  assert.equal(
    next.heard.filter(text => !text.includes('carrier')),
    ['tap0 tap in red', 'tap1 packet', 'tap2 packet'],
  );
  await next.stop();
  assert.equal([links('red'), links()], [[], ['tap1', 'tap2']]);
});

test.run();
