/** The man pages: made from what the programs say of themselves, complete, and such that two formatters have nothing to say. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SETTINGS } from '../src/options.ts';
import { projectRoot } from '../src/port/native.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-man-'));
test.after(() => rmSync(folder, { recursive: true }));
execFileSync(process.execPath, [join(projectRoot(), 'tools/man.mjs'), folder]);

/** A letter that the next one is printed over, which is how bold is told. */
const OVERSTRUCK = new RegExp(`.${String.fromCharCode(8)}`, 'g');

/** What a reader sees, a hyphen as one types it. */
const shown = (page: string): string =>
  execFileSync('mandoc', ['-T', 'ascii', join(folder, page)], { encoding: 'utf8' }).replace(OVERSTRUCK, '');

const help = (program: string, ...words: string[]): string =>
  execFileSync(process.execPath, [join(projectRoot(), 'bin', program), ...words, '--help'], {
    encoding: 'utf8',
  });

test('the pages are those that the unit and each other name', () => {
  assert.equal(readdirSync(folder).sort(), ['vswitchctl.1', 'vswitchd.8', 'vswitchd.toml.5']);
});

for (const [tool, ...words] of [
  ['groff', '-ww', '-man', '-z', '-Tutf8'],
  ['mandoc', '-T', 'lint', '-W', 'warning'],
] as const)
  test(`${tool} warns of nothing`, () => {
    for (const page of readdirSync(folder)) {
      const { status, stdout, stderr } = spawnSync(tool, [...words, join(folder, page)], {
        encoding: 'utf8',
      });
      assert.is(`${status} ${stdout}${stderr}`, '0 ', page);
      // a page with a fault is not passed over
      const faulty = `${readFileSync(join(folder, page), 'utf8')}.TP\n.IQ\n.nosuch\n`;
      const told = spawnSync(tool, words, { encoding: 'utf8', input: faulty });
      assert.match(told.stdout + told.stderr, /nosuch/, page);
    }
  });

test('each option of --help, each key of the file and each command has its place', () => {
  const [daemon, file, control] = ['vswitchd.8', 'vswitchd.toml.5', 'vswitchctl.1'].map(shown) as [
    string,
    string,
    string,
  ];
  const options = help('vswitchd').match(/^ {2}--[a-z-]+/gm) ?? [];
  assert.ok(options.length > Object.keys(SETTINGS).length);
  for (const option of options) assert.match(daemon, new RegExp(`^ +${option.trim()}( |$)`, 'm'));
  for (const key of Object.keys(SETTINGS)) assert.match(file, new RegExp(`^ +${key} (= |\\()`, 'm'));
  const commands =
    help('vswitchctl')
      .split('Commands:')[1]
      ?.match(/^ {2}[a-z-]+/gm) ?? [];
  assert.ok(commands.length > 10);
  for (const command of commands.filter(name => name.trim() !== 'help'))
    assert.match(control, new RegExp(`^ +${command.trim()}( |$)`, 'm'));
  assert.match(control, /^ +forward add FORWARD/m);
});

test('what the file takes is said as its schema has it', () => {
  const file = shown('vswitchd.toml.5');
  assert.match(file, /^ +taps = LIST \(string or list of strings\)$/m);
  assert.match(file, /^ +no-dns \(true or false\)$/m);
  assert.match(file, /^ +mtu = BYTES \(number or string\)$/m);
});

test('signals, files and exit codes are those of docs/operation.md', () => {
  const page = shown('vswitchd.8').replace(/\s+/g, ' ');
  for (const text of [
    'SIGINT, SIGTERM',
    'NOTIFY_SOCKET',
    'STATE-DIR/NAME.journal',
    'refused: the name, a tap, the subnet',
  ])
    assert.ok(page.includes(text), text);
});

test.run();
