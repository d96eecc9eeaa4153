/** vswitchd: from the command line to a running switch, and from a signal to a clean end. */

import { readFileSync, rmSync } from 'node:fs';
import { type CommandLine, parseCommandLine } from './cli.ts';
import { GivenSettings } from './config/given.ts';
import { type Config, configOf, type Place } from './config.ts';
import { reportAndExit } from './errors.ts';
import { checkHooks } from './events/life.ts';
import { Predecessor } from './handover/predecessor.ts';
import { readPresent } from './host/apply.ts';
import { describe } from './host/changes.ts';
import { describeForwards } from './host/forwards.ts';
import { Journal, journalPath } from './host/journal.ts';
import { checkBridgeable } from './host/lan.ts';
import { checkLan } from './host/links.ts';
import { plan, planTaps } from './host/plan.ts';
import { byHand } from './host/resolved.ts';
import { undoAll } from './host/undo.ts';
import { type Log, openLog } from './log.ts';
import { checkFolder } from './metadata.ts';
import { keepWatchdog, notify, notifySuccessor } from './notify.ts';
import { loadNative } from './port/native.ts';
import { configuredPorts } from './porttable.ts';
import { checkPrivilege, ownRights } from './privilege.ts';
import type { Source } from './reconfigure.ts';
import { Switch, socketPath } from './switch.ts';
import { describeUplink } from './uplink.ts';
import { becomeUser } from './user.ts';

const IFF_UP = 1;

async function main(line: CommandLine): Promise<void> {
  switch (line.command) {
    case 'print':
      console.log(line.text);
      return;
    case 'run':
      return line.dryRun ? dryRun(line.config) : runSwitch(line.config, line.source);
    case 'undo':
      return undoLeft(line.place);
    case 'demo': {
      checkPrivilege();
      const { demo } = await import('./demo.ts');
      process.exitCode = (await demo(text => console.log(text))) ? 0 : 1;
      return;
    }
    case 'replay': {
      const { replayFiles } = await import('./replay.ts');
      return replayFiles(line);
    }
  }
}

async function runSwitch(config: Config, source: Source): Promise<void> {
  await becomeUser(config);
  checkPrivilege(ownRights(), config.taps);
  const log = await openLog(config.logLevel);
  const predecessor = await Predecessor.meet();
  if (predecessor !== undefined) {
    const { written } = predecessor.hello;
    config = configOf(new GivenSettings(written, undefined));
    source = { ...source, written };
  }
  const ended = new Promise<void>((resolve, reject) => {
    // Again and again: npm passes on what the terminal has sent to all, and the second must not cut the undoing short.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
    failed = reject;
  });
  ended.catch(() => undefined); // it may come while the start is under way; it is told of behind that
  const instance = new Switch(config, log, cause => failed(cause), source, predecessor);
  const network =
    config.uplink.kind === 'bridge' ? `the LAN of ${config.uplink.interface}` : config.subnet.text;
  const summary = `${config.name} serves ${network} on ${configuredPorts(config).join(', ')}`;
  // Of a terminal that is closed it means the end; of a service, that its file is to be read again.
  process.on('SIGHUP', () => {
    if (source.file === undefined && process.stdin.isTTY) process.emit('SIGTERM');
    else void reload(instance, summary);
  });
  await instance.start().catch(async (error: unknown) => {
    await predecessor?.fail((error as Error).message);
    throw error;
  });
  confine(log);
  log.info(`ready: ${summary}`);
  notify('READY=1', summary);
  const endWatchdog = keepWatchdog(() => instance.answers());
  try {
    const pid = await Promise.race([ended, instance.succeeded]);
    if (pid !== undefined) {
      notifySuccessor(pid);
      log.info(`pid ${pid} goes on`);
      process.exit(0);
    }
  } finally {
    endWatchdog();
    notify('STOPPING=1', 'undoing what was changed on the host');
    await instance.stop();
  }
  log.info('stopped; the host is as it was');
}

/** From here on nothing is done that it forbids. */
function confine(log: Log): void {
  try {
    loadNative().confine();
  } catch (error) {
    log.warn(`rights that are not needed are kept: ${(error as Error).message}`);
  }
}

async function reload(instance: Switch, summary: string): Promise<void> {
  notify('RELOADING=1', 'reading the file again');
  await instance.reload();
  notify('READY=1', summary);
}

let failed: (cause: Error) => void = () => undefined;

async function dryRun(config: Config): Promise<void> {
  checkHooks(config);
  await checkLan(config);
  await checkFolder(config.cloudInit);
  if (config.uplink.kind === 'bridge') checkBridgeable(loadNative(), config.uplink.interface);
  const present = await readPresent(config, []);
  const { name, reason, shields } = present.backend;
  const changes = [...plan(config, present), ...planTaps(config, shields, linkState)];
  const elsewhere = config.taps.flatMap(({ name, netns }) =>
    netns === undefined ? [] : [`# ${name} in namespace ${netns}: made there if there is none`],
  );
  const firewall = `# the firewall: ${name}, for ${reason}`;
  const ports = describeForwards(config, present);
  const hint = byHand(config, present.resolved);
  console.log(
    [
      firewall,
      ...describeUplink(config),
      ...changes.map(describe),
      ...ports,
      ...elsewhere,
      ...(hint === undefined ? [] : [`# ${hint}`]),
    ].join('\n'),
  );
}

/** What is there of a link: nothing, or whether it is up. */
function linkState(name: string): 'none' | 'down' | 'up' {
  try {
    const flags = Number(readFileSync(`/sys/class/net/${name}/flags`, 'utf8'));
    return (flags & IFF_UP) === 0 ? 'down' : 'up';
  } catch {
    return 'none';
  }
}

async function undoLeft(place: Place): Promise<void> {
  checkPrivilege();
  const count = await undoAll(place.name, new Journal(journalPath(place)));
  rmSync(socketPath(place), { force: true });
  console.log(
    count === 0 ? `nothing of ${place.name} is left to undo` : `undid ${count} changes of ${place.name}`,
  );
}

try {
  await main(parseCommandLine(process.argv.slice(2)));
} catch (error) {
  reportAndExit(error);
}
