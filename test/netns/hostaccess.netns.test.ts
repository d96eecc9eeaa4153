// timeout: 120 s
// coverage: none
/** `--host-access`: what guests reach of the host, at the gateway's address and at its others, and what the host reaches of guests. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, lineFrom } from '../../src/lab.ts';
import {
  addOutside,
  ctl,
  GATEWAY,
  OUTSIDE,
  plugIn,
  type Stage,
  snapshot,
  stageTests,
  TAPS,
} from './stage.ts';

const inStage = stageTests('ha', import.meta.url);
const HOST_OUTSIDE = '203.0.113.1';

/** At each address, so that answers come from the one that was asked. */
const SERVE = `const addresses = Object.values(require('node:os').networkInterfaces()).flat().filter(a => a.family === 'IPv4').map(a => a.address);
  let left = 2 * addresses.length;
  const ready = () => --left === 0 && console.log('listening');
  for (const address of addresses) {
    require('node:net').createServer(c => c.end('hello')).listen(7000, address, ready);
    const d = require('node:dgram').createSocket('udp4');
    d.on('message', (m, from) => d.send('hello', from.port, from.address)).bind(7000, address, ready);
  }`;

/** Over TCP and UDP: what the other end answers, '' without an answer. */
const ASK = `const [address] = process.argv.slice(1);
  const said = { tcp: '', udp: '' };
  const end = () => { console.log(JSON.stringify(said)); process.exit(); };
  require('node:net').connect(7000, address).on('data', d => (said.tcp = String(d))).on('error', () => undefined);
  const d = require('node:dgram').createSocket('udp4').on('message', m => (said.udp = String(m))).on('error', () => undefined);
  d.send('?', 7000, address);
  setInterval(() => said.tcp && said.udp && end(), 20); setTimeout(end, 1500);`;

const serve = ({ lab }: Stage, netns: string): Promise<void> =>
  lineFrom(lab.spawn(netns, process.execPath, '-e', SERVE), /listening/, 10_000);

async function answers({ lab }: Stage, netns: string, address: string): Promise<string> {
  const said = JSON.parse(await lab.inside(netns, process.execPath, '-e', ASK, address)) as object;
  return Object.entries(said)
    .flatMap(([kind, text]) => (text === '' ? [] : kind))
    .join(' ');
}

/** A host with services of its own and a world behind it, and a guest in red with one too; red's address. */
async function start(stage: Stage, ...options: string[]) {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  const before = await snapshot(stage);
  const child = await lab.startSwitch(host, ...TAPS, ...options);
  await plugIn(stage, 'tap0', red);
  const address = await lab.lease(red, 'tap0');
  for (const netns of [host, out, red]) await serve(stage, netns);
  const end = async (): Promise<void> => {
    assert.is(await ended(child, 'SIGTERM', 10_000), 0);
    assert.is(await snapshot(stage), before);
  };
  return { address, end };
}

const names = ({ lab }: Stage, netns: string, ...more: string[]): Promise<string> =>
  lab
    .inside(netns, 'dig', ...more, '+short', '+tries=1', '+time=1', `@${GATEWAY}`, 'gateway.vsw.internal')
    .then(
      said => said.trim(),
      () => '',
    );

for (const firewall of ['nft', 'iptables'])
  inStage(`services, by ${firewall}: what the switch offers, and nothing of the host's own`, async stage => {
    const { lab, host, red } = stage;
    const folder = join(lab.folder, 'seed');
    mkdirSync(join(folder, 'default'), { recursive: true });
    writeFileSync(join(folder, 'default', 'user-data'), '#cloud-config\n');
    const options = ['--host-access', 'services', '--firewall', firewall, '--cloud-init', folder];
    const { address, end } = await start(stage, ...options);
    assert.is(await answers(stage, red, GATEWAY), '');
    assert.is(await answers(stage, red, HOST_OUTSIDE), '');
    assert.is(await answers(stage, red, OUTSIDE), 'tcp udp');
    assert.is(await answers(stage, host, address), 'tcp udp', 'the host reaches its guests');
    await lab.ping(red, GATEWAY);
    assert.is(await names(stage, red), GATEWAY);
    assert.is(await names(stage, red, '+tcp'), GATEWAY);
    const page = await lab.inside(red, 'curl', '-sS', '-m', '3', 'http://169.254.169.254/user-data');
    assert.is(page, '#cloud-config\n');
    assert.match(await ctl(stage, 'doctor'), /nothing wrong found/, 'it takes no rule of ours for another’s');
    await end();
  });

inStage('none: not even names; all: whatever the host serves', async stage => {
  const { lab, red } = stage;
  const { end } = await start(stage, '--host-access', 'none', '--no-nat');
  assert.is(await answers(stage, red, GATEWAY), '');
  assert.is(await answers(stage, red, HOST_OUTSIDE), '');
  assert.is(await names(stage, red), '');
  await lab.ping(red, GATEWAY);
  await end();
  await lab.startSwitch(stage.host, ...TAPS, '--host-access', 'all');
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  assert.is(await answers(stage, red, GATEWAY), 'tcp udp');
  assert.is(await answers(stage, red, HOST_OUTSIDE), 'tcp udp');
});

test.run();
