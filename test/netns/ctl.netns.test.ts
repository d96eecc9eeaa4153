// timeout: 180 s
/** What vswitchctl has for people: arguments that a real QEMU takes, a live table on a real terminal, completion in a real bash. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { ctl, GATEWAY, plugIn, portOf, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('ct', import.meta.url);
const BIN = join(projectRoot(), 'bin');

const failure = (act: Promise<unknown>): Promise<string> =>
  act.then(
    () => {
      throw new Error('accepted');
    },
    (error: unknown) => String(error),
  );

/** Runs a line of bash beside the switch, vswitchctl in its path. */
const bash = ({ lab, host }: Stage, line: string): Promise<string> =>
  lab.inside(host, 'bash', '-c', `PATH=${BIN}:$PATH; cd ${lab.folder}; ${line}`);

inStage('qemu: QEMU starts with what is printed, and its port sees it', async stage => {
  const { lab, host } = stage;
  const at = (name: string): string => join(lab.folder, name);
  const kinds = ['stream', 'dgram', 'vhost-user'].flatMap(kind => [
    '--port',
    `${kind}:${at(`${kind}.sock`)}`,
  ]);
  const client = ['--port', `stream:${at('called.sock')},mode=client`];
  await lab.startSwitch(host, ...TAPS, ...kinds, ...client, '--uplink', 'none', '--firewall', 'none');
  for (const name of ['tap0', 'stream', 'dgram', 'vhost-user', 'called']) {
    const line = (await ctl(stage, 'qemu', name, '--for', 'qemu', '--memory', '64M')).trim();
    const qemu = lab.spawn(
      host,
      ...['sh', '-c', `exec qemu-system-x86_64 -S -display none -monitor none -m 64M ${line}`],
    );
    // Halted as it is, a guest by datagrams says nothing: it is enough that QEMU takes its words.
    if (name === 'dgram')
      await until('QEMU holds its socket', 5_000, async () =>
        /dgram\.sock\.guest/.test(await lab.inside(host, 'ss', '-xa')),
      );
    else if (name === 'vhost-user')
      await until('it is connected', 5_000, async () => (await portOf(lab, name)).kind === name);
    else await until(`${name} is up`, 5_000, async () => (await portOf(lab, name)).up);
    assert.is(qemu.exitCode, null, line);
    qemu.kill('SIGKILL');
  }
  const all = await ctl(stage, 'qemu', 'stream');
  assert.match(
    all,
    /# qemu; QEMU 7\.2 or later\n-netdev stream,.*\n# firecracker: .*no stream\n# cloud-hypervisor: .*no stream/,
  );
  const { mac, monitors } = JSON.parse(await ctl(stage, '--json', 'qemu', 'tap1'));
  assert.match(mac, /^02:/);
  assert.match(JSON.stringify(monitors.firecracker), 'tap1');
  assert.is(JSON.parse(await ctl(stage, '--json', 'qemu', 'tap1')).mac, mac);
  assert.match(
    await failure(ctl(stage, 'qemu', 'tap7')),
    /qemu tap7: there is no such port; expected one of tap0/,
  );
  assert.match(
    await failure(ctl(stage, 'qemu', 'tap0', '--for', 'xen')),
    /--for xen: expected qemu, firecracker or/,
  );
});

inStage('qemu: a guest that has a lease on the port keeps its MAC', async stage => {
  const { lab, host, red } = stage;
  await lab.startSwitch(host, ...TAPS, '--uplink', 'none', '--firewall', 'none');
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  const address = (await lab.inside(red, 'cat', '/sys/class/net/tap0/address')).trim();
  const { mac, netns } = JSON.parse(await ctl(stage, '--json', 'qemu', 'tap0'));
  assert.equal([mac, netns], [address, red]);
});

inStage('top: rates of a ping, on a terminal, below each other and as JSON', async stage => {
  const { lab, host, red } = stage;
  await lab.startSwitch(host, ...TAPS, '--uplink', 'none', '--firewall', 'none');
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  lab.spawn(red, 'ping', '-q', '-i', '0.02', GATEWAY);
  const looks = (await ctl(stage, '--json', 'top', '--interval', '0.5', '--count', '2')).trim().split('\n');
  assert.is(looks.length, 2);
  const [busiest] = JSON.parse(looks[1] as string).ports;
  assert.is(busiest.port, 'tap0');
  assert.ok(busiest.rxFrames > 20 && busiest.rxFrames < 70, looks[1]);
  assert.match(await ctl(stage, 'top', '--interval', '0.2', '--count', '1'), /PORT .*DROPS\/s\n +tap0 +up/);
  const top = `vswitchctl --run-dir ${lab.folder} top --interval 0.2`;
  const shown = await bash(stage, `script -qec '${top} --count 2' /dev/null </dev/null`);
  for (const part of ['\u001b[?1049h\u001b[?25l\u001b[Hvsw0 ', 'tap0 ', '\u001b[?25h\u001b[?1049l'])
    assert.ok(shown.includes(part), JSON.stringify(shown));
  const quit = await bash(
    stage,
    `(sleep 0.7; printf q; sleep 5) | timeout 4 script -qec '${top}' /dev/null; echo ended $?`,
  );
  assert.match(quit, /ended 0\s*$/);
  for (const words of [
    ['--interval', '0'],
    ['--count', 'x'],
  ])
    assert.match(await failure(ctl(stage, 'top', ...words)), /top --\w+ \w: expected/);
});

inStage('completion: bash finds commands, options, ports and forwards', async stage => {
  const { lab, host } = stage;
  await lab.startSwitch(host, ...TAPS, '--firewall', 'none', '--forward', '8080:192.168.100.10:80');
  const complete = (...words: string[]): Promise<string> =>
    bash(
      stage,
      `eval "$(vswitchctl completion bash)"; COMP_WORDS=(vswitchctl ${words.map(word => `'${word}'`).join(' ')});
      COMP_CWORD=${words.length}; _vswitchctl; echo "\${COMPREPLY[@]}"`,
    ).then(said => said.trim());
  const here = ['--run-dir', lab.folder];
  assert.is(await complete('port', ''), 'add del set');
  assert.is(await complete(...here, 'port', 'del', 'ta'), 'tap0 tap1');
  assert.is(await complete(...here, 'port', 'set', 'tap0', ''), 'up down');
  assert.is(await complete(...here, 'forward', 'del', ''), 'tcp/8080');
  assert.is(await complete('qemu', '--for', 'fire'), 'firecracker');
  assert.is(await complete('--run-dir', '/nowhere', 'port', 'del', ''), '');
  assert.match(
    await failure(ctl(stage, 'completion', 'tcsh')),
    /completion tcsh: expected one of bash, zsh, fish/,
  );
});

test.run();
