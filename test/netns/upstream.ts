/** The server above, for tests of names: dnsmasq in a namespace outside, whose log says what it was asked. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../src/lab.ts';
import { addOutside, OUTSIDE, type Stage } from './stage.ts';

/** Everything below example.com is 9.9.9.9 there, and what `more` says. Returns how to read what it was asked. */
export async function startUpstream(stage: Stage, ...more: string[]): Promise<() => string> {
  const { lab } = stage;
  const out = await addOutside(stage);
  const log = join(lab.folder, 'upstream.log');
  writeFileSync(log, '');
  const server = lab.spawn(
    out,
    'dnsmasq',
    ...['--no-daemon', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--bind-interfaces'],
    ...[`--listen-address=${OUTSIDE}`, '--address=/example.com/9.9.9.9', '--log-queries=extra'],
    ...[`--log-facility=${log}`, '--pid-file=', '--max-ttl=60', '--local-ttl=60'],
    ...more,
  );
  server.stderr?.resume();
  await until('the server above answers', 10_000, () =>
    lab.inside(out, 'dig', '+short', '+tries=1', '+time=1', `@${OUTSIDE}`, 'up.example.com').then(
      said => said.includes('9.9.9.9'),
      () => false,
    ),
  );
  return () => readFileSync(log, 'utf8');
}
