/**
 * The project's unit as systemd itself runs it: a service manager as PID 1 of namespaces of the test's own, in a control group
 * of its own. The unit is the one in systemd/, but for its paths, and with what a drop-in changes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/host/run.ts';
import { ended, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { sh } from '../port/namespace.ts';

const SERVICE = 'vswitchd@vsw0.service';
const START_MS = 20_000;
const ASKED_MS = 100;

export const unitText = (): string => readFileSync(join(projectRoot(), 'systemd/vswitchd@.service'), 'utf8');

export class Manager {
  readonly #folder = mkdtempSync(join(tmpdir(), 'vswitchd-systemd-'));
  readonly #cgroup: string;
  readonly #child: ChildProcess;
  #pid = 0;

  /** `config`: the switch's file; `dropIn`: lines of the section [Service]. */
  constructor(config: string, dropIn: string) {
    const folder = this.#folder;
    chmodSync(folder, 0o755); // the service's user need not be root
    for (const name of [`units/${SERVICE}.d`, 'etc', 'bin'])
      mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, 'etc/vsw0.toml'), config);
    symlinkSync('/srv/bin/vswitchd', join(folder, 'bin/vswitchd'));
    writeFileSync(join(folder, 'bin/node'), '');
    sh(`mount --bind ${process.execPath} ${folder}/bin/node`);
    const unit = unitText()
      .replace('/usr/bin/vswitchd', `${folder}/bin/vswitchd`)
      .replaceAll('/etc/vswitchd/', `${folder}/etc/`);
    writeFileSync(join(folder, 'units/vswitchd@.service'), unit);
    const path = `${folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
    const more = `[Unit]\nDefaultDependencies=no\n[Service]\nEnvironment=PATH=${path}\nStandardOutput=append:${folder}/log\n${dropIn}\n`;
    writeFileSync(join(folder, `units/${SERVICE}.d/test.conf`), more);
    const groups = readFileSync('/etc/group', 'utf8').replace(/^vswitchd:.*\n/m, '');
    writeFileSync(join(folder, 'group'), `${groups}vswitchd:x:${GROUP}:\n`);
    sh(`mkdir -p ${folder}/cgroup; mount -t cgroup2 cgroup2 ${folder}/cgroup`);
    for (const name of readdirSync(join(folder, 'cgroup')))
      if (isOfDead(name)) removed(join(folder, 'cgroup', name));
    this.#cgroup = join(folder, 'cgroup', `vswitchd-test-${process.pid}`);
    mkdirSync(this.#cgroup);
    const script = join(projectRoot(), 'test/netns/manager.sh');
    const namespaces = [
      '--pid',
      '--fork',
      '--kill-child',
      '--mount',
      '--uts',
      '--ipc',
      '--cgroup',
      '--mount-proc',
    ];
    this.#child = spawn(
      'sh',
      [
        ...['-c', 'echo $$ >"$0/cgroup.procs"; exec "$@"', this.#cgroup],
        ...[
          'setpriv',
          '--pdeathsig',
          'KILL',
          'unshare',
          ...namespaces,
          'sh',
          script,
          folder,
          SERVICE,
          projectRoot(),
        ],
      ],
      { stdio: 'ignore' },
    );
  }

  /** What the switch has said. */
  get log(): string {
    const path = join(this.#folder, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** Resolves when the service is active; what systemd said otherwise. */
  async started(): Promise<void> {
    try {
      await until('the service is active', START_MS, async () => {
        await sleep(ASKED_MS); // each question starts a program
        return (await this.property('ActiveState')) === 'active';
      });
    } catch (error) {
      throw new Error(
        `${(error as Error).message}\n${this.log}\n${await this.systemctl('status').catch(String)}`,
      );
    }
  }

  /** Runs a program where systemd runs. */
  async inside(...words: string[]): Promise<string> {
    if (this.#pid === 0) {
      const { pid } = this.#child;
      this.#pid = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
    }
    return run('nsenter', ['-t', String(this.#pid), '-m', '-p', '--', ...words]);
  }

  /** What `systemctl show` has, empty as long as systemd does not answer. */
  async property(name: string): Promise<string> {
    try {
      return (await this.inside('systemctl', 'show', '-P', name, SERVICE)).trim();
    } catch {
      return '';
    }
  }

  systemctl(...words: string[]): Promise<string> {
    return this.inside('systemctl', ...words, SERVICE);
  }

  async end(): Promise<void> {
    await ended(this.#child, 'SIGKILL', 1_000);
    await until('its processes are gone', 5_000, async () => removed(this.#cgroup));
    sh(`umount ${dirname(this.#cgroup)} ${this.#folder}/bin/node`);
  }
}

/** A group of the test's, whose number nobody has. */
export const GROUP = 64_999;

/** Is it the control group of a test that was killed? */
const isOfDead = (name: string): boolean =>
  name.startsWith('vswitchd-test-') && !existsSync(`/proc/${name.slice('vswitchd-test-'.length)}`);

/** Control groups go from the innermost outwards, as soon as nobody is in them. */
function removed(folder: string): boolean {
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true }))
      if (entry.isDirectory()) removed(join(folder, entry.name));
    rmdirSync(folder);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
