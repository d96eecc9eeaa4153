/**
 * `--user NAME`: the program goes on as that user before it touches anything, with the rights that a switch needs and no others of
 * root's, by setpriv(1) in its place, and where the kernel has landlock, changes files in its own folders alone. So no thread was
 * ever root's, and what undoes the host's changes may still do so: nft and ip inherit the rights.
 */
import { lchownSync, lstatSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Config } from './config.ts';
import { OperatorError } from './errors.ts';
import { makeFolder } from './folder.ts';
import { firewalldIsRunning } from './host/firewalld.ts';
import { holderOf } from './host/locks.ts';
import { needTool, run } from './host/run.ts';
import { ufwIsActive } from './host/ufw.ts';
import { loadNative } from './port/native.ts';

/** Taps, rules and settings; packet sockets; port 53 of the gateway on the host. */
const RIGHTS = '+net_admin,+net_raw,+net_bind_service';

/** As the switch makes them: leases are nobody's business, sockets have modes of their own. */
const [STATE_MODE, RUN_MODE] = [0o700, 0o755];

interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Returns when this process is the user's already, or none is asked for; else it does not, or throws an OperatorError. */
export async function becomeUser(config: Config): Promise<void> {
  const { user } = config;
  if (user === undefined) return;
  const account = await accountOf(user);
  const own = process.geteuid?.();
  if (own === account.uid) return;
  if (own !== 0)
    throw new OperatorError(`--user ${user}: user ${own} can't become another; run vswitchd as root (sudo)`, {
      code: 'Privilege',
    });
  if (config.firewall === 'auto' && config.uplink.kind === 'tun') await checkFirewall(user);
  const setpriv = needTool('setpriv');
  const words = [
    ...[`--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups', '--no-new-privs'],
    ...[`--bounding-set=-all,${RIGHTS}`, `--inh-caps=-all,${RIGHTS}`, `--ambient-caps=-all,${RIGHTS}`],
  ];
  await checkReadable(user, words);
  // Of a running switch of this name nothing is given away: the start is refused by and by.
  if ((await holderOf(config.name)) === undefined) {
    give(config, config.stateDir, STATE_MODE, account);
    give(config, config.runDir, RUN_MODE, account);
  }
  if (
    config.leaseHook === undefined &&
    config.cloudInit?.phoneHomeHook === undefined &&
    config.uplink.kind !== 'passt'
  )
    loadNative().restrictWrites(zeroTerminated(writable(config)));
  const line = [setpriv, ...words, process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  loadNative().execute(setpriv, zeroTerminated(line));
}

const zeroTerminated = (words: readonly string[]): Buffer =>
  Buffer.from(words.map(word => `${word}\0`).join(''));

/** Where a switch changes files. Not known of hooks' programs, and passt makes a file system of its own, which is refused then. */
const writable = ({ stateDir, runDir, ports }: Config): string[] => [
  ...[stateDir, runDir, '/proc/sys/net', '/dev/net/tun', '/dev/null'],
  ...ports.map(({ path }) => dirname(path)),
];

async function accountOf(user: string): Promise<Account> {
  const line = await run('getent', ['passwd', user]).catch((cause: unknown) => {
    throw new OperatorError(`--user ${user}: this host has no such user; expected one of /etc/passwd`, {
      code: 'Usage',
      cause,
    });
  });
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

async function checkFirewall(user: string): Promise<void> {
  const active = (await ufwIsActive()) ? 'ufw' : (await firewalldIsRunning()) ? 'firewalld' : undefined;
  if (active !== undefined)
    throw new OperatorError(
      `--user ${user}: ${active} is active here and obeys root alone; use --firewall nft`,
      {
        code: 'Usage',
      },
    );
}

/** Node says of a program that it may not read that it is not there. */
async function checkReadable(user: string, words: readonly string[]): Promise<void> {
  const program = process.argv[1] ?? '';
  for (const file of [process.execPath, program])
    await run('setpriv', [...words, 'test', '-r', file]).catch((cause: unknown) => {
      throw new OperatorError(`--user ${user} may not read ${file}; expected it where it may, such as /opt`, {
        code: 'Usage',
        cause,
      });
    });
}

/** A folder of ours becomes the user's, with what a switch of this name has left in it; another's stays his. */
function give({ name, user }: Config, folder: string, mode: number, { uid, gid }: Account): void {
  try {
    makeFolder(folder, mode);
    const files = readdirSync(folder);
    const { uid: owner } = statSync(folder);
    const others = files.filter(file => !file.startsWith(`${name}.`));
    if (owner !== uid && others.length > 0)
      throw new Error(`${others[0]} in it is another's, and the folder is not ${user}'s`);
    for (const file of files) if (!others.includes(file)) giveAll(join(folder, file), uid, gid);
    if (owner !== uid) lchownSync(folder, uid, gid);
  } catch (cause) {
    throw new OperatorError(
      `--user ${user}: ${folder} can't become ${user}'s: ${(cause as Error).message}; name another by --state-dir and --run-dir`,
      { code: 'State', cause },
    );
  }
}

function giveAll(path: string, uid: number, gid: number): void {
  lchownSync(path, uid, gid);
  if (lstatSync(path).isDirectory())
    for (const name of readdirSync(path)) giveAll(join(path, name), uid, gid);
}
