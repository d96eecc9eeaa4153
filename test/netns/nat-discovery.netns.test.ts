// timeout: 180 s
// coverage: none
/** What kind of NAT the gateway is, as those tell it whose programs depend on that: coturn's natdiscovery and stun. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineFrom } from '../../src/lab.ts';
import { type Ended, start } from '../port/namespace.ts';
import { addOutside, OUTSIDE, plugIn, type Stage, stageTests, startBareNat, TAPS } from './stage.ts';

const inStage = stageTests('nd', import.meta.url);
const SECOND = '203.0.113.3';

/** RFC 5780 and 3489 want a server with two addresses and two ports. */
async function serve({ lab }: Stage, out: string): Promise<void> {
  await lab.ip(out, 'addr', 'add', `${SECOND}/24`, 'dev', 'eth0');
  const own = ['--log-file', 'stdout', '--db', join(lab.folder, 'db'), '--pidfile', join(lab.folder, 'pid')];
  const only = ['-n', '--no-auth', '--no-cli', '--no-tls', '--no-dtls', '-L', OUTSIDE, '-L', SECOND];
  await lineFrom(lab.spawn(out, 'turnserver', ...only, ...own), /admin thread/, 20_000);
}

const fromRed = ({ red }: Stage, line: string): Promise<Ended> => start(`ip netns exec ${red} ${line}`);

/** The verdicts between the answers. */
async function discovered(stage: Stage, ...flags: string[]): Promise<string> {
  const { code, output } = await fromRed(stage, ['turnutils_natdiscovery', ...flags, OUTSIDE].join(' '));
  assert.is(code, 0, output);
  return (output.match(/^(NAT with|Received a request).*$/gm) ?? []).join(' ');
}

/** stun's one sentence; its exit code is the kind of NAT. */
const stunned = async (stage: Stage): Promise<string> =>
  /^Primary: (.*?)\s*$/m.exec((await fromRed(stage, `stun ${OUTSIDE}`)).output)?.[1] ?? 'no answer';

for (const { filtering, found, stun } of [
  { filtering: 'endpoint', found: 'Endpoint Independent', stun: 'Independent' },
  { filtering: 'address', found: 'Address Dependent', stun: 'Address Dependent' },
  { filtering: 'address-port', found: 'Address and Port Dependent', stun: 'Port Dependent' },
])
  inStage(
    `--nat-filtering ${filtering}: ${found} Filtering, and mapping by the endpoint alone`,
    async stage => {
      await serve(stage, await startBareNat(stage, '--nat-filtering', filtering));
      const mapping = 'NAT with Endpoint Independent Mapping!';
      assert.is(await discovered(stage, '-m', '-f'), `${mapping} NAT with ${found} Filtering!`);
      // It hairpins from the socket that it knows the mapping of, so no filter is against it.
      const said = `Independent Mapping, ${stun} Filter, preserves ports, will hairpin`;
      assert.is(await stunned(stage), said);
    },
  );

inStage('hairpinning from another socket works where strangers are let in', async stage => {
  await serve(stage, await startBareNat(stage, '--nat-filtering', 'endpoint'));
  assert.match(await discovered(stage, '-H'), /^Received a request \(maybe a successful hairpinning\)/);
});

inStage('behind the masquerade of the host, the host’s filter is what strangers meet', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await serve(stage, out);
  await lab.startSwitch(host, ...TAPS, '--nat-filtering', 'endpoint');
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  const filter = 'NAT with Address and Port Dependent Filtering!';
  assert.is(await discovered(stage, '-m', '-f'), `NAT with Endpoint Independent Mapping! ${filter}`);
  assert.is(await stunned(stage), 'Independent Mapping, Port Dependent Filter, preserves ports, no hairpin');
});

test.run();
